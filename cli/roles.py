"""The roles and one-shot commands of `clusterflow`."""

import asyncio
from collections import defaultdict
from datetime import timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated

import typer

from cli.process import EXIT_FAILED, Readiness, read_settings, run_command, run_role
from cli.values import LimiterBackend, duration
from database.names import DATABASES, GRPC, REST, WORKER, DatabaseName
from settings import Settings
from streams.kafka.admin import Declared, declare_topics
from streams.kafka.held import HELD
from streams.kafka.rights import require_rights
from streams.kafka.roles import TOPICS
from streams.settings import RECORDER_GROUP, SINK_GROUP

if TYPE_CHECKING:
    from web.limits import LimiterSettings

app = typer.Typer()


@app.command("web")
def web_role() -> None:
    """Serve the REST API."""
    run_role("web", _web)


@app.command("grpc")
def grpc_role() -> None:
    """Serve tasks over gRPC."""
    run_role("grpc", _grpc)


@app.command("worker")
def worker_role() -> None:
    """Run the agents and their tables."""
    run_role("worker", _worker)


@app.command("sink")
def sink_role() -> None:
    """Write state and events to PostgreSQL."""
    run_role("sink", _sink)


@app.command("recorder")
def recorder_role() -> None:
    """Record public events of resources and tasks in PostgreSQL."""
    run_role("recorder", _recorder)


@app.command("executor")
def executor_role() -> None:
    """Do the work of tasks and jobs."""
    run_role("executor", _executor)


@app.command("relay")
def relay_role() -> None:
    """Publish rows of `outbox_events`."""
    run_role("relay", _relay)


# Each role imports its own parts only: a web process neither waits for Faust to load nor keeps it in memory.


async def _web(settings: Settings, stop: asyncio.Event, ready: Readiness) -> None:
    import web.server
    import web.settings
    from web.job_pool import JobPoolSettings

    await web.server.run(
        web.settings.WebSettings(
            kafka=settings.kafka,
            policy=settings.policy,
            host=settings.bind_host,
            port=settings.port,
            command_timeout=settings.command_timeout,
            read_timeout=timedelta(seconds=settings.server_read_timeout_seconds),
            write_timeout=timedelta(seconds=settings.server_write_timeout_seconds),
            idle_timeout=timedelta(seconds=settings.server_idle_timeout_seconds),
            max_header_bytes=settings.server_max_header_bytes,
            max_unread=settings.server_max_unread_bytes,
            max_unread_each=settings.server_max_unread_bytes_per_connection,
            job_pool=JobPoolSettings(
                places=settings.clustergenie_worker_count, queue=settings.clustergenie_worker_queue
            ),
            limiter=_limits(settings),
            export_interval=settings.metrics_export_interval,
            max_watchers=settings.max_watches,
            max_watchers_each=settings.max_watches_per_identity,
            allowed_hosts=settings.allowed_hosts,
            cors_origins=settings.cors_allowed_origins,
            keyring=settings.keyring,
            disable_auth=settings.disable_auth,
            database=settings.database_of(REST) if settings.url_of(REST) else settings.fallback_of(REST),
            fallback=settings.fallback_of(REST) is not None,
            require_resource=settings.task_require_resource,
            environment=settings.environment,
            service_name=settings.service_name,
            version=version("clusterflow"),
            git_commit=settings.git_commit,
            build_time=settings.build_time,
        ),
        stop=stop,
        ready=ready.ask_by,
    )


def _limits(settings: Settings) -> "LimiterSettings":
    from domain.rates import Rate
    from web.limits import Default, LimiterSettings

    in_redis = settings.limiter_backend is LimiterBackend.REDIS
    return LimiterSettings(
        redis_url=settings.required("redis_url") if in_redis else "",
        on_redis_error=settings.limiter_on_redis_error,
        defaults={
            "diagnosis": Default(
                rate=Rate(settings.clustergenie_diag_cap, settings.clustergenie_diag_rate),
                scope_type=settings.clustergenie_diag_scope,
            ),
            "jobs_create": Default(
                rate=Rate(settings.clustergenie_jobs_cap, settings.clustergenie_jobs_rate),
                scope_type=settings.clustergenie_jobs_scope,
            ),
        },
    )


async def _grpc(settings: Settings, stop: asyncio.Event, ready: Readiness) -> None:
    import rpc.server
    import rpc.settings

    await rpc.server.run(
        rpc.settings.RpcSettings(
            kafka=settings.kafka,
            policy=settings.policy,
            host=settings.bind_host,
            port=settings.grpc_service_port,
            command_timeout=settings.command_timeout,
            reflection=settings.grpc_reflection,
            fallback=settings.fallback_of(GRPC),
            require_resource=settings.task_require_resource,
        ),
        stop=stop,
        ready=ready.ask_by,
    )


async def _worker(settings: Settings, stop: asyncio.Event, ready: Readiness) -> None:
    import agents.worker

    await agents.worker.run(
        agents.worker.WorkerSettings(
            kafka=settings.kafka,
            policy=settings.policy,
            service_name=settings.service_name,
            tick_interval=settings.reconciliation_check_interval,
            kinds=settings.worker_kinds,
            standby_replicas=settings.standby_replicas,
        ),
        stop=stop,
        ready=ready.ask_by,
    )


async def _sink(settings: Settings, stop: asyncio.Event, ready: Readiness) -> None:
    import sinks
    import sinks.settings

    sink_settings = sinks.settings.SinkSettings(
        kafka=settings.kafka,
        database=settings.database_of(REST),
        elsewhere={GRPC: settings.database_of(GRPC)},
        group_id=settings.kafka.topics.prefix + SINK_GROUP,
        samples_kept=settings.metrics_retention,
    )
    await sinks.run(
        sink_settings, stop=stop, ready=lambda is_ready: ready.ask_by(lambda: is_ready and not HELD.names)
    )


async def _recorder(settings: Settings, stop: asyncio.Event, ready: Readiness) -> None:
    import sinks.recorder

    recorder_settings = sinks.recorder.RecorderSettings(
        kafka=settings.kafka,
        database=settings.database_of(WORKER),
        group_id=settings.kafka.topics.prefix + RECORDER_GROUP,
        recorded=settings.worker_topics,
    )
    await sinks.recorder.run(
        recorder_settings, stop=stop, ready=lambda is_ready: ready.ask_by(lambda: is_ready and not HELD.names)
    )


async def _executor(settings: Settings, stop: asyncio.Event, ready: Readiness) -> None:
    import executors.role
    import executors.settings
    from executors.handlers import load

    await executors.role.run(
        executors.settings.ExecutorSettings(
            kafka=settings.kafka,
            policy=settings.policy,
            handlers=load(),
            kinds=settings.executor_kinds,
            most=settings.executor_tasks,
            most_jobs=settings.clustergenie_worker_count,
            stop_within=settings.shutdown_grace,
            synthetic=settings.monitoring_synthetic,
            simulated_work=timedelta(milliseconds=settings.task_simulated_work_ms),
        ),
        stop=stop,
        ready=ready.ask_by,
    )


async def _relay(settings: Settings, stop: asyncio.Event, ready: Readiness) -> None:
    import outbox.role
    import outbox.settings

    await outbox.role.run(
        outbox.settings.RelaySettings(
            kafka=settings.kafka,
            databases=list(dict.fromkeys([settings.database_of(REST), settings.database_of(GRPC)])),
            policy=settings.policy,
            allowed=settings.outbox_allowed_types,
            poll=settings.outbox_poll_interval,
            batch=settings.outbox_batch_size,
            retention=timedelta(days=settings.outbox_retention_days),
        ),
        stop=stop,
        ready=ready.ask_by,
    )


@app.command("all")
def everything() -> None:
    """Run every role here, over embedded servers where none are configured (development)."""
    from cli import development

    development.main(read_settings())


@app.command("config")
def show_config(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of lines.")] = False,
) -> None:
    """Print the settings in effect, secrets masked."""
    from cli import config

    config.show(read_settings(), as_json=as_json)


@app.command()
def migrate() -> None:
    """Bring the schema of each PostgreSQL database up to date."""
    for name in run_command("migrate", _migrate):
        typer.echo(f"applied {name}")


@app.command()
def topics(
    repair: Annotated[
        bool, typer.Option("--repair", help="Set what is not as needed on topics that are there.")
    ] = False,
    acls: Annotated[
        bool, typer.Option("--acls", help="Print the commands that grant what each principal needs, and end.")
    ] = False,
    principal: Annotated[
        list[str] | None,
        typer.Option(metavar="WHO=PRINCIPAL", help="With --acls: who is what, as in web=User:alice."),
    ] = None,
    controller: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="With --acls: a controller, by the name of its group."),
    ] = None,
) -> None:
    """Declare the topics, or check that they fit."""
    if acls:
        from cli import acls as printing

        typer.echo(printing.script(read_settings(), principal or (), controller or ()), nl=False)
        return
    declared = run_command("topics", lambda settings: _declare(settings, repair=repair))
    for name in declared.created:
        typer.echo(f"created {name}")
    for finding in declared.repaired:
        typer.echo(f"set {finding.topic}: {finding.setting} to {finding.needed}, was {finding.found}")
    for finding in declared.doubtful:
        remedy = "; --repair sets it right" if finding.settable else ""
        typer.echo(f"warning: {finding}{remedy}", err=True)


@app.command()
def verify(
    repair: Annotated[
        bool, typer.Option("--repair", help="Write rows that differ again, then compare again.")
    ] = False,
    wait: Annotated[
        timedelta,
        typer.Option(
            parser=duration,
            metavar="DURATION",
            help="How long the sink may take to catch up.",
            show_default="30s",
        ),
    ] = timedelta(seconds=30),
) -> None:
    """Compare PostgreSQL with the topics: status 0 equal, 1 different, 3 not comparable now."""
    from cli import recovery

    found = run_command(
        "verify",
        lambda settings: recovery.verify(settings, repair=repair, wait=wait),
        failed=recovery.EXIT_NOT_COMPARABLE,
    )
    recovery.show(found)
    if not found.equal:
        raise SystemExit(EXIT_FAILED)


@app.command()
def rebuild(
    accept_old_rows: Annotated[
        bool,
        typer.Option(
            "--accept-old-rows",
            help="Also if the sink last wrote more than a day ago: clusters deleted since come back.",
        ),
    ] = False,
) -> None:
    """Fill a new, empty Kafka from PostgreSQL, after the old one was lost."""
    from cli import recovery

    restored = run_command(
        "rebuild", lambda settings: recovery.rebuild(settings, accept_old_rows=accept_old_rows)
    )
    typer.echo(f"restored {restored.clusters} clusters, {restored.live} of them live")
    typer.echo("start the workers now, then the sinks and the web processes")


async def _declare(settings: Settings, *, repair: bool) -> Declared:
    await require_rights(settings.kafka, TOPICS)
    return await declare_topics(settings.kafka, repair=repair)


async def _migrate(settings: Settings) -> list[str]:
    from migrations.apply import migrate as apply_migrations

    homes: defaultdict[str, list[DatabaseName]] = defaultdict(list)
    for name in DATABASES:
        homes[settings.database_of(name).url].append(name)
    applied = []
    for url, names in homes.items():
        where = f" in the database of {' and '.join(names)}" if len(homes) > 1 else ""
        done = await apply_migrations(url, pooler=settings.database_pooler, names=names)
        applied += [version + where for version in done]
    return applied
