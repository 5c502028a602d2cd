"""The role `grpc`: a view of tasks, and the service of tasks on it."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from database import Pool
from domain.policy import Policy
from rpc.calls import Calls
from rpc.settings import RpcSettings
from rpc.task.service import SERVICE, TASKS, TaskService
from rpc.task.v1.task_pb2_grpc import add_TaskServiceServicer_to_server
from serving.backend import Backend
from serving.fallback import Fallback
from serving.kinds import Followed, Served, kind_feeds, kind_results, serve_kinds
from serving.monitor import HealthMonitor
from streams.flows import simple_flows
from streams.kafka.admin import check_topics
from streams.kafka.rights import require_rights
from streams.kafka.roles import GRPC
from streams.resource import resource_flow

log = logging.getLogger("clusterflow.grpc")

RESOURCES: Final = Followed(resource_flow(Policy()))
"""Followed where tasks may be of resources alone that exist; nothing of them is served."""

NAMES: Final = ("", SERVICE)
"""What may be asked for by the standard health service: the process, and its service."""

MOST_BYTES: Final = 256 * 1024
"""Bytes of a request, as for bodies of REST."""

LOOK_EVERY: Final = 0.25
"""Seconds between two looks at the health of this process."""


async def run(
    settings: RpcSettings, *, stop: asyncio.Event, ready: Callable[[Callable[[], bool]], None]
) -> None:
    """Serve until told to stop.

    Args:
        ready: Told how to ask whether this process is ready.

    Raises:
        OSError: the port is taken.
        KafkaError: no broker answers at the start.
        TopicMismatch: topics that it uses are not there as configured.
        NotPermitted: Kafka does not grant what it needs.
        TopicReplaced: one of them was deleted and created again while this process ran.
    """
    topics = settings.kafka.topics
    await require_rights(settings.kafka, GRPC)
    await check_topics(settings.kafka, GRPC)
    kinds = (TASKS, RESOURCES) if settings.require_resource else (TASKS,)
    feeds = kind_feeds(kinds, topics)
    database = None if settings.fallback is None else Pool(settings.fallback, application="clusterflow-grpc")
    backend = Backend(
        settings.kafka,
        name="clusterflow-grpc",
        feeds=[*feeds.values()],
        results=kind_results((TASKS,), topics),
        timeout=settings.command_timeout,
        database=database,
    )
    ready(lambda: backend.health.ready)
    served = serve_kinds(
        kinds,
        settings.kafka,
        feeds,
        submitter=backend.submitter,
        health=backend.health,
        freshness=backend.freshness,
        fallback=None if database is None else Fallback(database, simple_flows(settings.policy)),
        require_referred=settings.require_resource,
    )
    async with AsyncExitStack() as stack:
        own = (TASKS.flow.commands, *(each.flow.state for each in kinds))
        await backend.start(stack, topics=[topics.of(name) for name in own])
        told = health.aio.HealthServicer()
        server = await serve(settings, served[TASKS.flow.kind.name], told)

        async def closing() -> None:
            await told.enter_graceful_shutdown()
            await server.stop(settings.stop_within.total_seconds())

        await backend.follow(stop, _tell_health(told, backend.health), closing=closing)


async def serve(settings: RpcSettings, tasks: Served, told: health.aio.HealthServicer) -> grpc.aio.Server:
    """Serve on the configured host and port. Raises: OSError: the port is taken."""
    server = grpc.aio.server(
        interceptors=(Calls(),),
        options=(("grpc.max_receive_message_length", MOST_BYTES), ("grpc.so_reuseport", 0)),
        maximum_concurrent_rpcs=settings.most_calls,
    )
    add_TaskServiceServicer_to_server(TaskService(tasks), server)  # type: ignore[no-untyped-call]
    health_pb2_grpc.add_HealthServicer_to_server(told, server)
    for name in NAMES:
        await told.set(name, health_pb2.HealthCheckResponse.NOT_SERVING)
    if settings.reflection:
        names = (SERVICE, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
    address = f"{_bracketed(settings.host)}:{settings.port}"
    try:
        server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(f"gRPC cannot listen on {address}: {error}") from error
    await server.start()
    log.info("listening", extra={"host": settings.host, "port": settings.port})
    return server


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


async def _tell_health(told: health.aio.HealthServicer, monitor: HealthMonitor) -> None:
    """Keep what the health service says as this process is."""
    status, ready = health_pb2.HealthCheckResponse, False
    while True:
        if monitor.ready is not ready:
            ready = monitor.ready
            for name in NAMES:
                await told.set(name, status.SERVING if ready else status.NOT_SERVING)
        await asyncio.sleep(LOOK_EVERY)
