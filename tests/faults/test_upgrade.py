"""Old and new processes side by side, as during a rolling upgrade: each takes the other's records as its own.

The old ones are of the last version whose workers answer each write by a result and make a cluster in another
turn than its name. A clone without that commit cannot run them.
"""

import asyncio
import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from bench.stage import HOST, REPOSITORY, Stage, wait_ready
from bench.wire import Answer, Connection, request_bytes
from tests.conftest import until

OLD = "6e149992828a83dfa2c3e51258906f83e006f804"
OWNER, CONTROLLER = "owner@example.com", "dns@system.local"
SPEC = {"platform": {"type": "gcp"}}


@pytest.fixture(scope="module")
def old_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the old version."""
    known = subprocess.run(["git", "cat-file", "-e", OLD], cwd=REPOSITORY, capture_output=True, check=False)
    if known.returncode != 0:
        pytest.skip(f"this clone has no commit {OLD}: `git fetch --unshallow` brings it")
    directory = tmp_path_factory.mktemp("old")
    archive = subprocess.run(["git", "archive", OLD], cwd=REPOSITORY, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(directory, filter="data")
    return directory


class Client:
    """One web process as a client sees it."""

    def __init__(self, port: int) -> None:
        self._connection = Connection(HOST, port)

    def shows(self, cluster: str) -> bool:
        """Whether it answers with a cluster."""
        return self._sent("GET", f"/clusters/{cluster}", None, OWNER).status == 200

    def _sent(self, method: str, path: str, body: object, email: str) -> Answer:
        return self._connection.exchange(request_bytes(method, f"/api/v1{path}", email=email, body=body))

    def ask(
        self, method: str, path: str, expected: int, body: object = None, *, email: str = OWNER
    ) -> object:
        """What a request is answered. Raises: AssertionError: not as expected."""
        answer = self._sent(method, path, body, email)
        assert answer.status == expected, (method, path, answer.status, answer.body[:300])
        return answer.json() if answer.body else None

    def lives(self, name: str) -> str:
        """A cluster and a resource from their creation to their end, each answer with its own write."""
        cluster = self.ask("POST", "/clusters", 201, {"name": name, "spec": SPEC})
        path = f"/clusters/{cluster['id']}"
        self.ask("POST", "/clusters", 409, {"name": name, "spec": SPEC})
        assert 2 == self.ask("PUT", path, 200, {"spec": {**SPEC, "x": 1}})["generation"]
        assert 2 == self.ask("GET", path, 200)["generation"]
        report = {"controller_name": "dns", "observed_generation": 2, "conditions": []}
        self.ask("PUT", f"{path}/status", 200, report, email=CONTROLLER)
        resource = self.ask("POST", "/resources", 201, {"name": name})
        assert "b" == self.ask("PUT", f"/resources/{resource['id']}", 200, {"name": "b"})["name"]
        assert "b" == self.ask("GET", f"/resources/{resource['id']}", 200)["name"]
        self.ask("DELETE", f"/resources/{resource['id']}", 204)
        self.ask("DELETE", f"{path}?force=true", 202)
        self.ask("GET", path, 404)
        return str(self.ask("POST", "/clusters", 201, {"name": name, "spec": SPEC})["id"])


@pytest.mark.timeout(180)
async def test_each_version_takes_the_writes_of_the_other(stage: Stage, old_code: Path) -> None:
    def start(name: str, *, old: bool) -> object:
        return stage.start(name, code=old_code if old else REPOSITORY)

    # given both versions of web, and a worker of the old one
    old_web, new_web = start("web", old=True), start("web", old=False)
    old_worker = start("worker", old=True)
    await asyncio.to_thread(wait_ready, old_web, new_web, old_worker)
    clients = {"old": Client(old_web.port), "new": Client(new_web.port)}

    # when it decides, then one of either, then the new one alone
    made = [client.lives(f"{web}-first") for web, client in clients.items()]
    new_worker = start("worker", old=False)
    await asyncio.to_thread(wait_ready, old_worker, new_worker)
    for number in range(4):  # names in several partitions, of which each worker has some
        made += [client.lives(f"{web}-{number}") for web, client in clients.items()]
    await asyncio.to_thread(old_worker.stop)
    await asyncio.to_thread(wait_ready, new_worker)
    made += [client.lives(f"{web}-last") for web, client in clients.items()]

    # then every answer was as expected, and both versions of web come to show the same clusters
    async def both_show_all() -> bool:
        return all(client.shows(cluster) for client in clients.values() for cluster in made)

    await until(both_show_all, what="all clusters in both")
