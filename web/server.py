"""The role `web`: views of all kinds, the REST API on them, and the way of a write into the stream."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final

from aiohttp import web
from prometheus_client import Gauge

from database import Pool
from domain.hosts import Hosts
from serving.backend import Backend
from serving.fallback import Fallback
from serving.kinds import Served, kind_feeds, kind_results, serve_kinds
from serving.monitor import HealthMonitor
from serving.submit import Submitter
from streams.described import asyncapi
from streams.flows import simple_flows
from streams.kafka.admin import check_topics
from streams.kafka.rights import require_rights
from streams.kafka.roles import WEB
from streams.reading.fresh import Freshness
from tables.cluster import ClusterEntry, ClusterView
from tables.feed import Feed
from tables.flat import Flat
from tables.view import View
from web import keys
from web.cluster.kept import KEPT, KeptClusters
from web.cluster.keys import FEED, READS, WRITES
from web.cluster.plain import plain_reads
from web.cluster.reads import Reads
from web.cluster.writes import ClusterWrites
from web.counts import show_counts
from web.described import openapi
from web.described.pages import DESCRIPTIONS, Descriptions
from web.diagnosis import checkup_of
from web.droplet import DROPLETS
from web.exporter import export
from web.flat import FLAT
from web.http.edge import Edge, stamp
from web.http.headers import CORS, Cors
from web.http.plain import PLAIN, PlainReads
from web.http.protocol import Runner
from web.http.unread import UNREAD, Unread
from web.job import JOB_POOL, JOBS
from web.job_pool import JobPool
from web.limiter.limiter import LIMITER, limiter_of
from web.routes import COLLECTIONS, FOLLOWED, ROUTES, add_routes
from web.samples import DATABASE, newest
from web.settings import WebSettings
from web.watch import WATCHES, Watches

log = logging.getLogger("clusterflow.api_server")

MAX_BODY: Final = 1024 * 1024

NAME: Final = "clusterflow-web"
"""What Kafka and PostgreSQL call a process of this role."""

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
        TopicReplaced: one of them was deleted and created again while this process ran.
    """
    topics = settings.kafka.topics
    await require_rights(settings.kafka, WEB)
    await check_topics(settings.kafka, WEB)
    feed = Feed(
        ClusterView(), topic=topics.state, max_changes=settings.feed_changes, max_bytes=settings.feed_bytes
    )
    kinds = (*COLLECTIONS, *FOLLOWED)
    feeds = kind_feeds(kinds, topics)
    database = None if settings.database is None else Pool(settings.database, application=NAME)
    backend = Backend(
        settings.kafka,
        name=NAME,
        feeds=(feed, *feeds.values()),
        results=(topics.results, *kind_results(kinds, topics)),
        timeout=settings.command_timeout,
        database=database,
    )
    ready(lambda: backend.health.ready)
    clusters = kept_clusters(feed.view, backend.health, backend.freshness, settings)
    served = serve_kinds(
        kinds,
        settings.kafka,
        feeds,
        submitter=backend.submitter,
        health=backend.health,
        freshness=backend.freshness,
        fallback=None
        if database is None or not settings.fallback
        else Fallback(database, simple_flows(settings.policy)),
        require_referred=settings.require_resource,
        others={"cluster": clusters},
    )
    app = create_app(
        settings,
        feed=feed,
        submitter=backend.submitter,
        health=backend.health,
        served=served,
        clusters=clusters,
    )
    if database is not None:
        app[DATABASE] = database
    async with AsyncExitStack() as stack:
        await backend.start(stack, topics=topics.worked_on)
        runner = await serve(app)
        # Closing stops accepting, and lets requests under way finish.
        await backend.follow(
            stop,
            _count(app),
            app[JOB_POOL].watch(settings.kafka),
            app[LIMITER].show(),
            export(served, feed.view, settings.export_interval),
            closing=runner.cleanup,
        )


def create_app(
    settings: WebSettings,
    *,
    feed: Feed[ClusterEntry],
    submitter: Submitter,
    health: HealthMonitor,
    served: Mapping[str, Served],
    clusters: KeptClusters,
) -> web.Application:
    """The application over its parts; `serve` serves it."""
    app = web.Application(client_max_size=MAX_BODY)
    app.on_response_prepare.append(stamp)
    app[keys.SETTINGS] = settings
    app[FEED] = feed
    app[READS] = reads = Reads(feed.view, health, settings)
    app[FLAT] = Flat(
        feed.view,
        lambda cluster_id: _droplets_of(served, cluster_id),
        partial(checkup_of, served),
        partial(newest, served),
    )
    app[KEPT] = clusters
    app[JOB_POOL] = JobPool(settings.job_pool)
    app[LIMITER] = limiter = limiter_of(settings.limiter, settings.kafka.topics.prefix, served)
    app.on_cleanup.append(limiter.close)
    app[WRITES] = ClusterWrites(submitter, feed.view, settings.kafka.topics)
    app[PLAIN] = plain_reads(reads)
    app[CORS] = Cors(settings.cors_origins)
    app[UNREAD] = unread = Unread(settings.max_unread)
    app[keys.SUBMITTER] = submitter
    app[keys.HEALTH] = health
    app[keys.SLUGGED] = tuple(each.path for each in COLLECTIONS if each.shape.slugs)
    app[DESCRIPTIONS] = Descriptions(
        openapi=lambda: openapi.document(ROUTES, policy=settings.policy, version=settings.version),
        asyncapi=lambda: asyncapi.document(settings.kafka, version=settings.version),
    )
    app[keys.SERVED] = dict(served)
    feeds: Sequence[Feed[Any]] = (feed, *(each.feed for each in served.values()))
    app[WATCHES] = watches = Watches(feeds, health, unread, settings)
    app.on_shutdown.append(watches.close)
    add_routes(app)
    return app


def kept_clusters(
    view: View[ClusterEntry], health: HealthMonitor, freshness: Freshness, settings: WebSettings
) -> KeptClusters:
    """The clusters that droplets may name."""
    return KeptClusters(
        view,
        health,
        freshness,
        topic=settings.kafka.topics.state,
        partitions=settings.kafka.partitions,
        may_wait=settings.fallback,
    )


def _droplets_of(served: Mapping[str, Served], cluster_id: str) -> Sequence[str]:
    """The ids of the droplets of a cluster, oldest first."""
    return [entry.id for entry in reversed(served[DROPLETS.kind].view.group(cluster_id))]


async def serve(app: web.Application) -> web.AppRunner:
    """Serve it on its host and port until the runner is cleaned up. Raises: OSError: the port is taken."""
    settings = app[keys.SETTINGS]
    hosts = Hosts(settings.host, settings.allowed_hosts)
    plain = PlainReads(app[PLAIN], hosts, settings)
    runner = Runner(
        app,
        lambda ordinary: Edge(
            plain,
            ordinary,
            hosts,
            app[CORS],
            app[UNREAD],
            write_timeout=settings.write_timeout,
            slugged=app[keys.SLUGGED],
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


async def _count(app: web.Application) -> None:
    views = {kind: served.view for kind, served in app[keys.SERVED].items()}
    while True:
        for phase, count in app[FEED].view.counts().items():
            CLUSTERS.labels(phase).set(count)
        show_counts(views, app[keys.SETTINGS].policy)
        app[JOB_POOL].show(views[JOBS.kind].counts())
        await asyncio.sleep(1)
