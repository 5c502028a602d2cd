"""The simple kinds that a process serves: their views, their change feeds, and the ways to write."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Final, Protocol

from domain.errors import Rejected, Unavailable
from serving.fallback import Fallback
from serving.monitor import HealthMonitor
from serving.required import Kept, require
from serving.submit import Submitter
from serving.writes import KindWrites
from streams.flow import Flow
from streams.kafka.partitions import partition_of
from streams.reading.fresh import Freshness
from streams.settings import KafkaSettings
from streams.topics import Topics
from tables.entries import KindEntry, counted_by, entries, grouped_by
from tables.feed import Feed
from tables.view import View

COUNTED_BY: Final = "status"
"""The column by whose values entities are counted, in kinds that have it."""

FEED_BYTES: Final = 4 * 1024 * 1024
"""Bytes of documents that the change feed of a kind keeps."""

Feeds = Mapping[str, Feed[KindEntry]]


class Exposed(Protocol):
    """A kind as an API exposes it.

    Attributes:
        columns: Members of its documents that lists filter by.
        fresh: Whether reads of one entity show every write that was answered before, by any process.
        grouped: The column by which entities are found together; empty for none.
    """

    @property
    def flow(self) -> Flow[Any, Any, Any]:
        """What describes the kind, apart from a deployment."""

    @property
    def columns(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def fresh(self) -> bool: ...  # noqa: D102

    @property
    def grouped(self) -> str: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Followed:
    """A kind that a process follows, and may write to, while no list of it is shown (`Exposed`)."""

    flow: Flow[Any, Any, Any]
    columns: tuple[str, ...] = ()
    fresh: bool = True
    grouped: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What one process serves a kind from.

    Attributes:
        freshness: Lets reads wait for what was in the log when they came; None where the kind promises less.
        topic, partitions: Its changelog here.
    """

    view: View[KindEntry]
    feed: Feed[KindEntry]
    writes: KindWrites
    health: HealthMonitor
    freshness: Freshness | None
    topic: str
    partitions: int

    async def present(self, entity_id: str) -> KindEntry:
        """One entity. Raises: Rejected: there is none. Unavailable: that is not known now."""
        self.health.require_view()
        if self.freshness is not None:
            await self.freshness.caught_up(self.topic, partition_of(entity_id.encode(), self.partitions))
        entry = self.view.get(entity_id)
        if entry is None:
            raise not_found()
        return entry

    async def exists(self, entity_id: str) -> bool:
        """Whether there is an entity; as far as this process knows, where writes may be stored meanwhile.

        Raises: Unavailable: that is not known now.
        """
        try:
            await self.present(entity_id)
        except Rejected:
            return False
        except Unavailable:
            if not self.writes.may_wait:
                raise
            return self.view.get(entity_id) is not None
        return True


def not_found() -> Rejected:
    """The refusal of an id that no entity has."""
    return Rejected("RESOURCE_NOT_FOUND", "Not found")


def kind_feeds(kinds: Iterable[Exposed], topics: Topics) -> Feeds:
    """A view and its change feed for each kind, by its name."""
    return {
        each.flow.kind.name: Feed(
            View(
                entries(shown=each.flow.shown, columns=each.columns),
                counted=counted_by(COUNTED_BY, each.columns),
                grouped=grouped_by(each.grouped, each.columns),
            ),
            topic=topics.of(each.flow.state),
            max_bytes=FEED_BYTES,
        )
        for each in kinds
    }


def kind_results(kinds: Iterable[Exposed], topics: Topics) -> tuple[str, ...]:
    """The topics that results of kinds come on."""
    return tuple(dict.fromkeys(topics.of(each.flow.results) for each in kinds if each.flow.results))


def serve_kinds(
    kinds: Sequence[Exposed],
    kafka: KafkaSettings,
    feeds: Feeds,
    *,
    submitter: Submitter,
    health: HealthMonitor,
    freshness: Freshness,
    fallback: Fallback | None = None,
    require_referred: bool = False,
    others: Mapping[str, Kept] = MappingProxyType({}),
) -> Mapping[str, Served]:
    """What this process serves each kind from.

    Args:
        fallback: See `KindWrites`.
        require_referred: Whether what a create refers to must exist where operators decide (`Flow.refers`).
        others: What creates may refer to beside these kinds.
    """
    served = {
        (name := each.flow.kind.name): Served(
            view=(feed := feeds[name]).view,
            feed=feed,
            writes=KindWrites(
                submitter,
                each.flow.deployed(kafka.topics.of),
                feed.view,
                None if each.flow.internal else fallback,
            ),
            health=health,
            freshness=freshness if each.fresh else None,
            topic=feed.topic,
            partitions=kafka.partitions,
        )
        for each in kinds
    }
    kept = {**others, **served}
    for each in kinds:
        reference, own = each.flow.refers, served[each.flow.kind.name]
        if reference is not None and (reference.always or require_referred):
            own.writes.check = partial(require, reference, kept[reference.kind], own)
    return served
