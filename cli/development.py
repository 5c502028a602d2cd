"""`clusterflow all`: every role on this machine, over the embedded servers for whatever is not configured.

Each role is a process of its own, as in production; one that dies is started again. Their log lines go to
files, the terminal shows what a person wants to know.
"""

import asyncio
import base64
import contextlib
import os
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from cli.config import masked
from cli.running import told
from deploy.embedded import EmbeddedError, Stack
from deploy.embedded.private import private_directory, run_directory, write_private
from domain.errors import ControlPlaneError
from settings import Settings
from streams.secrets import KEY_BYTES

READY_WITHIN: Final = 60.0  # seconds; a first start reads empty topics, a later one its data
STOP_WITHIN: Final = 35.0  # seconds; roles drain for 30
RESTART_AFTER: Final = 1.0  # seconds, so that a role that can't start doesn't spin

# In the order they are stopped: no new writes, then no new states, then nothing left to store.
ROLES: Final = ("web", "worker", "sink")


class StartFailed(ControlPlaneError):
    """A part did not come up; the text says which and where its log is."""


@dataclass(slots=True)
class Role:
    """One role's process, started again whenever it ends by itself."""

    name: str
    environment: Mapping[str, str]
    log_path: Path
    ready_url: str
    process: asyncio.subprocess.Process | None = None
    stopping: bool = False
    restarts: int = field(default=0)

    async def keep_running(self) -> None:
        """Start the process, and again after each end, until stopped."""
        while not self.stopping:
            with self.log_path.open("ab") as log:
                self.process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "main",
                    self.name,
                    env={**self.environment, "CLUSTERFLOW_PARENT": str(os.getpid())},
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            code = await self.process.wait()
            if not self.stopping:
                self.restarts += 1
                say(f"{self.name} ended ({_ending(code)}), starting it again; its log: {self.log_path}")
                await asyncio.sleep(RESTART_AFTER)

    async def until_ready(self) -> None:
        """Raises: StartFailed: not ready in time, or it keeps ending."""
        deadline = time.monotonic() + READY_WITHIN
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
            while time.monotonic() < deadline and self.restarts < 3:
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with session.get(self.ready_url) as response:
                        if response.status == 200:
                            return
                await asyncio.sleep(0.1)
        raise StartFailed(
            f"{self.name} did not become ready; its log: {self.log_path}\n{_tail(self.log_path)}"
        )

    async def stop(self) -> None:
        """Let it end by itself, then make it."""
        self.stopping = True
        if self.process is None or self.process.returncode is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.process.wait(), STOP_WITHIN)
        except TimeoutError:
            say(f"{self.name} did not stop within {STOP_WITHIN:.0f} s, killing it")
            self.process.kill()
            await self.process.wait()


async def run_all(settings: Settings) -> None:
    """Run everything until SIGINT or SIGTERM.

    Raises: EmbeddedError, StartFailed: with a text for the person at the terminal.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with _servers(settings) as servers:
        environment = {**_secret_keys(settings), **os.environ, **_defaults(servers), **servers}
        await _prepare(environment)
        with told(settings.run_dir, environment):  # commands in other terminals find the servers
            async with _roles(settings, environment) as roles:
                started = time.monotonic()
                if await _unless(stop, _all_ready(roles)):
                    say(f"{', '.join(ROLES)} ready after {time.monotonic() - started:.1f} s")
                    _welcome(settings, environment)
                    await stop.wait()
                say("stopping")


async def _all_ready(roles: Sequence[Role]) -> None:
    await asyncio.gather(*(role.until_ready() for role in roles))


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do the work unless stopped first; whether it was done."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not working.done():
        working.cancel()
        return False
    working.result()
    return True


@contextlib.asynccontextmanager
async def _servers(settings: Settings) -> AsyncIterator[dict[str, str]]:
    """The embedded servers for what the environment does not name; their variables."""
    configured = {
        "kafka": settings.kafka_bootstrap_servers,
        "postgres": settings.database_url.get_secret_value(),
        "valkey": settings.redis_url.get_secret_value(),
    }
    missing = [name for name, url in configured.items() if not url]
    if not missing:
        yield {}
        return
    stack = Stack(
        Path(settings.run_dir),
        kafka_port=settings.embedded_kafka_port,
        postgres_port=settings.embedded_postgres_port,
        valkey_port=settings.embedded_valkey_port,
    )
    say(f"starting {', '.join(missing)} in {settings.run_dir}/")
    started = time.monotonic()
    await asyncio.to_thread(stack.start, missing)
    try:
        say(f"{', '.join(missing)} ready after {time.monotonic() - started:.1f} s")
        yield stack.environment()
    finally:
        await asyncio.to_thread(stack.stop)


def _defaults(servers: Mapping[str, str]) -> dict[str, str]:
    """What one embedded broker needs different: it can hold one copy of a partition only."""
    if "KAFKA_BOOTSTRAP_SERVERS" not in servers or "KAFKA_REPLICATION" in os.environ:
        return {}
    return {"KAFKA_REPLICATION": "1"}


def _secret_keys(settings: Settings) -> dict[str, str]:
    """A key of this machine's own, kept between runs; one in the environment goes before it."""
    path = Path(settings.run_dir) / "secret.key"
    run_directory(path.parent)
    if not path.exists():
        write_private(path, f"development:{base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()}\n")
    return {"SECRET_KEYS": path.read_text().strip()}


async def _prepare(environment: Mapping[str, str]) -> None:
    for command in ("migrate", "topics"):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "main",
            command,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        if process.returncode != 0:
            raise StartFailed(f"clusterflow {command} failed:\n{output.decode(errors='replace').strip()}")


@contextlib.asynccontextmanager
async def _roles(settings: Settings, environment: Mapping[str, str]) -> AsyncIterator[list[Role]]:
    logs = Path(settings.run_dir) / "logs"
    private_directory(logs)
    roles = []
    for index, name in enumerate(ROLES):
        port = settings.metrics_port + index
        roles.append(
            Role(
                name=name,
                environment={**environment, "METRICS_PORT": str(port), "METRICS_ENABLED": "true"},
                log_path=logs / f"{name}.log",
                ready_url=f"http://{settings.bind_host}:{port}/ready",
            )
        )
    tasks = [asyncio.create_task(role.keep_running()) for role in roles]
    try:
        yield roles
    finally:
        for role in roles:
            role.stopping = True  # all at once, or one that is about to be started again would be
        for role in roles:
            await role.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _welcome(settings: Settings, environment: Mapping[str, str]) -> None:
    url = f"http://{settings.bind_host}:{settings.port}"
    say("ready")
    print(
        f"""
  API        {url}/api/v1/clusters
  health     {url}/health
  metrics    {", ".join(f"{r} :{settings.metrics_port + i}/metrics" for i, r in enumerate(ROLES))}
  Kafka      {environment["KAFKA_BOOTSTRAP_SERVERS"]}
  PostgreSQL {masked(environment["DATABASE_URL"])}
  logs       {settings.run_dir}/logs/

  Create a cluster:
    curl -s {url}/api/v1/clusters -H 'X-User-Email: you@example.com' \\
      -d '{{"name": "first", "spec": {{"platform": {{"type": "gcp"}}}}}}'

  Ctrl-C stops everything; the data stays in {settings.run_dir}/ for the next run.
""",
        flush=True,
    )


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"status {code}"


def _tail(path: Path, lines: int = 10) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""


def say(text: str) -> None:
    """A line for the person at the terminal."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def main(settings: Settings) -> None:
    """Run; a failure is a message and status 1."""
    try:
        asyncio.run(run_all(settings))
    except (EmbeddedError, ControlPlaneError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None
