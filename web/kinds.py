"""The simple kinds of a web process: their views, feeds and ways to write."""

from collections.abc import Mapping
from typing import Final

from prometheus_client import Gauge

from domain.policy import Policy
from streams.reading.fresh import Freshness
from streams.settings import KafkaSettings
from streams.topics import Topics
from tables.entries import KindEntry, counted_by, entries
from tables.feed import Feed
from tables.view import View
from web.collection import Served
from web.routes import COLLECTIONS
from web.submit import Submitter
from web.writes import KindWrites

ENTITIES: Final = Gauge("clusterflow_entities", "Live entities of simple kinds", ["kind", "state"])

COUNTED_BY: Final = "status"
"""The column by whose values entities are counted, in kinds that have it."""

FEED_BYTES: Final = 4 * 1024 * 1024
"""Bytes of documents that the change feed of a kind keeps."""

Feeds = Mapping[str, Feed[KindEntry]]


def kind_feeds(topics: Topics) -> Feeds:
    """A view and its change feed for each kind, by its name."""
    return {
        collection.kind: Feed(
            View(
                entries(shown=collection.flow.shown, columns=collection.columns),
                counted=counted_by(COUNTED_BY, collection.columns),
            ),
            topic=topics.of(collection.flow.state),
            max_bytes=FEED_BYTES,
        )
        for collection in COLLECTIONS
    }


def kind_results(topics: Topics) -> tuple[str, ...]:
    """The topics that results of kinds come on."""
    return tuple(dict.fromkeys(topics.of(collection.flow.results) for collection in COLLECTIONS))


def serve_kinds(
    kafka: KafkaSettings, feeds: Feeds, submitter: Submitter, freshness: Freshness
) -> Mapping[str, Served]:
    """What this process serves each kind from."""
    return {
        collection.kind: Served(
            view=(feed := feeds[collection.kind]).view,
            feed=feed,
            writes=KindWrites(submitter, collection.flow.deployed(kafka.topics.of), feed.view),
            freshness=freshness if collection.fresh else None,
            topic=feed.topic,
            partitions=kafka.partitions,
        )
        for collection in COLLECTIONS
    }


def show_counts(views: Mapping[str, View[KindEntry]], policy: Policy) -> None:
    """Set the metric of live entities; a state that no entity has is 0.

    It costs the number of states, since views count at each change.
    """
    for collection in COLLECTIONS:
        known = collection.values_of(COUNTED_BY, policy) or ("",)
        counts = {**dict.fromkeys(known, 0), **views[collection.kind].counts()}
        for state, count in counts.items():
            ENTITIES.labels(collection.kind, state).set(count)
