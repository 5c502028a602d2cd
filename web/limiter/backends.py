"""Where buckets are: with their agent, whose table is in Kafka, or in Valkey or Redis."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import msgspec
from msgspec import UnsetType

from domain.bucket import BUCKET, Bucket, Take
from domain.rates import Rate, Taken, key_of, refilled
from serving.ids import new_id
from serving.kinds import Served
from web.limiter.levels import Place

LOCAL: Final = "local"
"""Who decides while Valkey is away: each process for itself."""

_read_bucket: Final = msgspec.json.Decoder(Bucket).decode


@dataclass(frozen=True, slots=True)
class Decision:
    """What a back end says of a bucket.

    Attributes:
        backend: Who has said so: `table`, `redis` or `local`.
    """

    taken: Taken
    backend: str


class Backend(Protocol):
    """Keeps buckets."""

    async def take(self, place: Place, rate: Rate, *, request_id: str) -> Decision:
        """Take a token. Raises: Unavailable: nobody can tell now."""

    async def look(self, place: Place, rate: Rate) -> tuple[float, str]:
        """The tokens that there are, and who says so; one that was never used is full."""

    async def close(self) -> None:
        """Let go of what is held open."""


class Table:
    """Buckets of an agent: each decision is a record, and exact over all processes.

    While Kafka is away nobody decides, and the request is answered 503; it could not be done either.
    """

    name: Final = "table"

    def __init__(self, served: Mapping[str, Served]) -> None:
        self._served = served

    async def take(self, place: Place, rate: Rate, *, request_id: str) -> Decision:  # noqa: D102
        command = Take(
            id=key_of(*place),
            command_id=new_id(),
            name=place.name,
            scope=place.scope,
            capacity=rate.capacity,
            refill_rate=rate.refill_rate,
        )
        origin: dict[str, Any] = {"request_id": request_id}
        result = await self._served[BUCKET.name].writes.submit(command, origin=origin, keyed=False)
        assert not isinstance(result.document, UnsetType)
        bucket = _read_bucket(result.document)
        return Decision(Taken(bucket.granted, bucket.tokens), self.name)

    async def look(self, place: Place, rate: Rate) -> tuple[float, str]:  # noqa: D102
        entry = self._served[BUCKET.name].view.get(key_of(*place))
        if entry is None:
            return rate.capacity, self.name
        bucket = _read_bucket(entry.document)
        elapsed = (datetime.now(UTC) - bucket.updated_at).total_seconds()
        return refilled(bucket.tokens, elapsed, rate), self.name

    async def close(self) -> None:
        """Nothing is."""
