"""The first five minutes: `clusterflow all` as `make run` starts it, and the README beside it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from cli.development import ROLES
from tests.ports import free_row
from tests.processes import eventually

ROOT = Path(__file__).parents[2]
OF_SERVERS = ("KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL", "REDIS_URL", "RUN_DIR")


def page(path: str) -> str:
    return (ROOT / path).read_text()


def blocks(text: str) -> list[str]:
    """The commands of a page."""
    return re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


class Run:
    """One `make run` in a directory of its own, and what its terminal shows."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_row()
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {
            **{name: value for name, value in os.environ.items() if name not in OF_SERVERS},
            "PATH": programs,
            "PYTHONPATH": str(ROOT),
        }
        self._screen = directory / "screen"
        with self._screen.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "main", "all"],
                cwd=directory,
                env={
                    **self.environment,
                    "PORT": str(self.port),
                    "METRICS_PORT": str(self.port + 1),
                    "GRPC_SERVICE_PORT": str(self.port + 1 + len(ROLES)),
                },
                stdout=output,
                stderr=output,
            )

    @property
    def screen(self) -> str:
        return self._screen.read_text()

    def shows(self, text: str) -> bool:
        assert self.process.poll() is None or text in self.screen, self.screen
        return text in self.screen

    def paste(self, command: str) -> str:
        """Run a block in a shell of this directory; what it prints."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run that has said that it is ready."""
    run = Run(tmp_path_factory.mktemp("clone"))
    try:
        eventually(lambda: run.shows("Ctrl-C stops everything"), within=120)
        yield run
    finally:
        run.process.send_signal(signal.SIGINT)
        run.process.wait(60)
    assert 0 == run.process.returncode, run.screen
    assert [] == [*(run.directory / ".run").glob("*.pid"), *(run.directory / ".run").glob("address")]


def test_every_wait_of_the_start_is_told(running: Run) -> None:
    for text in ("PostgreSQL answers", "Kafka answers", "declaring topics", "worker is ready"):
        assert text in running.screen


def test_the_banner_leads_to_pages_that_answer_and_to_the_programs(running: Run) -> None:
    pages = re.findall(rf"http://127\.0\.0\.1:{running.port}[/\w]*", running.screen)
    assert {f"http://127.0.0.1:{running.port}{path}" for path in ("/", "/docs", "/docs/topics")} <= {*pages}
    for page in {*pages} - {f"http://127.0.0.1:{running.port}/api/v1/clusters"}:
        with urlopen(page, timeout=10) as answer:
            assert 200 == answer.status, page
    (line,) = re.findall(r"^ *(export PATH=.*)$", running.screen, re.MULTILINE)
    assert "verify" in running.paste(f"{line}; clusterflow --help")


def test_the_commands_of_other_pages_do_what_they_say(running: Run) -> None:
    # given the programs of the page, saved as it says
    clients = page("docs/kafka-clients.md")
    for program in re.findall(r"^```python\n(# (\S+) .*?)^```$", clients, re.MULTILINE | re.DOTALL):
        (running.directory / program[1]).write_text(program[0])
    # when its commands are pasted, each that goes on until Ctrl-C for some seconds
    create, controller = blocks(clients)
    told = running.paste(f"{create}\ntimeout 15 {controller.strip()} || true")
    assert '"outcome":"applied"' in told
    assert "the network of from-kafka is there" in told
    (watch,) = blocks(page("docs/watch.md"))
    assert "event: BOOKMARK" in running.paste(watch.replace("curl", "timeout 5 curl").strip() + " || true")
    assert "PLATFORMS=gcp,aws,azure" in running.paste(blocks(page("docs/settings.md"))[0])


def test_the_readme_does_what_it_says(running: Run) -> None:
    pasted = [block for block in blocks(page("README.md")) if not block.startswith("make ")]
    told = running.paste("\n".join(pasted))
    assert '"phase":"Pending"' in told
    assert '"phase":"Ready"' in told
    assert re.search(r"^equal$", told, re.MULTILINE)
    eventually(lambda: running.shows("worker ended (signal SIGKILL), starting it again"))
    # and nothing is lost: the next write is answered by the worker that was started again
    spec = '{"name": "second", "spec": {"platform": {"type": "gcp"}}}'
    create = (
        f"""curl -s "$(cat .run/address)/api/v1/clusters" -H 'X-User-Email: you@example.com' -d '{spec}'"""
    )
    eventually(lambda: '"name":"second"' in running.paste(create))
