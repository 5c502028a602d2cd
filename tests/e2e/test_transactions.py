"""Clients with Kafka transactions: what they take back never was, and what they leave open is told."""

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from prometheus_client import REGISTRY

from streams.kafka.held import HELD
from tests.conftest import until
from tests.e2e.product import SPEC, Deployment, an_owner, available, command, committed, report


@asynccontextmanager
async def transactional(product, **settings):
    """A producer of a client with transactions, and how it sends JSON."""
    prefix = product.kafka.topics.prefix
    async with AIOKafkaProducer(
        bootstrap_servers=product.kafka.bootstrap_servers, transactional_id=f"{prefix}{uuid4()}", **settings
    ) as producer:

        async def send(topic, key, body):
            await producer.send_and_wait(prefix + topic, json.dumps(body).encode(), key=key.encode())

        yield producer, send


async def test_what_a_client_takes_back_has_no_effect(product, api):
    cluster = await api.created()
    id, new = cluster["id"], str(uuid4())
    create = command("create", new, api.email, name="taken-back", spec=SPEC)
    async with transactional(product) as (producer, send):
        await producer.begin_transaction()
        await send("cluster-commands", id, command("update", id, api.email, spec={**SPEC, "by": "nobody"}))
        await send("cluster-status-reports", id, report(id, conditions=available()))
        await send("cluster-create-requests", f"{api.email}/taken-back", create)
        await producer.abort_transaction()

    updated = await api.update(id, {**SPEC, "by": "rest"})

    assert 2 == updated["generation"]
    assert [] == (await api.get(f"{id}/status"))["controllers"]
    assert 201 == (await api.create("taken-back")).status


async def test_what_a_client_commits_takes_effect_then_and_not_before(product, api):
    id = (await api.created())["id"]
    first = command("update", id, api.email, spec={**SPEC, "by": "kafka"})
    async with transactional(product) as (producer, send):
        await producer.begin_transaction()
        await send("cluster-commands", id, first)
        meanwhile = await api.update(id, {**SPEC, "by": "rest"})
        await producer.commit_transaction()

    result = await product.log("cluster-command-results").wait_for(
        id, lambda body: body["command_id"] == first["command_id"]
    )

    assert 2 == meanwhile["generation"]
    assert ("applied", 3) == (result["outcome"], result["cluster"]["generation"])


async def test_offsets_are_committed_past_what_a_client_took_back(product, api):
    id = (await api.created())["id"]
    log = product.log("cluster-status-reports")
    place = log.place_of(id)
    async with transactional(product) as (producer, send):
        for _ in range(3):
            await producer.begin_transaction()
            await send("cluster-status-reports", id, report(id))
            await producer.abort_transaction()
        end = await _end(product, log.topic, place)

    async def passed():
        return (await committed(product.kafka)).get((log.topic, place)) == end

    await until(passed, what="the offset past the markers")


async def _end(product, topic, partition):
    async with AIOKafkaConsumer(bootstrap_servers=product.kafka.bootstrap_servers) as consumer:
        tp = TopicPartition(topic, partition)
        return (await consumer.end_offsets([tp]))[tp]


async def test_a_transaction_left_open_is_told_until_the_broker_ends_it(servers):
    async with Deployment(await servers.new_topics(partitions=2)) as product:
        worker = await product.worker()
        api = await product.web(an_owner(), command_timeout=timedelta(seconds=20))
        id = (await api.created())["id"]
        log = product.log("cluster-commands")
        held = f"{log.topic}/{log.place_of(id)}"
        async with transactional(product, transaction_timeout_ms=8000) as (producer, send):
            await producer.begin_transaction()
            await send("cluster-commands", id, command("update", id, api.email, spec=SPEC))

            await until(lambda: _async(held in HELD.names), what="the held partition")
            told = REGISTRY.get_sample_value("clusterflow_held_partitions", {"topic": log.topic})
            ready = worker.ready()

            answer = await api.get(id)
            await until(lambda: _async(held not in HELD.names), what="the end of the transaction")

        assert (1, False, 200) == (told, ready, answer.status)
        assert 2 == (await api.update(id))["generation"]
        assert worker.ready()


async def _async(value):
    return value


TOPICS = ("cluster-commands", "cluster-create-requests", "cluster-status-reports", "reconcile-ticks")


@pytest.mark.parametrize("codec", ["gzip", "lz4", "zstd"])
async def test_a_record_that_unpacks_to_three_hundred_megabytes_is_parked(servers, codec):
    value = b" " * (300 * 2**20)
    async with Deployment(await servers.new_topics(partitions=1)) as product:
        await product.worker()
        api = await product.web(an_owner())
        id = (await api.created())["id"]
        for topic in TOPICS:
            log = product.log(topic)
            await log.publish_all(
                [(id, value)], compression_type=codec, max_batch_size=2**30, max_request_size=2**30
            )

        answer = await asyncio.gather(api.update(id), api.report(id, conditions=available()))

        assert [200, 200] == [each.status for each in answer]
        for topic in TOPICS:
            [letter] = await product.log(f"{topic}.dlq").read()
            assert "unreadable" == dict(letter.headers)["dlq_reason"].decode()
