"""Clusters as readers see them: the bytes that GET returns, and the columns that lists filter by.

A state needs little decoding, because the document is cut out of the record unchanged.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from sys import intern
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec
from msgspec import Raw, Struct, structs

from domain.cluster.state import ControllerReport
from domain.health import Health
from streams.decoding import decoder_of
from tables.view import SortKey, View

_NO_SECRETS: Final[Mapping[str, str]] = MappingProxyType({})


# Without `gc=False` Python's collector would walk over all clusters again and again while a view is filled.
# None of these objects can be part of a cycle.


class _Platform(Struct, gc=False):
    type: str = ""


class _Spec(Struct, gc=False):
    platform: _Platform


class _Status(Struct, gc=False):
    phase: str


class _Document(Struct, gc=False):
    created_by: str
    generation: int
    resource_version: str
    created_at: datetime
    spec: _Spec
    status: _Status


class _State(Struct, gc=False):
    revision: int
    cluster: Raw
    reports: Raw
    secrets: dict[str, str] = {}
    health_override: Health | None = None
    checked_at: datetime | None = None
    deleted_at: datetime | None = None


_state_decoder = msgspec.json.Decoder(_State)
_document_decoder = msgspec.json.Decoder(_Document)
_reports_decoder = decoder_of(dict[str, ControllerReport])
_status_decoder = msgspec.json.Decoder(dict[str, Raw])


class Columns(Struct, frozen=True, gc=False):
    """The columns that lists filter by; `platform` and `phase` in lower case."""

    owner: str
    platform: str
    phase: str


class Filter(NamedTuple):
    """The filter of a list; None matches all. `platform` and `phase` in lower case."""

    owner: str | None = None
    platform: str | None = None
    phase: str | None = None

    def shows(self, columns: Columns) -> bool:
        """Whether a cluster with these columns is shown."""
        owner, platform, phase = self
        return (
            (owner is None or owner == columns.owner)
            and (platform is None or platform == columns.platform)
            and (phase is None or phase == columns.phase)
        )


class ClusterEntry(Struct, frozen=True, gc=False):
    """One live cluster.

    Attributes:
        columns: The columns that lists filter by.
        version: Its `resource_version`.
        document: The JSON that GET answers.
        reports: The JSON object of its controllers' reports.
        secrets: Members of its spec that the document omits, encrypted.
        health: What operators have said of its health; None unless they have.
        checked_at: When they did last, or took it back.
    """

    id: str
    columns: Columns
    generation: int
    version: str
    created_at: datetime
    document: bytes
    reports: bytes
    secrets: Mapping[str, str]
    health: Health | None = None
    checked_at: datetime | None = None

    @property
    def place(self) -> SortKey:
        """Its place in lists: newest first, then by id."""
        return (-self.created_at.timestamp(), self.id)

    @property
    def owner(self) -> str:
        """The address of its owner."""
        return self.columns.owner

    def filters(self) -> Iterator[Filter]:
        """Every filter that shows it."""
        for owner in (None, self.columns.owner):
            for platform in (None, self.columns.platform):
                for phase in (None, self.columns.phase):
                    yield Filter(owner, platform, phase)

    def controller_statuses(self) -> Mapping[str, ControllerReport]:
        """Its controllers' reports by name."""
        return _reports_decoder.decode(self.reports)

    def status(self) -> Raw:
        """The status object of the document."""
        return _status_decoder.decode(self.document)["status"]


class ClusterView(View[ClusterEntry]):
    """Every live cluster, counted by phase."""

    def __init__(self) -> None:
        super().__init__(read_state, counted=lambda entry: entry.columns.phase)


def read_state(cluster_id: str, data: bytes, before: ClusterEntry | None) -> tuple[int, ClusterEntry | None]:
    """Read a value of `cluster-state` for a `View`."""
    state = _state_decoder.decode(data)
    if state.deleted_at:
        return state.revision, None
    document, reports = bytes(state.cluster), bytes(state.reports)
    secrets = state.secrets or _NO_SECRETS
    if before is not None and before.document == document:
        # Keep one document in memory, however many records carry it.
        return state.revision, structs.replace(
            before,
            reports=reports,
            secrets=secrets,
            health=state.health_override,
            checked_at=state.checked_at,
        )
    shown = _document_decoder.decode(document)
    return state.revision, ClusterEntry(
        cluster_id,
        Columns(
            intern(shown.created_by),  # clusters of one owner share the text, which takes less memory
            intern(shown.spec.platform.type.lower()),
            intern(shown.status.phase.lower()),
        ),
        shown.generation,
        shown.resource_version,
        shown.created_at,
        document,
        reports,
        secrets,
        state.health_override,
        state.checked_at,
    )
