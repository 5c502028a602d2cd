"""How long an answer may be on its way: a client that reads too slowly must not keep it for ever."""

import asyncio
import logging

from aiohttp import web

from web.keys import REQUEST_ID, SETTINGS
from web.middleware import Handler

log = logging.getLogger("clusterflow.api_server")


@web.middleware
async def bounded(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Send the answer within the write time-out, or cut the connection.

    An answer whose headers are out already is a stream, which has bounds of its own.
    """
    response = await handler(request)
    if response.prepared:
        return response
    try:
        async with asyncio.timeout(request.app[SETTINGS].write_timeout.total_seconds()):
            await response.prepare(request)
            await response.write_eof()
    except ConnectionError:
        log.debug("client went away", extra={"request_id": request[REQUEST_ID]})
    except TimeoutError:
        log.warning("answer not read in time", extra={"request_id": request[REQUEST_ID]})
        if request.transport is not None:
            request.transport.abort()
    return response
