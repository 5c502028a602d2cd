"""What GET answers of clusters: who sees what, and the bytes, however a request has come.

Nothing here waits or needs a request, so plain reads ask it before a route is looked up
(`web/http/plain.py`), and the handlers after. Everything comes out of the view's memory.
"""

import re
from bisect import bisect_right
from collections.abc import Mapping
from itertools import accumulate
from typing import Final, NamedTuple, Self

import msgspec
from msgspec import convert

from domain.access import is_privileged, may_see
from domain.cluster.state import ControllerReport
from domain.errors import not_found
from serving.monitor import HealthMonitor
from streams.json import encode
from tables.cluster import ClusterEntry, Filter
from tables.view import View
from web.cluster.documents import ControllerStatus, ShownCondition, ShownError
from web.http.ids import id_of
from web.http.pieces import ReadAnswer
from web.http.unread import SHORT
from web.settings import WebSettings

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 100

_INTEGER = re.compile(r"([+-]?)([0-9]+)")
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


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

    def __init__(self, view: View[ClusterEntry], health: HealthMonitor, settings: WebSettings) -> None:
        self._view = view
        self._health = health
        self._policy = settings.policy
        self._keyring = settings.keyring
        self._max_page = settings.max_unread_each

    def entry(self, email: str, given: str) -> ClusterEntry:
        """The cluster of this id, in any case.

        Raises: Rejected: that is no id; or it is absent, deleted or somebody else's, all alike.
        """
        self._health.require_view()
        entry = self._view.get(given) or self._view.get(id_of(given, "cluster"))  # what is there is an id
        if entry is None or not may_see(email, entry.owner, self._policy):
            raise not_found()
        return entry

    def cluster(self, email: str, given: str) -> ReadAnswer:
        """A cluster as the view holds it; for privileged callers with the secrets of its spec."""
        entry = self.entry(email, given)
        document = entry.document
        if entry.secrets and is_privileged(email, self._policy):
            document = _with_secrets(document, self._keyring.decrypted(entry.secrets))
            return ReadAnswer((document,), entry.version, secret=True)
        return ReadAnswer((document,), entry.version)

    def status(self, email: str, given: str) -> ReadAnswer:
        """The aggregated status and every controller's last report, of whatever generation."""
        entry = self.entry(email, given)
        reports = entry.controller_statuses()
        controllers = encode([_controller_status(entry.id, reports[name]) for name in sorted(reports)])
        pieces = (
            b'{"cluster_id":"%b","generation":%d,"status":' % (entry.id.encode(), entry.generation),
            bytes(entry.status()),
            b',"controllers":',
            controllers,
            b',"controller_status":',
            controllers,
            b"}",
        )
        return ReadAnswer(pieces, entry.version)

    def page(self, email: str, asked: PageQuery) -> ReadAnswer:
        """One page of the clusters the caller may see, newest first.

        It holds as many as fit into the bytes of a page, and at least one: then `limit` is their number, and
        `next_offset` says that they are fewer than were asked for.
        """
        self._health.require_view()
        limit, offset = asked.limit, asked.offset
        documents, total = self._view.page(self.filter(email, asked), limit=limit, offset=offset)
        length = sum(map(len, documents))
        more = b""
        if length > self._max_page:
            documents = _fitting(documents, self._max_page)
            limit = len(documents)
            more = b',"next_offset":%d' % (offset + limit)
        end = b'],"total":%d,"limit":%d,"offset":%d%b}' % (total, limit, offset, more)
        if length <= SHORT:
            return ReadAnswer((b'{"clusters":[', b",".join(documents), end))
        parts = [part for document in documents for part in (b",", document)]
        return ReadAnswer((b'{"clusters":[', *parts[1:], end))

    def filter(self, email: str, asked: PageQuery) -> Filter:
        """What of it all is shown: owners their own clusters, whatever they ask for."""
        privileged = is_privileged(email, self._policy)
        return Filter(asked.created_by if privileged else email, asked.platform, asked.phase)


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


def _fitting(documents: list[bytes], most: int) -> list[bytes]:
    """The first of them that fit into so many bytes, or the first alone."""
    fitting = bisect_right(list(accumulate(map(len, documents))), most)
    return documents[: max(1, fitting)]


def _with_secrets(document: bytes, secrets: Mapping[str, str]) -> bytes:
    """A document whose spec shows these secrets; everything else stays to the letter."""
    cluster = _members.decode(document)
    spec = _members.decode(cluster["spec"])
    spec.update({name: msgspec.Raw(encode(value)) for name, value in secrets.items()})
    return encode({**cluster, "spec": spec})
