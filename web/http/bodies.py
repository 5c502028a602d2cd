"""The bodies of requests, read in two steps.

A body that is no JSON is refused at once. JSON in another form than the route requires is refused when the
route asks for its meaning. By then the route has checked the caller's rights and the existence of the entity,
so a caller learns that a cluster does not exist before they learn about mistakes in their body.
"""

import asyncio
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import msgspec
from aiohttp import web
from aiohttp.hdrs import CONTENT_ENCODING
from aiohttp.http_exceptions import HttpProcessingError

from domain.errors import Rejected, invalid
from streams.decoding import decode_body, is_json
from web.http.headers import once
from web.keys import SETTINGS

T = TypeVar("T")

_KEPT: Final = web.RequestKey("kept body", bytes)


@dataclass(frozen=True, slots=True)
class Body(Generic[T]):
    """A JSON body; `found` is its message, or the error of decoding it."""

    found: T | Rejected

    def meaning(self) -> T:
        """The message. Raises: Rejected: `VALIDATION_FAILED`, naming the member at fault."""
        if isinstance(self.found, Rejected):
            raise self.found
        return self.found


async def body_of(
    request: web.Request, decoder: msgspec.json.Decoder[T], *, most: int | None = None
) -> Body[T]:
    """Read the body and decode it.

    Args:
        most: Bytes that it may have, where that is less than any body may.

    Raises: Rejected: it does not arrive in time, is too large, can't be unpacked, or is no JSON.
    """
    data = await _read(request)
    if most is not None and len(data) > most:
        raise Rejected("PAYLOAD_TOO_LARGE", f"Request body is larger than {most // 1024} KiB")
    try:
        return Body(decode_body(data, decoder))
    except Rejected as refusal:
        if not is_json(data):  # checked only for refused bodies, so that good ones are decoded once
            raise
        return Body(refusal)


async def kept_body(request: web.Request) -> bytes:
    """The bytes of the body, which are there for the next reader as well. Raises: Rejected: as `body_of`."""
    request[_KEPT] = data = await _read(request)
    return data


async def _read(request: web.Request) -> bytes:
    if _KEPT in request:
        return request[_KEPT]
    once(request.headers, CONTENT_ENCODING)
    try:
        if request.content.is_eof():  # all of it arrived with the headers, so there is nothing to wait for
            small = request.content.total_bytes <= request.client_max_size
            return request.content.read_nowait() if small else await request.read()
        async with asyncio.timeout(request.app[SETTINGS].read_timeout.total_seconds()):
            return await request.read()
    except TimeoutError:
        raise Rejected("REQUEST_TIMEOUT", "The request body did not arrive in time") from None
    except (HttpProcessingError, web.RequestPayloadError):
        raise invalid("the request body cannot be unpacked", field="body") from None
