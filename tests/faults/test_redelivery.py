"""A worker that dies before its offsets are committed: what it has decided is decided alike once more.

Offsets are committed every half second, so a kill right after the results are out has all of it redelivered.
"""

import asyncio
import json
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer

from bench.stage import Stage, wait_ready
from streams.settings import GROUP
from streams.topics import Topics
from tests.chaos.observe import Observed, note_result
from tests.chaos.quiet import until_worked_off
from tests.conftest import until
from tests.faults.reading import records_of

OWNER = "owner@example.com"


@pytest.mark.timeout(120)
async def test_a_create_refused_for_its_name_stays_refused_although_the_name_is_free_by_then(
    stage: Stage, topics: Topics
) -> None:
    # given a cluster, whose creation is committed
    worker = await asyncio.to_thread(stage.start, "worker")
    await asyncio.to_thread(wait_ready, worker)
    first, second = str(uuid4()), str(uuid4())
    async with AIOKafkaProducer(bootstrap_servers=stage.bootstrap_servers, acks="all") as producer:
        await _send(producer, topics.create_requests, f"{OWNER}/name", _create(first))
        await _result(stage, topics, first)
        inputs = (topics.create_requests, topics.name_requests, topics.accepted_commands)
        group = topics.prefix + GROUP
        left = await until_worked_off(stage.bootstrap_servers, group=group, topics=inputs, within=20)
        assert left == []

        # when a second create of its name is refused, the name is freed, and the worker dies at once
        refused = await _send(producer, topics.create_requests, f"{OWNER}/name", _create(second))
        assert (await _result(stage, topics, second))["code"] == "CLUSTER_NAME_EXISTS"
        deleted = await _send(producer, topics.commands, first, {**_command("delete", first), "force": True})
        await _result(stage, topics, deleted)
        await until(lambda: _freed(stage, topics), what="the name freed")
        worker.kill()
        restarted = await asyncio.to_thread(stage.start, "worker")
        await asyncio.to_thread(wait_ready, restarted)
        marker = str(uuid4())
        await _send(producer, topics.create_requests, f"{OWNER}/name", _create(marker))
        await _result(stage, topics, marker)

    # then the refused one has one outcome, and no cluster
    observed = Observed()
    for record in await records_of(stage.bootstrap_servers, topics.results):
        note_result(record, observed)
    assert [fact.outcome for fact in observed.results[refused]] == ["rejected"]
    states = await records_of(stage.bootstrap_servers, topics.state)
    assert second not in {record.key.decode() for record in states}


def _command(kind: str, cluster_id: str) -> dict[str, object]:
    return {
        "command_id": str(uuid4()),
        "type": f"cluster.{kind}",
        "cluster_id": cluster_id,
        "user_email": OWNER,
        "issued_at": "2026-01-01T00:00:00Z",
    }


def _create(cluster_id: str) -> dict[str, object]:
    return {**_command("create", cluster_id), "name": "name", "spec": {"platform": {"type": "gcp"}}}


async def _send(producer: AIOKafkaProducer, topic: str, key: str, message: dict[str, object]) -> str:
    await producer.send_and_wait(topic, json.dumps(message).encode(), key=key.encode())
    return str(message["command_id"])


async def _result(stage: Stage, topics: Topics, of: str) -> dict[str, object]:
    """The result of a command, or of the last one about a cluster."""

    async def ask() -> dict[str, object] | None:
        for record in reversed(await records_of(stage.bootstrap_servers, topics.results)):
            result = json.loads(record.value)
            if of in (result["command_id"], record.key.decode()):
                return result
        return None

    return await until(ask, what=f"a result for {of}")


async def _freed(stage: Stage, topics: Topics) -> bool:
    names = await records_of(stage.bootstrap_servers, topics.names)
    return "" in [json.loads(record.value)["cluster_id"] for record in names if b"cluster_id" in record.value]
