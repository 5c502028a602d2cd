"""What handlers find in their application and request, by typed key."""

from typing import Final

from aiohttp import web

from tables.views import ClusterView
from web.health import Health
from web.settings import WebSettings
from web.submit import Submitter

SETTINGS: Final = web.AppKey("settings", WebSettings)
VIEW: Final = web.AppKey("view", ClusterView)
SUBMITTER: Final = web.AppKey("submitter", Submitter)
HEALTH: Final = web.AppKey("health", Health)

REQUEST_ID: Final = web.RequestKey("request_id", str)
CLUSTER_ID: Final = web.RequestKey("cluster_id", str)  # of a create, whose path has none
