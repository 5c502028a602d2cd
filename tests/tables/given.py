"""Records of `cluster-state` as the view and the feed read them, with what they need and no more."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = 1_900_000_000.0  # seconds


@dataclass(frozen=True)
class Record:
    """A record as a consumer hands it over; the timestamp in milliseconds."""

    key: bytes
    value: bytes | None
    partition: int = 0
    offset: int = 0
    timestamp: float = NOW * 1000
    headers: tuple[tuple[str, bytes], ...] = ()
    topic: str = "cluster-state"


def document(
    id: str, *, version: int = 1, owner="a@b.cd", platform="gcp", phase="Pending", minute=0, padding=""
) -> bytes:
    cluster = {
        "id": id,
        "created_by": owner,
        "generation": version,
        "resource_version": str(version),
        "created_at": (START + timedelta(minutes=minute)).isoformat(),
        "spec": {"platform": {"type": platform}, "padding": padding},
        "status": {"phase": phase},
    }
    return json.dumps(cluster).encode()


def value(shown: bytes, *, revision: int = 1, deleted: bool = False) -> bytes:
    gone = b',"deleted_at":"2026-01-01T00:00:00Z"' if deleted else b""
    return b'{"revision":%d,"cluster":%b,"reports":{}%b}' % (revision, shown, gone)
