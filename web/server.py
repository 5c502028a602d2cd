"""The role `web`: views of all kinds, the REST API on them, and the way of a write into the stream."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

from aiohttp import web
from prometheus_client import Gauge

from database import Pool
from domain.hosts import Hosts
from streams.described import asyncapi
from streams.kafka.admin import check_topics, kafka_cluster_id
from streams.kafka.held import HELD
from streams.kafka.rights import require_rights
from streams.kafka.roles import WEB
from streams.kafka.topic_ids import topic_ids, watch_topics
from streams.kafka.unavailable import Unacknowledged
from streams.reading.fresh import Freshness
from streams.reading.tail import Tail
from streams.writing.producer import Producer
from tables.cluster import ClusterEntry, ClusterView
from tables.feed import Feed
from tables.metrics import RECOVERING
from web import keys
from web.cluster.keys import FEED, READS, WRITES
from web.cluster.plain import plain_reads
from web.cluster.reads import Reads
from web.cluster.writes import ClusterWrites
from web.collection import SERVED, Served
from web.described import openapi
from web.described.pages import DESCRIPTIONS, Descriptions
from web.health.monitor import HEALTH, HealthMonitor
from web.health.outcomes import Outcomes
from web.http.edge import Edge, stamp
from web.http.headers import CORS, Cors
from web.http.plain import PLAIN, PlainReads
from web.http.protocol import Runner
from web.http.unread import UNREAD, Unread
from web.kinds import kind_feeds, kind_results, serve_kinds, show_counts
from web.routes import COLLECTIONS, ROUTES, add_routes
from web.settings import WebSettings
from web.submit import SUBMITTER, Submitter
from web.watch import WATCHES, Watches

log = logging.getLogger("clusterflow.api_server")

MAX_BODY: Final = 1024 * 1024

CLUSTERS = Gauge("clusterflow_clusters_total", "Live clusters", ["phase"])


async def run(
    settings: WebSettings, *, stop: asyncio.Event, ready: Callable[[Callable[[], bool]], None]
) -> None:
    """Serve until told to stop.

    Args:
        ready: Told how to ask whether this process is ready.

    Raises:
        OSError: the port is taken.
        KafkaError: no broker answers at the start.
        TopicMismatch: topics that it uses are not there as configured.
        NotPermitted: Kafka does not grant what a web process needs.
        TopicReplaced: one of them was made anew meanwhile.
    """
    topics = settings.kafka.topics
    await require_rights(settings.kafka, WEB)
    await check_topics(settings.kafka, WEB)
    view = ClusterView()
    feed = Feed(view, topic=topics.state, max_changes=settings.feed_changes, max_bytes=settings.feed_bytes)
    producer = Producer(settings.kafka, client_id="clusterflow-web")
    feeds = kind_feeds(topics)
    every_feed: Sequence[Feed[Any]] = (feed, *feeds.values())
    states = Tail(
        settings.kafka,
        client_id="clusterflow-web-states",
        from_beginning={each.topic: each.apply for each in every_feed},
    )
    database = None if settings.database is None else Pool(settings.database, application="clusterflow-web")
    # As long as a write may wait: from then on callers are told that their writes are unconfirmed.
    outcomes = Outcomes(settings.command_timeout.total_seconds(), time.monotonic)
    health = HealthMonitor(states, database, outcomes=outcomes)
    submitter = Submitter(
        producer=producer,
        health=health,
        timeout=settings.command_timeout,
    )
    # A tail of its own: a write waits for its result and then its state, and each finds a fetch waiting.
    results = Tail(
        settings.kafka,
        client_id="clusterflow-web-results",
        from_end=dict.fromkeys((topics.results, *kind_results(topics)), submitter.on_result),
    )
    ready(lambda: health.ready)
    RECOVERING.set_function(lambda: float(not states.caught_up.is_set()))
    freshness = Freshness(states.ends, states.reached)
    served = serve_kinds(settings.kafka, feeds, submitter, freshness)
    app = create_app(settings, feed=feed, submitter=submitter, health=health, served=served)
    async with AsyncExitStack() as resources:
        if database is not None:
            database.watched()
            resources.push_async_callback(database.close)
        for part in (results, states, producer):
            resources.push_async_callback(part.stop)
            await part.start()
        ids = await topic_ids(settings.kafka, topics.worked_on)
        kafka_id = await kafka_cluster_id(settings.kafka)
        for each in every_feed:
            each.identify(kafka_id, ids.get(each.topic))
        await _follow(app, states, results, producer, ids, stop)


async def _follow(
    app: web.Application,
    states: Tail,
    results: Tail,
    producer: Producer,
    ids: Mapping[str, str],
    stop: asyncio.Event,
) -> None:
    runner = await serve(app)
    looks = (Unacknowledged(producer.waiting).look, states.unreachable, results.unreachable)
    tasks = [
        asyncio.create_task(states.run(), name="states"),
        asyncio.create_task(results.run(), name="results"),
        asyncio.create_task(app[HEALTH].watch_kafka(), name="kafka probe"),
        asyncio.create_task(app[HEALTH].watch_partitions(*looks), name="partitions"),
        asyncio.create_task(_count(app), name="counts"),
        asyncio.create_task(HELD.watch(lambda: (states.consumer, results.consumer)), name="held partitions"),
        asyncio.create_task(watch_topics(app[keys.SETTINGS].kafka, ids), name="topics"),
        asyncio.create_task(stop.wait(), name="stop"),
    ]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()  # a follower that died ends the process: a supervisor starts it afresh
    finally:
        await runner.cleanup()  # stops accepting, lets requests under way finish
        await _cancelled(tasks)


def create_app(
    settings: WebSettings,
    *,
    feed: Feed[ClusterEntry],
    submitter: Submitter,
    health: HealthMonitor,
    served: Mapping[str, Served],
) -> web.Application:
    """The application over its parts; `serve` serves it."""
    app = web.Application(client_max_size=MAX_BODY)
    app.on_response_prepare.append(stamp)
    app[keys.SETTINGS] = settings
    app[FEED] = feed
    app[READS] = reads = Reads(feed.view, health, settings)
    app[WRITES] = ClusterWrites(submitter, feed.view, settings.kafka.topics)
    app[PLAIN] = plain_reads(reads)
    app[CORS] = Cors(settings.cors_origins)
    app[UNREAD] = unread = Unread(settings.max_unread)
    app[SUBMITTER] = submitter
    app[HEALTH] = health
    app[keys.SLUGGED] = tuple(collection.path for collection in COLLECTIONS)
    app[DESCRIPTIONS] = Descriptions(
        openapi=lambda: openapi.document(ROUTES, policy=settings.policy, version=settings.version),
        asyncapi=lambda: asyncapi.document(settings.kafka, version=settings.version),
    )
    app[SERVED] = dict(served)
    feeds: Sequence[Feed[Any]] = (feed, *(each.feed for each in served.values()))
    app[WATCHES] = watches = Watches(feeds, health, unread, settings)
    app.on_shutdown.append(watches.close)
    add_routes(app)
    return app


async def serve(app: web.Application) -> web.AppRunner:
    """Serve it on its host and port until the runner is cleaned up. Raises: OSError: the port is taken."""
    settings = app[keys.SETTINGS]
    hosts = Hosts(settings.host, settings.allowed_hosts)
    plain = PlainReads(app[PLAIN], hosts, settings)
    runner = Runner(
        app,
        lambda ordinary: Edge(
            plain, ordinary, hosts, app[CORS], app[UNREAD], write_timeout=settings.write_timeout
        ),
        access_log=None,
        keepalive_timeout=settings.idle_timeout.total_seconds(),
        max_field_size=settings.max_header_bytes,
        max_line_size=65536,
        shutdown_timeout=30.0,
    )
    await runner.setup()
    await web.TCPSite(runner, settings.host, settings.port, backlog=1024).start()
    log.info("listening", extra={"host": settings.host, "port": settings.port})
    if hosts.any_address and not settings.allowed_hosts:
        log.warning(
            "known by no name: requests that name a host other than localhost are refused; set ALLOWED_HOSTS"
        )
    return runner


async def _cancelled(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel until all have ended: a library on the way may swallow a cancellation."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=1.0)


async def _count(app: web.Application) -> None:
    views = {kind: served.view for kind, served in app[SERVED].items()}
    while True:
        for phase, count in app[FEED].view.counts().items():
            CLUSTERS.labels(phase).set(count)
        show_counts(views, app[keys.SETTINGS].policy)
        await asyncio.sleep(1)
