"""The cluster resource: list, create, get, update, delete."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import msgspec
from aiohttp import web

from domain.access import is_privileged
from domain.cluster.commands import Create, Delete, Update
from domain.cluster.names import name_key
from domain.cluster.spec import accept_spec, check_name, check_project_id
from domain.errors import Rejected, invalid
from domain.ids import deterministic_id
from serving.ids import new_id
from serving.submit import WriteResult
from streams.cluster.codec import MAX_SPEC_BYTES
from streams.decoding import decoder_of
from streams.json import encode
from streams.kafka.partitions import beside
from tables.cluster import Filter
from tables.feed import Watched
from web.cluster.bodies import CreateBody, UpdateBody
from web.cluster.documents import DeleteAccepted
from web.cluster.keys import FEED, READS, WRITES
from web.cluster.reads import PageQuery
from web.http.bodies import body_of
from web.http.errors import json_response
from web.http.identity import caller
from web.http.unread import UNREAD
from web.keys import REQUEST_STATE, SETTINGS
from web.requests import KEY, command_identity, etag, if_match, path_id, replayed, shown
from web.watch import WATCHES, is_watch

_create_decoder = decoder_of(CreateBody)
_update_decoder = decoder_of(UpdateBody)


async def list_clusters(request: web.Request) -> web.StreamResponse:
    """One page of the clusters the caller may see, newest first; or all of them and how they change."""
    email = caller(request)
    reads, asked = request.app[READS], PageQuery.of(request.query)
    if is_watch(request):
        wanted = Watched(reads.filter(email, asked))
        return await request.app[WATCHES].serve(request, email, request.app[FEED], wanted)
    return shown(reads.page(email, asked))


async def create_cluster(request: web.Request) -> web.Response:
    """Create a cluster; answered once it exists."""
    email = caller(request)
    body = (await body_of(request, _create_decoder)).meaning()
    project_id = body.target_project_id or ""
    result, cluster_id = await create(request, email, body.name or "", body.spec, project_id)
    return _document(result, status=201, headers={"Location": f"/api/v1/clusters/{cluster_id}"})


async def create(
    request: web.Request, email: str, name: str, given: dict[str, object] | None, project_id: str = ""
) -> tuple[WriteResult, str]:
    """Create a cluster; returns what became of that, and its id. Raises: Rejected."""
    check_name(name)
    spec = _acceptable(given, request)
    check_project_id(project_id)
    command_id, keyed = command_identity(request, email, "create")
    cluster_id = _new_cluster_id(request, email, name, command_id if keyed else None)
    command = Create(
        **said_by(request, email, cluster_id, command_id, keyed=keyed),
        name=name,
        spec=spec,
        target_project_id=project_id,
    )
    request[REQUEST_STATE].entity_id = cluster_id
    return await _decided(request, command), cluster_id


def said_by(
    request: web.Request, email: str, cluster_id: str, command_id: str, *, keyed: bool = False
) -> dict[str, Any]:
    """The members that every command of a request has."""
    return {
        "command_id": command_id,
        "cluster_id": cluster_id,
        "user_email": email,
        "triggered_by": "api_request",
        "request_id": request[REQUEST_STATE].request_id,
        "keyed": keyed,
    }


def _new_cluster_id(request: web.Request, email: str, name: str, command_id: str | None) -> str:
    """The id of a new cluster, in the partition of its name, so that one turn of a worker makes both.

    Args:
        command_id: That of a create under an `Idempotency-Key`, whose repeats must have the same id, also
            those of a first one that an earlier version has sent.
    """
    if command_id is not None:
        return str(UUID(deterministic_id(command_id, "cluster"), version=4))
    return beside(name_key(email, name).encode(), request.app[SETTINGS].kafka.partitions, new_id())


async def get_cluster(request: web.Request) -> web.StreamResponse:
    """One cluster, as the view holds it; for privileged callers with the secrets of its spec."""
    email, settings = caller(request), request.app[SETTINGS]
    if is_watch(request):
        owner = None if is_privileged(email, settings.policy) else email
        wanted = Watched(Filter(owner), path_id(request, "cluster"))
        return await request.app[WATCHES].serve(request, email, request.app[FEED], wanted)
    return shown(request.app[READS].cluster(email, request.match_info["id"]))


async def update_cluster(request: web.Request) -> web.Response:
    """Replace the spec; with `If-Match` or `resource_version` only if nobody else has since it was read."""
    email = caller(request)
    cluster_id = path_id(request, "cluster")
    body = await body_of(request, _update_decoder)
    with behind(absence(request, email)):
        command_id, keyed = command_identity(request, email, "update", cluster_id)
        message = body.meaning()
        spec = _acceptable(message.spec, request, before=lambda: shown_spec(request, email))
        expected = _expected_version(request, message.resource_version or None)
    command = Update(
        **said_by(request, email, cluster_id, command_id, keyed=keyed),
        spec=spec,
        expected_resource_version=expected,
    )
    return _document(await _decided(request, command), status=200)


async def delete_cluster(request: web.Request) -> web.Response:
    """Delete; takes effect at once."""
    email = caller(request)
    cluster_id = path_id(request, "cluster")
    with behind(absence(request, email)):
        command_id, keyed = command_identity(request, email, "delete", cluster_id)
        expected = _expected_version(request, None)
    command = Delete(
        **said_by(request, email, cluster_id, command_id, keyed=keyed),
        force=request.query.get("force", "").lower() == "true",
        expected_resource_version=expected,
    )
    result = await request.app[WRITES].submit(command)
    body = encode(DeleteAccepted(cluster_id=cluster_id))
    return json_response(body, status=202, headers=replayed(result))


async def _decided(request: web.Request, command: Create | Update) -> WriteResult:
    """Have a command decided whose answer shows the cluster, about as long as the body that has come."""
    async with request.app[UNREAD].reserved(request.content.total_bytes):
        return await request.app[WRITES].submit(command)


def absence(request: web.Request, email: str) -> Rejected | None:
    """Why the cluster of the path can't be found, where a key may still make the request a repeat.

    The cluster's agent answers a repeat, though the cluster is gone.

    Raises: Rejected: it can't be found, and there is no key.
    """
    try:
        request.app[READS].entry(email, request.match_info["id"])
    except Rejected as absence:
        if KEY not in request.headers:
            raise
        return absence
    return None


@contextmanager
def behind(absence: Rejected | None) -> Iterator[None]:
    """Look for the meaning of a request. Where the cluster is absent, that is what a bad one is told.

    What could never be applied has no first outcome either.
    """
    try:
        yield
    except Rejected as refusal:
        raise absence or refusal from None


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
    header = if_match(request)
    if header is None:
        return in_body
    if in_body not in (None, header):
        raise invalid("If-Match and resource_version differ", field="resource_version")
    return header


class _Specified(msgspec.Struct):
    spec: dict[str, object]


_spec_decoder = decoder_of(_Specified)


def shown_spec(request: web.Request, email: str) -> Mapping[str, object]:
    """The spec of the path's cluster as this process shows it; empty while it shows none."""
    try:
        entry = request.app[READS].entry(email, request.match_info["id"])
        return _spec_decoder.decode(entry.document).spec
    except Rejected:
        return {}


class _Version(msgspec.Struct):
    resource_version: str


_version_decoder = msgspec.json.Decoder(_Version)


def _document(result: WriteResult, *, status: int, headers: dict[str, str] | None = None) -> web.Response:
    assert isinstance(result.document, msgspec.Raw)
    document = bytes(result.document)
    version = str(result.version or _version_decoder.decode(document).resource_version)
    said = {"ETag": etag(version), **replayed(result), **(headers or {})}
    return json_response(document, status=status, headers=said)
