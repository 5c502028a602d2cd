"""docs/kafka-clients.md, run as it stands: its programs, and each of its messages, against real servers."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.embedded import Stack
from streams.kafka.admin import declare_topics
from streams.settings import KafkaSettings
from streams.topics import Topics
from tests.conftest import until
from tests.e2e.product import Deployment, headers_of

PAGE = (Path(__file__).parents[2] / "docs" / "kafka-clients.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
CREATE, UPDATE, REPORT, EVENT, HEADERS = (json.loads(text) for kind, text in BLOCKS if kind == "json")
PROGRAMS = {text.split()[1]: text for kind, text in BLOCKS if kind == "python"}
OWNER = CREATE["user_email"]
CLUSTER = CREATE["cluster_id"]


@pytest.fixture(scope="module")
def bootstrap_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Kafka of its own: the page names the topics as they are without a prefix."""
    stack = Stack(tmp_path_factory.mktemp("page"))
    stack.start(["kafka"])
    yield stack.kafka.bootstrap_servers
    stack.stop()


@pytest.fixture(scope="module")
async def product(bootstrap_servers: str) -> Any:
    """A worker on it."""
    kafka = KafkaSettings(bootstrap_servers=bootstrap_servers, topics=Topics(), partitions=3, replication=1)
    await declare_topics(kafka)
    async with Deployment(kafka) as running:
        await running.worker()
        yield running


@pytest.fixture(scope="module")
async def api(product: Deployment) -> Any:
    """REST as the page's user."""
    return await product.web(OWNER)


@pytest.fixture
def program(tmp_path: Path) -> Any:
    """Saves one of the page's programs and starts it."""
    started = []

    def start(name: str, *arguments: str) -> subprocess.Popen[str]:
        (tmp_path / name).write_text(PROGRAMS[name])
        running = subprocess.Popen(
            [sys.executable, name, *arguments],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(running)
        return running

    yield start
    for running in started:
        running.kill()
        running.communicate()


async def created(program: Any, bootstrap_servers: str, name: str) -> dict[str, Any]:
    """The result that `create.py` prints."""
    running = program("create.py", bootstrap_servers, name)
    out, err = await asyncio.to_thread(running.communicate, timeout=60)
    assert (0, "") == (running.returncode, err)
    result: dict[str, Any] = json.loads(out)
    return result


def timeless(value: Any) -> Any:
    """A message with a word in place of each time that the broker stamped."""
    if isinstance(value, dict):
        return {name: timeless(member) for name, member in value.items()}
    return (
        re.sub(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$", "a time", value)
        if isinstance(value, str)
        else value
    )


async def published(product: Deployment, topic: str, key: str, body: Any, **headers: str) -> dict[str, Any]:
    """Publish a message of the page as it stands; its result."""
    await product.log(topic).publish(key, body, headers=headers)
    told = body.get("command_id", body.get("report_id"))
    log = product.log("cluster-command-results")
    return await log.wait_for(CLUSTER, lambda result: result["command_id"] == told)


async def test_the_messages_of_the_page_do_what_it_says(product: Deployment, api: Any) -> None:
    create = await published(product, "cluster-create-requests", f"{OWNER}/{CREATE['name']}", CREATE)
    update = await published(product, "cluster-commands", CLUSTER, UPDATE)
    report = await published(product, "cluster-status-reports", CLUSTER, REPORT, answer="true")
    assert ["applied"] * 3 == [create["outcome"], update["outcome"], report["outcome"]]

    async def ready() -> Any:  # who reads results may be quicker than a web process
        shown = (await api.get(CLUSTER)).json
        return shown if shown["status"]["phase"] == "Ready" else None

    shown = await until(ready, what="a cluster that is Ready")
    assert (2, UPDATE["spec"]) == (shown["generation"], shown["spec"])


async def test_the_event_of_the_page_is_one(product: Deployment, api: Any) -> None:
    await published(product, "cluster-create-requests", f"{OWNER}/{CREATE['name']}", CREATE)

    async def told() -> Any:
        return await product.log("cluster-events").of(CLUSTER)

    record = (await until(told, what="an event"))[0]
    event = json.loads(record.value)
    assert timeless(EVENT) == timeless(event)
    assert timeless(HEADERS) == timeless(headers_of(record))


async def test_a_controller_from_this_page_alone_makes_clusters_ready(
    product: Deployment, api: Any, program: Any, bootstrap_servers: str
) -> None:
    # given a cluster that was there before the controller, and one that comes later
    early = await created(program, bootstrap_servers, "early")
    program("controller.py", bootstrap_servers)
    late = await created(program, bootstrap_servers, "late")
    assert ["applied"] * 2 == [early["outcome"], late["outcome"]]
    ids = [early["cluster"]["id"], late["cluster"]["id"]]

    async def ready(generation: int) -> bool:
        shown = [(await api.get(each)).json for each in ids]
        return all((each["status"]["phase"], each["generation"]) == ("Ready", generation) for each in shown)

    # when nothing is done but waiting, then both are Ready; and again after a change
    await until(lambda: ready(1), within=60, what="both clusters Ready")
    for each in ids:
        assert 200 == (await api.update(each, {"platform": {"type": "gcp", "zone": "a"}})).status
    await until(lambda: ready(2), within=60, what="both clusters Ready at their second generation")


async def test_a_command_that_is_refused_says_so(
    program: Any, product: Deployment, bootstrap_servers: str
) -> None:
    result = await created(program, bootstrap_servers, "Not-A-Name")
    assert ("rejected", "VALIDATION_FAILED") == (result["outcome"], result["code"])
