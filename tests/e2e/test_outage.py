"""Kafka goes and comes back: writes are refused at once, reads go on, and nobody has to be restarted."""

import asyncio
import os
import signal
import time

import pytest

from deploy.embedded import Stack
from deploy.embedded.ports import free_port
from streams.kafka.admin import declare_topics
from streams.settings import KafkaSettings
from streams.topics import Topics
from tests.conftest import until
from tests.e2e.product import Deployment, an_owner, available, command, committed
from tests.processes import answers, eventually, role
from tests.web.answers import check, check_error


@pytest.fixture(scope="module")
async def own(tmp_path_factory):
    """A Kafka of these tests' own, to kill and to start."""
    stack = Stack(tmp_path_factory.mktemp("outage"))
    await asyncio.to_thread(stack.start, ["kafka"])
    yield stack
    await asyncio.to_thread(stack.stop)


@pytest.fixture
async def kafka(own, request):
    """Topics of a test's own, on a Kafka that runs."""
    await asyncio.to_thread(own.kafka.start)
    kafka = KafkaSettings(
        bootstrap_servers=own.kafka.bootstrap_servers,
        topics=Topics(f"{abs(hash(request.node.name))}."),
        partitions=2,
        replication=1,
        session_timeout=6.0,
    )
    await declare_topics(kafka)
    return kafka


@pytest.fixture
async def deployment(own, kafka):
    async with Deployment(kafka) as deployment:
        yield deployment
        await asyncio.to_thread(own.kafka.start)


async def every_write(api, cluster):
    """The answers of all writes at once, each with the seconds it took."""

    async def timed(write):
        started = time.monotonic()
        return await write, time.monotonic() - started

    return await asyncio.gather(
        timed(api.create("refused")),
        timed(api.update(cluster["id"])),
        timed(api.delete(cluster["id"], force=True)),
        timed(api.report(cluster["id"])),
    )


async def test_kafka_is_away_and_comes_back(deployment, own):
    await deployment.worker()
    api = await deployment.web(an_owner())
    cluster = await api.created("before")
    await api.report(cluster["id"], conditions=available())
    before = (await api.get(cluster["id"])).json

    await asyncio.to_thread(own.kafka.kill)

    async def noticed():
        answer = await api.get("/health")
        return answer.json if answer.status == 503 else None

    health = await until(noticed, within=5, what="/health that says Kafka is away")
    assert ("unhealthy", "unhealthy") == (health["status"], health["components"]["kafka"])
    for answer, seconds in await every_write(api, cluster):
        check_error(answer, 503, "UNAVAILABLE")
        assert "1" == answer.headers["Retry-After"]
        assert seconds < 1
    assert before == check(await api.get(cluster["id"]), 200).json
    assert [before] == check(await api.list(), 200)["clusters"]
    assert "Ready" == check(await api.get(f"{cluster['id']}/status"), 200)["status"]["phase"]

    await asyncio.to_thread(own.kafka.start)

    async def works():
        return (await api.create("after")).status in (201, 409)

    await until(works, within=60, what="a write after Kafka's return")
    assert 200 == (await api.get("/health")).status
    assert 2 == (await api.update(cluster["id"]))["generation"]
    assert (await api.report(cluster["id"], observed_generation=2, conditions=available()))["applied"]
    assert "Ready" == (await api.get(cluster["id"]))["status"]["phase"]
    assert {"before", "after"} == {c["name"] for c in (await api.list())["clusters"]}

    async def committed_up_to_the_end():
        offsets = await committed(deployment.kafka)
        for topic in ("cluster-commands", "cluster-status-reports", "cluster-create-requests"):
            for record in await deployment.log(topic).read():
                if offsets.get((record.topic, record.partition), -1) <= record.offset:
                    return False
        return True

    await until(
        committed_up_to_the_end, within=30, what="committed offsets"
    )  # processing alone is not enough


async def test_a_write_just_as_kafka_goes_is_answered_soon_and_honestly(deployment, own):
    await deployment.worker()
    api = await deployment.web(an_owner())
    cluster = await api.created("before")
    await asyncio.to_thread(own.kafka.kill)
    for answer, seconds in await every_write(api, cluster):
        if answer.status == 202:
            continue  # a report that was not confirmed is accepted
        check_error(answer, 503, "UNAVAILABLE")
        assert seconds < 5, "noticing takes at most a few seconds"
    assert 200 == (await api.get(cluster["id"])).status


async def test_commands_wait_in_their_topic_while_kafka_restarts(deployment, own):
    """What was acknowledged before the restart is decided after it, once."""
    worker = await deployment.worker()
    api = await deployment.web(an_owner())
    cluster = await api.created()
    await worker.end()
    log = deployment.log("cluster-commands")
    updates = [command("update", cluster["id"], api.email, spec=cluster["spec"]) for _ in range(50)]
    await log.publish_all([(cluster["id"], body) for body in updates])
    await asyncio.to_thread(own.kafka.kill)
    await asyncio.to_thread(own.kafka.start)
    await deployment.worker()
    results = deployment.log("cluster-command-results")
    await results.wait_for(cluster["id"], lambda b: b["command_id"] == updates[-1]["command_id"], within=60)

    async def shown():
        return (await api.get(cluster["id"]))["generation"] == 51

    await until(shown, what="generation 51")


@pytest.mark.parametrize("fault", ["killed", "frozen"])
@pytest.mark.parametrize("name", ["web", "worker"])
async def test_a_role_can_be_stopped_while_kafka_is_away(name, fault, own, kafka, tmp_path):
    """Soon and in order: what a worker can't commit is decided again by whoever comes next."""
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_TOPIC_PREFIX": kafka.topics.prefix,
        "KAFKA_PARTITIONS": "2",
        "PORT": str(free_port()),
    }
    with role(name, tmp_path / "log", **environment) as (process, url):
        await asyncio.to_thread(eventually, lambda: answers(f"{url}/ready", 200))
        if fault == "killed":
            await asyncio.to_thread(own.kafka.kill)
        else:
            os.kill(own.kafka.pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert 0 == await asyncio.to_thread(process.wait, 40)
            assert time.monotonic() - started < 12
        finally:
            if fault == "frozen":
                os.kill(own.kafka.pid, signal.SIGCONT)
    assert "stopped" in (tmp_path / "log").read_text().splitlines()[-1]
