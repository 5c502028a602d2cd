"""A web process on a real port without a Kafka: the feed is filled by hand."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web
from aiokafka import TopicPartition

from serving.kinds import kind_feeds, serve_kinds
from serving.monitor import HealthMonitor
from serving.submit import Submitter
from streams.reading.fresh import Freshness
from streams.reading.tail import Tail
from streams.settings import KafkaSettings
from streams.writing.producer import Producer
from tables.cluster import ClusterView
from tables.feed import Feed
from tests.e2e.product import RAW_HOST, Client
from tests.tables.given import Record, document, value
from web.routes import COLLECTIONS, FOLLOWED
from web.server import create_app, kept_clusters, serve
from web.settings import WebSettings

OWNER = "owner@example.com"
KAFKA = KafkaSettings(bootstrap_servers="127.0.0.1:1", partitions=2)


@dataclass
class Served:
    """A web process without a Kafka."""

    client: Client
    feed: Feed
    health: HealthMonitor
    runner: web.AppRunner
    kinds: Mapping[str, Feed]
    offset: int = -1

    def put(self, id: str, *, deleted: bool = False, **shown: Any) -> None:
        """Let the topic bring a state of a cluster, as good as new."""
        self.offset += 1
        body = document(id, version=self.offset + 1, **{"owner": OWNER, **shown})
        body = value(body, revision=self.offset + 1, deleted=deleted)
        self.feed.apply(Record(id.encode(), body, 0, self.offset))


async def nothing_came(partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
    """Where partitions end of which nothing was ever written."""
    return dict.fromkeys(partitions, 0)


async def at_once(tp: TopicPartition, offset: int) -> None:
    """Waits for nothing: the view is filled by hand."""


@asynccontextmanager
async def serving(*, identity: str = "here", **given: Any) -> AsyncIterator[Served]:
    """Serve with these settings."""
    settings = WebSettings(**{"kafka": KAFKA, "port": 0, "allowed_hosts": (RAW_HOST,), **given})
    feed = Feed(
        ClusterView(),
        topic="cluster-state",
        max_changes=settings.feed_changes,
        max_bytes=settings.feed_bytes,
        clock=lambda: 0.0,
    )
    feed.identify(identity)
    tail = Tail(KAFKA, client_id="test")
    tail.caught_up.set()
    health = HealthMonitor(tail, None, kafka_healthy=True)
    submitter = Submitter(
        producer=Producer(KAFKA, client_id="test"),
        health=health,
        timeout=settings.command_timeout,
    )
    kinds = (*COLLECTIONS, *FOLLOWED)
    feeds = kind_feeds(kinds, KAFKA.topics)
    freshness = Freshness(nothing_came, at_once)
    clusters = kept_clusters(feed.view, health, freshness, settings)
    served = serve_kinds(
        kinds,
        KAFKA,
        feeds,
        submitter=submitter,
        health=health,
        freshness=freshness,
        others={"cluster": clusters},
    )
    app = create_app(
        settings, feed=feed, submitter=submitter, health=health, served=served, clusters=clusters
    )
    runner = await serve(app)
    host, port = runner.addresses[0]
    async with aiohttp.ClientSession() as session:
        try:
            yield Served(Client(f"http://{host}:{port}", session, OWNER), feed, health, runner, feeds)
        finally:
            await runner.cleanup()
            await tail.stop()
