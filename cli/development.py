"""`clusterflow all`: every role on this machine, over the embedded servers for whatever is not configured.

Each role is a process of its own, as in production; one that dies is started again. Their log lines go to
files, the terminal shows what a person wants to know.
"""

import asyncio
import base64
import contextlib
import ipaddress
import logging
import os
import secrets
import shlex
import signal
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from cli.config import masked
from cli.databases import urls
from cli.embedded import embedded_kafka
from cli.ports import needed_ports, passing, refuse_taken
from cli.running import refuse_second, told
from database.names import DATABASES
from deploy.embedded import EmbeddedError, Stack
from deploy.embedded.ports import listens
from deploy.embedded.private import private_directory, run_directory, write_private
from deploy.embedded.server import LOOK_AGAIN, PASSING_WITHIN
from domain.errors import ControlPlaneError
from settings import Settings
from streams.secrets import KEY_BYTES

READY_WITHIN: Final = 60.0  # seconds; a first start reads empty topics, a later one its data
STOP_WITHIN: Final = 35.0  # seconds; roles drain for 30
TELL_EVERY: Final = 5.0  # seconds between two words while something takes long
YIELDING: Final = {"sink": 5, "recorder": 5}  # niceness by role: writes go first, rows follow
RESTART_AFTER: Final = 1.0  # seconds, so that a role that can't start doesn't spin

# In the order they are stopped: no new writes or work, then no new states, then nothing left to store.
ROLES: Final = ("web", "grpc", "executor", "relay", "worker", "sink", "recorder")


class StartFailed(ControlPlaneError):
    """A part did not come up; the text says which and where its log is."""


@dataclass(slots=True)
class Role:
    """One role's process, started again whenever it ends by itself.

    Attributes:
        pid_path: Where its process id is written while it runs.
        metrics_port: Where it says on `/ready` of itself whether it is, at `host`.
        niceness: How much its processes yield to others, beyond what this one does.
    """

    name: str
    environment: Mapping[str, str]
    log_path: Path
    pid_path: Path
    host: str
    metrics_port: int
    niceness: int = 0
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
            os.setpriority(
                os.PRIO_PROCESS, self.process.pid, os.getpriority(os.PRIO_PROCESS, 0) + self.niceness
            )
            self.pid_path.write_text(f"{self.process.pid}\n")
            try:
                code = await self.process.wait()
            finally:
                self.pid_path.unlink(missing_ok=True)
            if not self.stopping:
                self.restarts += 1
                say(f"{self.name} ended ({_ending(code)}), starting it again; its log: {self.log_path}")
                await asyncio.sleep(RESTART_AFTER)

    async def until_ready(self) -> None:
        """Raises: StartFailed: not ready in time, or it keeps ending."""
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline and self.restarts < 3:
            if await self._is_ready():
                return
            await asyncio.sleep(0.1)
        raise StartFailed(
            f"{self.name} did not become ready; its log: {self.log_path}\n{_tail(self.log_path)}"
        )

    async def _is_ready(self) -> bool:
        """Whether this very process says so: who else answers on its port is not asked."""
        if self.process is None or not listens(self.process.pid, self.metrics_port):
            return False
        url = f"http://{_dialled(self.host)}:{self.metrics_port}/ready"
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with session.get(url) as response:
                    return response.status == 200
        return False

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
    missing = _missing(settings)
    await _unless(stop, _own_ports(settings, missing))
    if stop.is_set():
        return
    async with _servers(settings, missing) as servers:
        environment = {**_secret_keys(settings), **os.environ, **servers}
        environment |= await embedded_kafka(settings, servers, say)
        await _prepare(environment)
        with told(settings.run_dir, environment):  # commands in other terminals find the servers
            async with _roles(settings, environment) as roles:
                started = time.monotonic()
                say(f"starting {', '.join(ROLES)}")
                if await _unless(stop, _all_ready(roles)):
                    say(f"{', '.join(ROLES)} ready after {time.monotonic() - started:.1f} s")
                    with _address_written(settings):
                        _welcome(settings, environment)
                        await stop.wait()
                say("stopping")


async def _own_ports(settings: Settings, missing: Sequence[str]) -> None:
    """See that this run can have its directory and ports. Raises: AlreadyRuns, PortsTaken."""
    refuse_second(settings.run_dir)
    needed = needed_ports(settings, roles=ROLES, embedded=missing)
    deadline = time.monotonic() + PASSING_WITHIN
    told_of: set[int] = set()
    while soon := {*passing(needed)}:
        if soon - told_of:
            ports = ", ".join(map(str, sorted(soon)))
            say(f"waiting for {ports}: connections that have ended there keep it for a minute at most")
            told_of |= soon
        if time.monotonic() > deadline:  # a look may itself take long on a busy machine
            break
        await asyncio.sleep(LOOK_AGAIN)
    refuse_taken(needed)


async def _all_ready(roles: Sequence[Role]) -> None:
    """Wait for all of them, with a word on those that are left every few seconds."""
    waiting = {asyncio.create_task(role.until_ready()): role.name for role in roles}
    started = time.monotonic()
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, timeout=TELL_EVERY, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                name = waiting.pop(task)
                task.result()
                say(f"{name} is ready")
            if not done:
                say(f"waiting for {', '.join(waiting.values())}: for {time.monotonic() - started:.0f} s now")
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


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


def _missing(settings: Settings) -> list[str]:
    """The servers that the environment does not name, so that embedded ones are started."""
    configured = {
        "kafka": settings.kafka_bootstrap_servers,
        "postgres": all(map(settings.url_of, DATABASES)),
        "valkey": settings.redis_url.get_secret_value(),
    }
    return [name for name, found in configured.items() if not found]


@contextlib.asynccontextmanager
async def _servers(settings: Settings, missing: Sequence[str]) -> AsyncIterator[dict[str, str]]:
    """The embedded servers of these names; their variables."""
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


def _secret_keys(settings: Settings) -> dict[str, str]:
    """A key of this machine's own, kept between runs; one in the environment goes before it."""
    path = Path(settings.run_dir) / "secret.key"
    run_directory(path.parent)
    if not path.exists():
        write_private(path, f"development:{base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()}\n")
    return {"SECRET_KEYS": path.read_text().strip()}


async def _prepare(environment: Mapping[str, str]) -> None:
    for command, doing in (("migrate", "bringing the schema up to date"), ("topics", "declaring topics")):
        say(doing)
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
                pid_path=Path(settings.run_dir) / f"{name}.pid",
                host=settings.bind_host,
                metrics_port=port,
                niceness=YIELDING.get(name, 0),
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


def _url(settings: Settings) -> str:
    return f"http://{_dialled(settings.bind_host)}:{settings.port}"


@contextlib.contextmanager
def _address_written(settings: Settings) -> Iterator[None]:
    """Keep the address of REST where scripts find it, for as long as somebody answers there."""
    path = Path(settings.run_dir) / "address"
    path.write_text(f"{_url(settings)}\n")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _welcome(settings: Settings, environment: Mapping[str, str]) -> None:
    url = _url(settings)
    programs = shlex.quote(str(Path(sys.executable).parent))
    run_dir = ""
    if "run_dir" in settings.model_fields_set:  # other commands have to be told as well
        run_dir = f" RUN_DIR={shlex.quote(str(Path(settings.run_dir).absolute()))}"
    say("ready")
    print(
        f"""
  page       {url}/
  API        {url}/api/v1/clusters
  gRPC       {_dialled(settings.bind_host)}:{settings.grpc_service_port} (task.v1.TaskService)
  docs       {url}/docs (REST), {url}/docs/topics (Kafka)
  health     {url}/health
  metrics    {", ".join(f"{r} :{settings.metrics_port + i}/metrics" for i, r in enumerate(ROLES))}
  Kafka      {environment["KAFKA_BOOTSTRAP_SERVERS"]}
  PostgreSQL {", ".join(map(masked, urls(settings, environment.get("DATABASE_URL", ""))))}
  logs       {settings.run_dir}/logs/

  Create a cluster:
    curl -s {url}/api/v1/clusters -H 'X-User-Email: you@example.com' \\
      -d '{{"name": "hello", "spec": {{"platform": {{"type": "gcp"}}}}}}'

  Other commands (`clusterflow verify`, …) in another terminal, from {Path.cwd()}:
    export PATH={programs}:"$PATH"{run_dir}

  Ctrl-C stops everything; the data stays in {settings.run_dir}/ for the next run.
""",
        flush=True,
    )


def _dialled(host: str) -> str:
    """The address in a URL at which this machine reaches what listens on a host."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host or "localhost"
    if address.is_unspecified:
        return "127.0.0.1" if address.version == 4 else "[::1]"
    return host if address.version == 4 else f"[{host}]"


class _Spoken(logging.Handler):
    """What the embedded stack does, as lines for the person at the terminal."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say it."""
        say(record.getMessage())


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"status {code}"


def _tail(path: Path, lines: int = 10) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""


def say(text: str) -> None:
    """A line for the person at the terminal."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def main(settings: Settings) -> None:
    """Run; a failure is a message and status 1."""
    embedded = logging.getLogger("deploy.embedded")
    embedded.setLevel(logging.INFO)
    embedded.addHandler(_Spoken())
    try:
        asyncio.run(run_all(settings))
    except (EmbeddedError, ControlPlaneError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None
