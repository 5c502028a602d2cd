"""Clusters as operators see them: six fields, among them the droplets (operations contract, section 15)."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct, field

from domain.checkup import Checkup
from domain.cluster.spec import region_of
from domain.diagnosis import MAX_SENTENCE, MAX_TEXT, MOST_FAILING, Facts
from domain.health import Health
from domain.measures import WORSE, Sample, known
from tables.cluster import ClusterEntry
from tables.view import View


class FlatCluster(Struct, kw_only=True):
    """A cluster as operators see it.

    Attributes:
        region: `spec.region`, or else that of its platform; empty if there is none.
        droplets: The ids of its droplets, oldest first.
        status: Its health: what operators have said of it, or else the worse of what its phase says and what
            the last check has found.
        last_checked: When its controllers' reports were last added up, it was diagnosed or checked, or
            operators have said how it is.
    """

    id: str
    name: str
    region: str
    droplets: Sequence[str]
    status: Health
    last_checked: datetime


class _Status(Struct):
    phase: str
    updated_at: datetime = field(name="lastUpdateTime")


class _Spec(Struct):
    platform: dict[str, Any]
    region: Any = ""


class _Cluster(Struct):
    name: str
    created_at: datetime
    status: _Status
    spec: _Spec = field(default_factory=lambda: _Spec(platform={}))


_decode = msgspec.json.Decoder(_Cluster).decode


class Flat:
    """Makes them.

    Args:
        droplets: Returns the ids of the droplets of a cluster, oldest first.
        checkup: Returns the last look at a cluster; None if none is known.
        samples: Returns the newest samples of a cluster.
    """

    def __init__(
        self,
        view: View[ClusterEntry],
        droplets: Callable[[str], Sequence[str]],
        checkup: Callable[[str], Checkup | None] = lambda cluster_id: None,
        samples: Callable[[str], Sequence[Sample]] = lambda cluster_id: (),
    ) -> None:
        self._view = view
        self._droplets = droplets
        self._checkup = checkup
        self._samples = samples

    def cluster(self, cluster_id: str) -> FlatCluster | None:
        """A live cluster; None if there is none."""
        entry = self._view.get(cluster_id)
        return None if entry is None else self.of(cluster_id, entry.document)

    def of(self, cluster_id: str, document: bytes) -> FlatCluster:
        """A cluster as its native document shows it, and as operators see its health."""
        entry, shown, checkup = self._view.get(cluster_id), _decode(document), self._checkup(cluster_id)
        checked_at = None if entry is None else entry.checked_at
        looked_at = None if checkup is None else checkup.updated_at
        moments = (shown.created_at, shown.status.updated_at, checked_at, looked_at)
        return FlatCluster(
            id=cluster_id,
            name=shown.name,
            region=region_of({"region": shown.spec.region, "platform": shown.spec.platform}),
            droplets=self._droplets(cluster_id),
            status=_health(entry, shown, checkup),
            last_checked=max(filter(None, moments)),
        )

    def facts(self, cluster_id: str, *, unchecked: bool = False) -> Facts | None:
        """What a live cluster is diagnosed by; None if there is none.

        Args:
            unchecked: Whether its health shall leave out what the last check has found.
        """
        entry, flat = self._view.get(cluster_id), self.cluster(cluster_id)
        if entry is None or flat is None:
            return None
        status = _health(entry, _decode(entry.document), None) if unchecked else flat.status
        failing = [
            _failing(name, condition.type)
            for name, report in sorted(entry.controller_statuses().items())
            for condition in report.conditions
            if condition.status == "False"
        ]
        return Facts(
            name=flat.name,
            region=flat.region[:MAX_TEXT],
            status=status,
            droplets=len(flat.droplets),
            failing=tuple(failing[:MOST_FAILING]),
            samples=known(self._samples(cluster_id)),
        )


def _health(entry: ClusterEntry | None, cluster: _Cluster, checkup: Checkup | None) -> Health:
    """What operators have said, or the worse of what its phase and the last check say."""
    if entry is not None and entry.health is not None:
        return entry.health
    by_phase: Health = "critical" if cluster.status.phase in ("Failed", "Error") else "healthy"
    found: Health = (checkup and checkup.health) or "healthy"
    return max(by_phase, found, key=WORSE.__getitem__)


def _failing(controller: str, condition: str) -> str:
    return f"Controller {controller}: {condition} is False"[:MAX_SENTENCE]
