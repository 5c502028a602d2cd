"""The cluster resource: list, create, get, update, delete."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final
from uuid import UUID

import msgspec
from aiohttp import web

from domain.access import is_privileged
from domain.cluster.commands import Create, Delete, Update
from domain.cluster.spec import accept_spec, check_name, check_project_id
from domain.errors import Rejected, invalid
from domain.ids import deterministic_id
from streams.codec import MAX_SPEC_BYTES, encode
from streams.decoding import decoder_of
from streams.messages import CreateBody, ResultMessage, UpdateBody
from tables.cluster import ClusterEntry, Filter
from tables.feed import Watched
from web.documents import DeleteAccepted
from web.http.bodies import body_of
from web.http.errors import JSON_TYPE, json_response
from web.http.headers import new_id, once, once_as_text
from web.http.identity import caller
from web.http.pieces import Pieces
from web.keys import READS, REQUEST_STATE, SETTINGS, SUBMITTER, UNREAD
from web.reads import PageQuery, ReadAnswer, cluster_id
from web.watch import WATCHES, is_watch

KEY: Final = "Idempotency-Key"
MAX_KEY: Final = 255

_ETAG = re.compile(r'"([^"]*)"')
_create_decoder = decoder_of(CreateBody)
_update_decoder = decoder_of(UpdateBody)


async def list_clusters(request: web.Request) -> web.StreamResponse:
    """One page of the clusters the caller may see, newest first; or all of them and how they change."""
    email = caller(request)
    reads, asked = request.app[READS], PageQuery.of(request.query)
    if is_watch(request):
        return await request.app[WATCHES].serve(request, email, Watched(reads.filter(email, asked)))
    return shown(reads.page(email, asked))


async def create_cluster(request: web.Request) -> web.Response:
    """Create a cluster; answered once it exists."""
    email = caller(request)
    body = (await body_of(request, _create_decoder)).meaning()
    name, project_id = body.name or "", body.target_project_id or ""
    check_name(name)
    spec = _acceptable(body.spec, request)
    check_project_id(project_id)
    command_id, keyed = command_identity(request, email, "create")
    command = Create(
        command_id=command_id,
        cluster_id=str(UUID(deterministic_id(command_id, "cluster"), version=4)),
        user_email=email,
        triggered_by="api_request",
        request_id=request[REQUEST_STATE].request_id,
        keyed=keyed,
        name=name,
        spec=spec,
        target_project_id=project_id,
    )
    request[REQUEST_STATE].cluster_id = command.cluster_id
    result = await _decided(request, command)
    location = f"/api/v1/clusters/{command.cluster_id}"
    return _document(result, status=201, headers={"Location": location})


async def get_cluster(request: web.Request) -> web.StreamResponse:
    """One cluster, as the view holds it; for privileged callers with the secrets of its spec."""
    email, settings = caller(request), request.app[SETTINGS]
    if is_watch(request):
        owner = None if is_privileged(email, settings.policy) else email
        return await request.app[WATCHES].serve(request, email, Watched(Filter(owner), path_id(request)))
    return shown(request.app[READS].cluster(email, request.match_info["id"]))


async def update_cluster(request: web.Request) -> web.Response:
    """Replace the spec; with `If-Match` or `resource_version` only if nobody else has since it was read."""
    email = caller(request)
    cluster_id = path_id(request)
    body = await body_of(request, _update_decoder)
    with _behind(_absence(request, email)):
        command_id, keyed = command_identity(request, email, "update", cluster_id)
        message = body.meaning()
        spec = _acceptable(message.spec, request, before=lambda: _shown_spec(request, email))
        expected = _expected_version(request, message.resource_version or None)
    command = Update(
        command_id=command_id,
        cluster_id=cluster_id,
        user_email=email,
        triggered_by="api_request",
        request_id=request[REQUEST_STATE].request_id,
        keyed=keyed,
        spec=spec,
        expected_resource_version=expected,
    )
    return _document(await _decided(request, command), status=200)


async def delete_cluster(request: web.Request) -> web.Response:
    """Delete; takes effect at once."""
    email = caller(request)
    cluster_id = path_id(request)
    with _behind(_absence(request, email)):
        command_id, keyed = command_identity(request, email, "delete", cluster_id)
        expected = _expected_version(request, None)
    command = Delete(
        command_id=command_id,
        cluster_id=cluster_id,
        user_email=email,
        triggered_by="api_request",
        request_id=request[REQUEST_STATE].request_id,
        keyed=keyed,
        force=request.query.get("force", "").lower() == "true",
        expected_resource_version=expected,
    )
    result = await request.app[SUBMITTER].submit(command)
    body = encode(DeleteAccepted(cluster_id=cluster_id))
    return json_response(body, status=202, headers=replayed(result))


async def _decided(request: web.Request, command: Create | Update) -> ResultMessage:
    """Have a command decided whose answer shows the cluster, about as long as the body that has come."""
    async with request.app[UNREAD].reserved(request.content.total_bytes):
        return await request.app[SUBMITTER].submit(command)


def path_id(request: web.Request) -> str:
    """The cluster id in the path, lower case. Raises: Rejected: it is not a UUID."""
    return cluster_id(request.match_info["id"])


def visible_entry(request: web.Request, email: str) -> ClusterEntry:
    """The cluster of the path. Raises: Rejected: absent, deleted or somebody else's, all alike."""
    return request.app[READS].entry(email, request.match_info["id"])


def _absence(request: web.Request, email: str) -> Rejected | None:
    """Why the cluster of the path can't be found, where a key may still make the request a repeat.

    The cluster's agent answers a repeat, though the cluster is gone.

    Raises: Rejected: it can't be found, and there is no key.
    """
    try:
        visible_entry(request, email)
    except Rejected as absence:
        if KEY not in request.headers:
            raise
        return absence
    return None


@contextmanager
def _behind(absence: Rejected | None) -> Iterator[None]:
    """Look for the meaning of a request. Where the cluster is absent, that is what a bad one is told.

    What could never be applied has no first outcome either.
    """
    try:
        yield
    except Rejected as refusal:
        raise absence or refusal from None


def shown(answer: ReadAnswer) -> web.Response:
    """What was read, as a response."""
    headers = {"Content-Type": JSON_TYPE}
    if answer.resource_version is not None:
        headers["ETag"] = f'"{answer.resource_version}"'
    if answer.secret:
        headers["Cache-Control"] = "no-store"
    return web.Response(body=Pieces(answer.pieces), headers=headers)


def command_identity(request: web.Request, email: str, *operation: str) -> tuple[str, bool]:
    """The command's id and whether an `Idempotency-Key` has made it.

    The same key of the same caller for the same operation makes the same id, so that a retry is a repeat and
    gets the first outcome.

    Raises: Rejected: the key is empty, longer than 255 characters, not printable, or there are two.
    """
    key = once(request.headers, KEY)
    if key is None:
        return new_id(), False
    if not 1 <= len(key) <= MAX_KEY or not key.isprintable():
        raise invalid(f"{KEY} must be 1 to {MAX_KEY} printable characters", field=KEY)
    return deterministic_id("idempotency", email, *operation, key), True


def replayed(result: ResultMessage) -> dict[str, str]:
    """The header that tells a repeat's answer from a first one."""
    return {"Idempotent-Replayed": "true"} if result.outcome == "duplicate" else {}


def _acceptable(
    spec: dict[str, object] | None,
    request: web.Request,
    *,
    before: Callable[[], Mapping[str, object]] | None = None,
) -> Mapping[str, object]:
    """The spec as it may enter a topic: checked, its secrets encrypted. Defaults are the agent's to apply.

    Args:
        before: Makes the spec that this one replaces; asked only where the new one breaks a rule.
    """
    if spec is None:
        raise invalid("spec is required", field="spec")
    settings = request.app[SETTINGS]
    try:
        accept_spec(spec, settings.policy)
    except Rejected:
        if before is None:
            raise
        accept_spec(spec, settings.policy, before=before())
    encrypted = settings.keyring.encrypted(spec)
    if len(encode(encrypted)) > MAX_SPEC_BYTES:
        text = f"spec must be at most {MAX_SPEC_BYTES // 1024} KiB of JSON"
        raise Rejected("PAYLOAD_TOO_LARGE", text, field="spec")
    return encrypted


def _expected_version(request: web.Request, in_body: str | None) -> str | None:
    header = once_as_text(request.headers, "If-Match")
    if header is None or header == "*":
        return in_body
    match = _ETAG.fullmatch(header)
    if match is None:
        raise invalid('If-Match must be one quoted ETag or "*"', field="If-Match", value=header)
    if in_body not in (None, match[1]):
        raise invalid("If-Match and resource_version differ", field="resource_version")
    return match[1]


class _Specified(msgspec.Struct):
    spec: dict[str, object]


_spec_decoder = decoder_of(_Specified)


def _shown_spec(request: web.Request, email: str) -> Mapping[str, object]:
    """The spec of the path's cluster as this process shows it; empty while it shows none."""
    try:
        return _spec_decoder.decode(visible_entry(request, email).document).spec
    except Rejected:
        return {}


class _Version(msgspec.Struct):
    resource_version: str


_version_decoder = msgspec.json.Decoder(_Version)


def _document(result: ResultMessage, *, status: int, headers: dict[str, str] | None = None) -> web.Response:
    assert isinstance(result.cluster, msgspec.Raw)
    document = bytes(result.cluster)
    etag = f'"{_version_decoder.decode(document).resource_version}"'
    return json_response(
        document, status=status, headers={"ETag": etag, **replayed(result), **(headers or {})}
    )
