"""A worker that was replaced and writes on: nobody believes it, and its record is written over.

Without `streams.claims` its record would be the last of its key: views would show it, and the next
worker would recover it and decide on it.
"""

import asyncio
import json
from uuid import uuid4

import pytest

from bench.stage import Stage
from domain.policy import Policy
from streams.claims import CLAIM_HEADER, Claims
from streams.headers import ANSWERS
from tests.e2e.product import Deployment, an_owner
from tests.faults.workers import started
from tests.web.answers import check


@pytest.fixture
async def deployment(servers):
    """Without reconciles, so that a worker writes nothing but what a test asks for."""
    policy = Policy(reconcile_enabled=False)
    async with Deployment(await servers.new_topics(), policy=policy) as deployment:
        yield deployment


async def written_by(zombie_of, log):
    """What a zombie would write next: a later revision of the state it knew, under its own claim."""
    state = json.loads(zombie_of.value)
    state["revision"] += 10
    state["cluster"].update(generation=50, resource_version=str(uuid4()))
    claim = dict(zombie_of.headers)[CLAIM_HEADER]
    await log.publish(
        zombie_of.key.decode(), state, partition=zombie_of.partition, headers={CLAIM_HEADER: claim.decode()}
    )


async def test_what_a_replaced_worker_writes_counts_nowhere(deployment):
    first = await deployment.worker()
    api, states = await deployment.web(an_owner()), deployment.log("cluster-state")
    cluster = await api.created()
    (known, *_) = await states.of(cluster["id"])
    await first.end()
    second = await deployment.worker()
    assert 2 == check(await api.update(cluster["id"]), 200)["generation"]

    await written_by(known, states)

    other = (await deployment.web()).as_(api.email)  # a view that is filled only now
    for view in (api, other):
        assert 2 == check(await view.get(cluster["id"]), 200)["generation"]
    await second.end()
    await deployment.worker()
    assert 3 == check(await api.update(cluster["id"]), 200)["generation"]
    assert [2, 50, 2, 3] == [body["cluster"]["generation"] for body in await states.bodies(cluster["id"])][
        -4:
    ]


@pytest.mark.timeout(120)
async def test_a_worker_that_finds_a_zombies_record_between_its_own_writes_it_over_and_goes_on(
    deployment, servers, tmp_path
):
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": servers.bootstrap_servers,
        "DATABASE_URL": await servers.new_database(),
        "KAFKA_TOPIC_PREFIX": deployment.kafka.topics.prefix,
        "KAFKA_PARTITIONS": str(deployment.kafka.partitions),
    }
    with await asyncio.to_thread(Stage(tmp_path, environment).__enter__) as stage:
        # given a cluster whose first worker was replaced by a second
        first = await started(stage)
        api, states = await deployment.web(an_owner()), deployment.log("cluster-state")
        cluster = await api.created()
        (known, *_) = await states.of(cluster["id"])
        await asyncio.to_thread(first.stop)
        second = await started(stage)
        check(await api.update(cluster["id"]), 200)

        # when the first one writes on, and the second meets that
        await written_by(known, states)
        assert 3 == check(await api.update(cluster["id"]), 200)["generation"]

        # then it goes on, and what it has written is the last of its key
        assert 4 == check(await api.update(cluster["id"]), 200)["generation"]
        assert second.running()
        assert 4 == (await states.bodies(cluster["id"]))[-1]["cluster"]["generation"]
        assert [1, 2, 3, 4] == await counted_generations(states, cluster["id"])
        counted = await counted_of(states, cluster["id"])
        answers = [value for record in counted for name, value in record.headers if name == ANSWERS]
        assert 4 == len(set(answers)) == len(answers)


async def counted_generations(states, cluster_id):
    counted = await counted_of(states, cluster_id)
    return sorted({json.loads(record.value)["cluster"]["generation"] for record in counted})


async def counted_of(states, cluster_id):
    counts = Claims()
    records = sorted(await states.read(), key=lambda record: (record.partition, record.offset))
    return [r for r in records if counts.admits(r) and r.key == cluster_id.encode()]
