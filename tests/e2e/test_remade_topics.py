"""Topics that are made anew, or lose their end: what comes after is not taken for what was seen before."""

import asyncio
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.structs import TopicPartition

from streams.kafka.topic_ids import TopicReplaced
from tests.e2e.product import SPEC, Deployment, an_owner, available, command
from tests.e2e.remade import made_anew


@pytest.mark.parametrize("topic", ["reports", "accepted_commands", "commands", "name_requests"])
async def test_what_comes_on_a_topic_made_anew_is_decided(servers, topic):
    kafka = await servers.new_topics(partitions=1)
    async with Deployment(kafka) as product:
        api, web = await product.web_role(an_owner())
        worker = await product.worker()
        id = (await api.created())["id"]
        for _ in range(5):
            assert 200 == (await api.report(id, conditions=available("False"))).status
            assert 200 == (await api.update(id)).status
        await product.log("cluster-commands").publish(id, command("update", id, api.email, spec=SPEC))
        await product.log("cluster-command-results").wait_for(
            id, lambda body: body["outcome"] == "applied" and body.get("cluster", {}).get("generation") == 7
        )
        await worker.end()
        await web.end()
        await made_anew(kafka, getattr(kafka.topics, topic))

        api = await product.web(api.email)
        await product.worker()

        assert 200 == (await api.report(id, observed_generation=7, conditions=available())).status
        assert 8 == (await api.update(id))["generation"]
        native = command("update", id, api.email, spec=SPEC)
        await product.log("cluster-commands").publish(id, native)
        result = await product.log("cluster-command-results").wait_for(
            id, lambda body: body["command_id"] == native["command_id"]
        )
        assert 9 == result["cluster"]["generation"]
        assert 201 == (await api.create(f"other-{uuid4().hex[:8]}")).status


async def test_roles_end_when_a_topic_they_work_on_is_made_anew(servers):
    kafka = await servers.new_topics(partitions=1)
    async with Deployment(kafka) as product:
        api, web = await product.web_role(an_owner())
        worker = await product.worker()
        id = (await api.created())["id"]
        await api.report(id)

        await made_anew(kafka, kafka.topics.reports)
        ended = await asyncio.wait_for(
            asyncio.gather(web.task, worker.task, return_exceptions=True), timeout=90
        )

        assert TopicReplaced is type(ended[0])
        assert isinstance(ended[1], Exception)
        api = await product.web(api.email)
        await product.worker()
        answer = await api.report(id, conditions=available())
        assert (200, True) == (answer.status, answer["applied"])


async def test_what_comes_after_a_partition_has_lost_its_end_is_decided(servers):
    """A partition whose committed offset lies beyond its end, as after an unclean election."""
    kafka = await servers.new_topics(partitions=1)
    async with Deployment(kafka) as product:
        api = await product.web(an_owner())
        worker = await product.worker()
        id = (await api.created())["id"]
        assert 200 == (await api.report(id)).status
        await worker.end()
        await _commit_beyond(kafka, kafka.topics.reports, 1000)

        await product.worker()
        answers = [await api.report(id, conditions=available(state)) for state in ("True", "False")]

        assert [True, True] == [answer["applied"] for answer in answers]
        controllers = (await api.get(f"{id}/status"))["controllers"]
        assert "False" == controllers[0]["conditions"][0]["status"]


async def _commit_beyond(kafka, topic, offset):
    tp = TopicPartition(topic, 0)
    async with AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap_servers,
        group_id=kafka.topics.prefix + "clusterflow",
        enable_auto_commit=False,
    ) as consumer:
        consumer.assign([tp])
        await consumer.commit({tp: offset})


async def test_records_that_expired_before_they_were_decided_are_told(servers, caplog):
    kafka = await servers.new_topics(partitions=1)
    async with Deployment(kafka) as product:
        api = await product.web(an_owner())
        worker = await product.worker()
        id = (await api.created())["id"]
        await worker.end()
        log = product.log("cluster-status-reports")
        await log.publish(id, {"cluster_id": id, "controller_name": "dns", "observed_generation": 1})
        await _commit_beyond(kafka, kafka.topics.reports, 0)
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
        await admin.start()
        await admin.delete_records(
            {TopicPartition(kafka.topics.reports, 0): RecordsToDelete(before_offset=1)}
        )
        await admin.close()

        await product.worker()

        assert "records have expired before they were decided" in [
            getattr(record, "why", "") for record in caplog.records
        ]
        assert 200 == (await api.report(id, conditions=available())).status
