"""The status of a cluster: read by its users, reported by its controllers."""

from datetime import UTC, datetime

from aiohttp import web

from domain.access import require_controller
from domain.errors import Unconfirmed
from streams.cluster.codec import report_of
from streams.cluster.messages import ReportBody, ReportMessage
from streams.decoding import decoder_of
from streams.json import encode
from web.cluster.documents import ReportTaken
from web.cluster.keys import READS, WRITES
from web.http.bodies import body_of
from web.http.errors import json_response
from web.http.identity import caller
from web.keys import REQUEST_STATE, SETTINGS
from web.requests import command_identity, path_id, shown

_report_decoder = decoder_of(ReportBody)


async def get_status(request: web.Request) -> web.Response:
    """The aggregated status and every controller's last report, of whatever generation."""
    email = caller(request)
    return shown(request.app[READS].status(email, request.match_info["id"]))


async def put_status(request: web.Request) -> web.Response:
    """Take a controller's report; it replaces that controller's last one."""
    email = caller(request)
    cluster_id = path_id(request, "cluster")
    given = await body_of(request, _report_decoder)
    require_controller(email, request.app[SETTINGS].policy)
    request.app[READS].entry(email, request.match_info["id"])
    body = given.meaning()
    report_of(body, cluster_id=cluster_id, at=datetime.now(UTC), answer=True)  # raises what is wrong
    key_id, _ = command_identity(request, email, "status", cluster_id)
    report_id = (body.report_id or key_id).lower()
    report = ReportMessage(
        cluster_id=cluster_id,
        controller_name=body.controller_name,
        observed_generation=body.observed_generation,
        conditions=body.conditions,
        metadata=body.metadata,
        last_error=body.last_error,
        report_id=report_id,
        reported_at=body.reported_at,
    )
    answer = ReportTaken(
        message="Status update stored successfully",
        cluster_id=cluster_id,
        controller_name=report.controller_name,
        observed_generation=report.observed_generation,
    )
    try:
        request_id = request[REQUEST_STATE].request_id
        result = await request.app[WRITES].report(report, report_id, request_id=request_id)
    except Unconfirmed:
        answer.message = "Status update accepted"
        return json_response(encode(answer), status=202)
    answer.applied = result.outcome != "stale"
    if not answer.applied:
        answer.message = "Stale status update ignored"
    return json_response(encode(answer))
