"""Clusters as operators see them: six fields, among them the droplets (operations contract, section 15)."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct, field

from domain.diagnosis import MAX_SENTENCE, MAX_TEXT, MOST_FAILING, Facts
from domain.health import Health
from tables.cluster import ClusterEntry
from tables.view import View


class FlatCluster(Struct, kw_only=True):
    """A cluster as operators see it.

    Attributes:
        region: `spec.region`, or else that of its platform; empty if there is none.
        droplets: The ids of its droplets, oldest first.
        status: Its health: what operators have said of it, or else what follows from its phase.
        last_checked: When its controllers' reports were last added up, it was diagnosed, or operators have
            said how it is.
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
        diagnosed: Returns when a cluster was diagnosed last; None if it is not known to have been.
    """

    def __init__(
        self,
        view: View[ClusterEntry],
        droplets: Callable[[str], Sequence[str]],
        diagnosed: Callable[[str], datetime | None] = lambda cluster_id: None,
    ) -> None:
        self._view = view
        self._droplets = droplets
        self._diagnosed = diagnosed

    def cluster(self, cluster_id: str) -> FlatCluster | None:
        """A live cluster; None if there is none."""
        entry = self._view.get(cluster_id)
        return None if entry is None else self.of(cluster_id, entry.document)

    def of(self, cluster_id: str, document: bytes) -> FlatCluster:
        """A cluster as its native document shows it, and as operators see its health."""
        entry, known = self._view.get(cluster_id), _decode(document)
        said, checked_at = (None, None) if entry is None else (entry.health, entry.checked_at)
        by_phase: Health = "critical" if known.status.phase in ("Failed", "Error") else "healthy"
        return FlatCluster(
            id=cluster_id,
            name=known.name,
            region=_region(known.spec),
            droplets=self._droplets(cluster_id),
            status=said or by_phase,
            last_checked=max(
                filter(
                    None,
                    (known.created_at, known.status.updated_at, checked_at, self._diagnosed(cluster_id)),
                )
            ),
        )

    def facts(self, cluster_id: str) -> Facts | None:
        """What a live cluster is diagnosed by; None if there is none."""
        entry, flat = self._view.get(cluster_id), self.cluster(cluster_id)
        if entry is None or flat is None:
            return None
        failing = [
            _failing(name, condition.type)
            for name, report in sorted(entry.controller_statuses().items())
            for condition in report.conditions
            if condition.status == "False"
        ]
        return Facts(
            name=flat.name,
            region=flat.region[:MAX_TEXT],
            status=flat.status,
            droplets=len(flat.droplets),
            failing=tuple(failing[:MOST_FAILING]),
        )


def _failing(controller: str, condition: str) -> str:
    return f"Controller {controller}: {condition} is False"[:MAX_SENTENCE]


def _region(spec: _Spec) -> str:
    platform = spec.platform.get(str(spec.platform.get("type", "")).lower())
    of_platform = platform.get("region") if isinstance(platform, dict) else None
    texts = (text.strip() for text in (spec.region, of_platform) if isinstance(text, str))
    return next(filter(None, texts), "")
