"""The product as processes: commands that end, roles that run, and what they answer."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from deploy.embedded.ports import free_port
from streams.settings import KafkaSettings

ROOT = Path(__file__).parents[1]


def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], **variables}
    return subprocess.run(
        [sys.executable, "-m", "main", *command],
        check=False,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


@contextmanager
def role(name: str, log: Path, **variables: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A role's process and the address of its metrics port."""
    port = free_port()
    environment = {"PATH": os.environ["PATH"], "METRICS_PORT": str(port), **variables}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "main", name], cwd=ROOT, env=environment, stdout=output, stderr=output
        )
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def eventually(true, *, within: float = 40.0) -> None:
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline, f"still not so after {within} s"
        time.sleep(0.05)


def answers(url: str, status: int) -> bool:
    try:
        with urlopen(url, timeout=2) as response:
            return response.status == status
    except (URLError, OSError):
        return False


def environment_of(kafka: KafkaSettings, database_url: str) -> dict[str, str]:
    """What roles on these topics and this database are told; REST on a port of its own."""
    return {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_TOPIC_PREFIX": kafka.topics.prefix,
        "KAFKA_PARTITIONS": str(kafka.partitions),
        "KAFKA_REPLICATION": "1",
        "DATABASE_URL": database_url,
        "PORT": str(free_port()),
        "GRPC_SERVICE_PORT": str(free_port()),
    }
