"""Where handlers find clusters as operators see them."""

from typing import Final

from aiohttp import web

from tables.flat import Flat

FLAT: Final = web.AppKey("flat clusters", Flat)
