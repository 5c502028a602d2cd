"""Strangers that write to the product's changelogs: nobody believes them, and nothing stops for them."""

import asyncio
import json

import pytest
from aiokafka import AIOKafkaProducer

from bench.stage import Stage
from streams.claims import CLAIM_HEADER, CLAIM_KEY
from tests.conftest import until
from tests.e2e.product import an_owner
from tests.faults.workers import started
from tests.recovery.site import a_site
from tests.web.answers import check

CHANGELOGS = ("cluster-state", "cluster-names")


@pytest.fixture
async def site(servers):
    """A worker, a web process and a sink that nobody restarts."""
    async with a_site(await servers.new_topics(partitions=2), await servers.new_database()) as site:
        yield site


async def last_of(log, key):
    (*_, last) = await log.of(key)
    return last


async def claims_of(log):
    """The claims of a changelog, each with what it says."""
    return [record for record in await log.read() if record.key == CLAIM_KEY]


@pytest.mark.parametrize(
    "header", [None, b"9" * 5000, b"%d" % 10**18, b"none"], ids=["null", "5,000 digits", "10^18", "a word"]
)
async def test_a_record_with_an_impossible_claim_counts_nowhere_and_stops_nothing(site, header):
    # given a cluster
    worker = await site.deployment.worker()
    api = await site.deployment.web(an_owner())
    sink = await site.sink()
    cluster = await api.created()

    # when a stranger writes another state of it, and junk beside it, to both changelogs
    for name in CHANGELOGS:
        log = site.deployment.log(name)
        last = (await log.read())[-1]
        stray = [(last.key, last.value.replace(b"gcp", b"aws")), (b"\xff junk", b"\x00")]
        for key, value in stray:
            await publish(log, key, value, [(CLAIM_HEADER, header)], last.partition)

    # then the cluster is as before, for running processes and for new ones
    assert 2 == check(await api.update(cluster["id"]), 200)["generation"]
    check(await api.create("another"), 201)
    assert not worker.task.done()
    assert not sink.task.done()
    await worker.end()
    await site.deployment.worker()
    assert 3 == check(await api.update(cluster["id"]), 200)["generation"]
    fresh = (await site.deployment.web()).as_(api.email)
    shown = check(await fresh.get(cluster["id"]), 200)
    assert (3, "gcp") == (shown["generation"], shown["spec"]["platform"]["type"])
    assert 2 == (await fresh.list())["total"]
    assert (await site.verify()).equal


async def test_the_copy_of_a_claim_takes_nothing_over(site):
    worker = await site.deployment.worker()
    api = await site.deployment.web(an_owner())
    cluster = await api.created()
    for name in CHANGELOGS:
        log = site.deployment.log(name)
        for claim in await claims_of(log):
            await publish(log, claim.key, claim.value, [], claim.partition)

    assert 2 == check(await api.update(cluster["id"]), 200)["generation"]
    check(await api.create("another"), 201)

    assert not worker.task.done()
    fresh = (await site.deployment.web()).as_(api.email)
    assert 2 == check(await fresh.get(cluster["id"]), 200)["generation"]


async def test_whoever_writes_on_and_on_does_not_end_a_worker(site):
    worker = await site.deployment.worker()
    api = await site.deployment.web(an_owner())
    cluster = await api.created()
    states = site.deployment.log("cluster-state")
    last = await last_of(states, cluster["id"])
    for generation in range(2, 7):
        await publish(states, last.key, b"{}", [], last.partition)
        await publish(states, b"stranger", None, [], last.partition)
        assert generation == check(await api.update(cluster["id"]), 200)["generation"]
    await publish(
        states, last.key, None, [], last.partition
    )  # after which compaction would keep nothing else
    assert 7 == check(await api.update(cluster["id"]), 200)["generation"]

    assert not worker.task.done()
    counted = await last_of(states, cluster["id"])
    assert 7 == json.loads(counted.value)["cluster"]["generation"]


@pytest.mark.timeout(120)
async def test_junk_under_a_real_claim_ends_a_worker_once_and_no_more(site, servers, tmp_path):
    """It can't be told from what the owner writes, so it is recovered; but nobody stumbles over it."""
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": servers.bootstrap_servers,
        "DATABASE_URL": site.database_url,
        "KAFKA_TOPIC_PREFIX": site.deployment.kafka.topics.prefix,
        "KAFKA_PARTITIONS": str(site.deployment.kafka.partitions),
    }
    with await asyncio.to_thread(Stage(tmp_path, environment).__enter__) as stage:
        # given a worker that owns both changelogs
        first = await started(stage)
        api = await site.deployment.web(an_owner())
        cluster = await api.created()

        # when somebody writes junk under its claims
        for name in CHANGELOGS:
            log = site.deployment.log(name)
            for record in {r.partition: r for r in await log.read() if r.key != CLAIM_KEY}.values():
                for value in (b"junk", b"null", b"[]", b'{"cluster_id":""}', b"[" * 100_000):
                    await publish(log, b"junk-%d" % len(value), value, list(record.headers), record.partition)
        update = asyncio.ensure_future(api.update(cluster["id"]))

        async def ended():
            return not first.running()

        await until(ended, what="the end of the worker that is not alone")

        # then the next one goes on
        second = await started(stage)
        assert (await update).status in (200, 503)
        assert check(await api.update(cluster["id"]), 200)["generation"] in (2, 3)
        check(await api.create("another"), 201)
        assert second.running()


async def publish(log, key, value, headers, partition):
    async with AIOKafkaProducer(bootstrap_servers=log.bootstrap_servers) as producer:
        await producer.send_and_wait(log.topic, value, key=key, headers=headers, partition=partition)
