"""What GET answers of clusters: who sees what, and the bytes; for whichever way a request has come.

Nothing here waits or needs a request, so `web/plain.py` asks it before a route is looked up, and the handlers
after. Everything comes out of the view's memory.
"""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple, Self

import msgspec
from msgspec import Struct, convert

from domain.access import is_privileged, may_see
from domain.cluster import ControllerReport
from domain.errors import invalid, not_found
from streams.codec import encode
from streams.messages import UUID_PATTERN
from tables.views import ClusterEntry, ClusterView, Filter
from web.documents import ControllerStatus, ShownCondition, ShownError, StatusView
from web.health import Health
from web.settings import WebSettings

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 100

_UUID = re.compile(UUID_PATTERN)
_INTEGER = re.compile(r"([+-]?)([0-9]+)")
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Answer(Struct, frozen=True, gc=False):
    """JSON in pieces, and the resource version it shows if it is of one cluster.

    The pieces are joined where it is written, behind its head: a page is long enough for each copy to cost.
    """

    pieces: tuple[bytes, ...]
    resource_version: str | None = None

    @property
    def body(self) -> bytes:
        """The JSON."""
        return b"".join(self.pieces)


class PageQuery(NamedTuple):
    """What the query of a list asks for; `platform` and `phase` in lower case, None for any.

    A filter without a value counts as not given: that is what forms send for a field left empty.
    """

    created_by: str | None
    platform: str | None
    phase: str | None
    limit: int
    offset: int

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Self:
        """Read it; what is no number in its range counts as not given."""
        limit = _integer(query.get("limit"), DEFAULT_LIMIT)
        return cls(
            created_by=query.get("created_by") or None,
            platform=query.get("platform", "").lower() or None,
            phase=query.get("status", "").lower() or None,
            limit=min(limit, MAX_LIMIT) if limit >= 1 else DEFAULT_LIMIT,
            offset=max(0, _integer(query.get("offset"), 0)),
        )


class Reads:
    """The reads of clusters, each by a caller's address.

    Raises, all of them: Unavailable: the view is still being filled, so an absent cluster proves nothing.
    """

    def __init__(self, view: ClusterView, health: Health, settings: WebSettings) -> None:
        self._view = view
        self._health = health
        self._policy = settings.policy
        self._keyring = settings.keyring

    def entry(self, email: str, given: str) -> ClusterEntry:
        """The cluster of this id, in any case.

        Raises: Rejected: that is no id; or it is absent, deleted or somebody else's, all alike.
        """
        self._health.require_view()
        entry = self._view.get(given) or self._view.get(cluster_id(given))  # what is there is an id
        if entry is None or not may_see(email, entry.owner, self._policy):
            raise not_found()
        return entry

    def cluster(self, email: str, given: str) -> Answer:
        """A cluster as the view holds it; for privileged callers with the secrets of its spec."""
        entry = self.entry(email, given)
        document = entry.document
        if entry.secrets and is_privileged(email, self._policy):
            document = _with_secrets(document, self._keyring.decrypted(entry.secrets))
        return Answer((document,), entry.resource_version)

    def status(self, email: str, given: str) -> Answer:
        """The aggregated status and every controller's last report, of whatever generation."""
        entry = self.entry(email, given)
        reports = entry.controller_statuses()
        controllers = [_controller_status(entry.id, reports[name]) for name in sorted(reports)]
        body = StatusView(
            cluster_id=entry.id,
            generation=entry.generation,
            status=entry.status(),
            controllers=controllers,
            controller_status=controllers,
        )
        return Answer((encode(body),), entry.resource_version)

    def page(self, email: str, asked: PageQuery) -> Answer:
        """One page of the clusters the caller may see, newest first."""
        self._health.require_view()
        limit, offset = asked.limit, asked.offset
        documents, total = self._view.page(self.filter(email, asked), limit=limit, offset=offset)
        end = b'],"total":%d,"limit":%d,"offset":%d}' % (total, limit, offset)
        return Answer((b'{"clusters":[', b",".join(documents), end))

    def filter(self, email: str, asked: PageQuery) -> Filter:
        """What of it all is shown: owners their own clusters, whatever they ask for."""
        privileged = is_privileged(email, self._policy)
        return Filter(asked.created_by if privileged else email, asked.platform, asked.phase)


def is_id(given: str) -> bool:
    """Whether this is a UUID, in any case."""
    return _UUID.fullmatch(given) is not None


def cluster_id(given: str) -> str:
    """An id in lower case. Raises: Rejected: it is not a UUID."""
    if not is_id(given):
        raise invalid("invalid cluster ID format", field="id", value=given)
    return given.lower()


def _integer(text: str | None, default: int) -> int:
    """An integer of a query; one beyond 18 digits counts as 10^18, more than there ever is."""
    match = _INTEGER.fullmatch(text or "")
    if match is None:
        return default
    sign, digits = match.groups()
    return int(sign + digits) if len(digits) <= 18 else int(sign + "1" + "0" * 18)


def _controller_status(cluster_id: str, report: ControllerReport) -> ControllerStatus:
    shown = ControllerStatus(
        cluster_id=cluster_id,
        controller_name=report.controller_name,
        observed_generation=report.observed_generation,
        conditions=convert(report.conditions, list[ShownCondition], from_attributes=True),
        metadata=report.metadata,
        last_updated=report.last_updated,
        updated_at=report.last_updated,
    )
    if report.last_error is not None:
        shown.last_error = convert(report.last_error, ShownError, from_attributes=True)
    return shown


def _with_secrets(document: bytes, secrets: Mapping[str, str]) -> bytes:
    """A document whose spec shows these secrets; everything else stays to the letter."""
    cluster = _members.decode(document)
    spec = _members.decode(cluster["spec"])
    spec.update({name: msgspec.Raw(encode(value)) for name, value in secrets.items()})
    return encode({**cluster, "spec": spec})
