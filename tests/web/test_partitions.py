"""A partition without a leader stops its own writes, for as long, and says so; nothing else is disturbed."""

import asyncio
import math
import time
from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace
from uuid import uuid4

import pytest
from prometheus_client import REGISTRY

from serving.submit import UNKNOWN
from streams.kafka.unavailable import UNAVAILABLE_PARTITIONS
from streams.reading.tail import Tail
from streams.writing.producer import Producer
from tests.conftest import until
from tests.e2e.product import Deployment, an_owner
from tests.web.answers import check, check_error
from tests.web.serving import KAFKA, serving
from tests.web.watching import CLUSTERS


@pytest.mark.parametrize(
    ("silent", "said"),
    [
        pytest.param(1, "1 partition has no leader", id="one"),
        pytest.param(7, "7 partitions have no leader", id="more than are named"),
    ],
)
async def test_health_names_partitions_without_leader_and_is_no_failure(silent, said):
    async with serving() as served:
        served.health._database, served.health._database_checked = "healthy", math.inf
        assert "healthy" == check(await served.client.get("/health"), 200)["status"]
        served.health.unavailable = {("commands", number) for number in range(silent)}
        during = check(await served.client.get("/health"), 200).json
        assert ("degraded", "degraded") == (during["status"], during["components"]["kafka"])
        assert "healthy" == during["components"]["tables"]
        assert said in during["reason"]
        assert "commands/0" in during["reason"]
        assert ("and 2 more" in during["reason"]) == (silent == 7)
        assert "commands/6" not in during["reason"]
        assert served.health.ready

        served.health.outcomes.within = 0.0
        served.health.outcomes.sent(2)
        both = check(await served.client.get("/health"), 200).json
        assert ("degraded", "degraded") == (both["components"]["kafka"], both["components"]["worker"])
        assert said in both["reason"]
        assert "no result has come" in both["reason"]


async def test_health_without_any_broker_is_a_failure_whatever_partitions_lack():
    async with serving() as served:
        served.health.unavailable, served.health.kafka_healthy = {("commands", 0)}, False
        body = check(await served.client.get("/health"), 503).json
        assert ("unhealthy", "unhealthy") == (body["status"], body["components"]["kafka"])
        assert "reason" not in body


async def test_a_place_in_a_partition_without_leader_is_not_taken_for_gone():
    async with serving(watch_reach=timedelta(milliseconds=50)) as served:
        topic = KAFKA.topics.state
        ahead = {"Last-Event-ID": served.feed.token((0, 7))}
        served.health.unavailable = {(topic, 0)}  # of which nothing is missing here
        check_error(await served.client.get(f"{CLUSTERS}?watch=true", headers=ahead), 410, "WATCH_EXPIRED")
        served.health.unavailable = {(topic, 1)}
        check_error(await served.client.get(f"{CLUSTERS}?watch=true", headers=ahead), 503, "UNAVAILABLE")


@pytest.fixture
def clients(monkeypatch):
    """The Kafka clients of the web processes that begin: tails of states and of results, and producers."""
    begun = SimpleNamespace(tails=[], producers=[])

    class KeptTail(Tail):
        def __init__(self, *args, **settings):
            super().__init__(*args, **settings)
            begun.tails.append(self)

    class KeptProducer(Producer):
        def __init__(self, *args, **settings):
            super().__init__(*args, **settings)
            begun.producers.append(self)

    monkeypatch.setattr("serving.backend.Tail", KeptTail)
    monkeypatch.setattr("serving.backend.Producer", KeptProducer)
    return begun


@contextmanager
def without_leader(cluster, *lost, also=()):
    """A client's metadata has no leader of these partitions; `also` are attributes that hold its method."""
    leader = cluster.leader_for_partition
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in ((cluster, "leader_for_partition"), *also):
            patch.setattr(owner, name, lambda tp: -1 if tp in lost else leader(tp))
        yield


async def timed(writing):
    started = time.monotonic()
    return await writing, time.monotonic() - started


async def two_clusters(api, log):
    """Clusters in either partition of a topic, by partition."""
    found = {}
    while len(found) < 2:
        id = (await api.created(f"c-{uuid4()}"))["id"]
        found[log.place_of(id)] = id
    return found


async def test_writes_go_on_while_those_of_one_partition_wait(servers, clients):
    # given a cluster of a partition that has no leader, and one of another partition
    async with Deployment(await servers.new_topics(partitions=2)) as product:
        await product.worker()
        api, web = await product.web_role(an_owner())
        log = product.log("cluster-accepted-commands")
        clusters = await two_clusters(api, log)
        led, silent = clusters[0], clusters[1]
        with without_leader(clients.producers[0]._inner.client.cluster, (log.topic, 1)):
            # when both are written at once
            (lost, waited), (applied, took) = await asyncio.gather(
                timed(api.update(silent)), timed(api.update(led))
            )

            # then the one is applied, and the other's outcome is unknown within some seconds
            assert (200, 2) == (applied.status, applied["generation"])
            check_error(lost, 503, "UNAVAILABLE")
            assert "partition of this cluster has no leader" in lost["error"]
            assert "unknown" in lost["error"]
            assert int(lost.headers["Retry-After"]) >= 1
            assert took < waited
            assert waited < 5

            # and from then on it is turned away at once, while all else works
            refused, took = await timed(api.update(silent))
            check_error(refused, 503, "UNAVAILABLE")
            assert "nothing was written" in refused["error"]
            assert took < 1
            assert 200 == (await api.update(led)).status
            assert 1 == (await api.get(silent))["generation"]
            health = check(await api.get("/health"), 200).json
            assert "degraded" == health["components"]["kafka"]
            assert f"{log.topic}/1" in health["reason"]
            assert [f"{log.topic}/1"] == UNAVAILABLE_PARTITIONS.names
            assert 1 == REGISTRY.get_sample_value("clusterflow_partitions_unavailable", {"topic": log.topic})
            assert web.ready()

        # and once there is a leader, the write that was sent is applied, once, and writes go on
        async def accepted():
            answer = await api.update(silent)
            return answer if answer.status == 200 else None

        after = await until(accepted, within=10, what="a write to the partition")
        assert 3 == after["generation"]
        assert [] == UNAVAILABLE_PARTITIONS.names


async def test_a_state_that_is_not_heard_of_leaves_its_write_unconfirmed_and_reads_go_on(servers, clients):
    # given a web process that hears nothing of the states of one partition
    async with Deployment(await servers.new_topics(partitions=2)) as product:
        await product.worker()
        api, web = await product.web_role(an_owner(), command_timeout=timedelta(seconds=2))
        log = product.log("cluster-state")
        clusters = await two_clusters(api, log)
        led, silent = clusters[0], clusters[1]
        consumer = clients.tails[0].consumer
        fetches = ((consumer._fetcher, "_select_read_replica"),)
        with without_leader(consumer._client.cluster, (log.topic, 1), also=fetches):

            async def degraded():
                return f"{log.topic}/1" in (await api.get("/health")).json.get("reason", "")

            # when it has noticed
            await until(degraded, within=10, what="/health that names the partition")

            # then clusters are written and read, and a write that is not shown here is not called failed
            assert 200 == (await api.update(led)).status  # which a fetch brings that was under way before
            check_error(await api.update(silent), 503, "UNAVAILABLE", UNKNOWN)
            assert 202 == (await api.report(silent)).status
            assert [2, 1] == [check(await api.get(id), 200)["generation"] for id in (led, silent)]
            assert web.ready()

        # and it is shown once the partition is led again
        async def shown():
            return (await api.get(silent))["generation"] == 2

        await until(shown, within=20, what="the write")
