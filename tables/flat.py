"""Clusters as operators see them: six fields, among them the droplets (operations contract, section 15)."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct, field

from domain.cluster.state import Health
from tables.cluster import ClusterEntry
from tables.view import View


class FlatCluster(Struct, kw_only=True):
    """A cluster as operators see it.

    Attributes:
        region: `spec.region`, or else that of its platform; empty if there is none.
        droplets: The ids of its droplets, oldest first.
        status: Its health: what operators have said of it, or else what follows from its phase.
        last_checked: When its controllers' reports were last added up, or operators have said how it is.
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
    """

    def __init__(self, view: View[ClusterEntry], droplets: Callable[[str], Sequence[str]]) -> None:
        self._view = view
        self._droplets = droplets

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
            last_checked=max(filter(None, (known.created_at, known.status.updated_at, checked_at))),
        )


def _region(spec: _Spec) -> str:
    platform = spec.platform.get(str(spec.platform.get("type", "")).lower())
    of_platform = platform.get("region") if isinstance(platform, dict) else None
    return next((text for text in (spec.region, of_platform) if text and isinstance(text, str)), "")
