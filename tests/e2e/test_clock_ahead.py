"""A real broker whose clock is a day ahead for some seconds: the product goes on as if it had not been."""

from datetime import UTC, datetime, timedelta

import pytest

from deploy.embedded import Stack
from domain.policy import Policy
from streams.kafka.admin import declare_topics
from streams.settings import KafkaSettings
from streams.topics import Topics
from tests.chaos.servers import Clock
from tests.conftest import until
from tests.e2e.product import Deployment, an_owner, available
from tests.web.answers import moment

DAY = timedelta(days=1)
OFTEN = timedelta(seconds=0.5)


@pytest.fixture
def clock(tmp_path):
    clock = Clock(tmp_path / "clock")
    if not clock.build():
        pytest.skip("no C compiler for the broker's clock")
    return clock


@pytest.fixture
async def kafka(clock, tmp_path, monkeypatch):
    """A broker of its own, which lives by `clock`."""
    stack = Stack(tmp_path / "stack")
    with monkeypatch.context() as environment:
        for name, value in clock.environment().items():
            environment.setenv(name, value)
        stack.start(["kafka"])
    try:
        kafka = KafkaSettings(
            bootstrap_servers=stack.kafka.bootstrap_servers,
            topics=Topics("ahead."),
            partitions=2,
            replication=1,
            session_timeout=6.0,
        )
        await declare_topics(kafka)
        yield kafka
    finally:
        stack.stop()


async def test_a_day_ahead_for_some_seconds_then_right_again(clock, kafka):
    policy = Policy(attention_interval=OFTEN, stable_interval=OFTEN, grace_period=timedelta(hours=1))
    async with Deployment(kafka, policy=policy) as deployment:
        await deployment.worker(tick_interval=OFTEN)
        api = await deployment.web(an_owner())
        working, fresh = await api.created("working"), await api.created("fresh")
        await api.report(working["id"], conditions=available("False"))
        events = deployment.log("cluster-events")

        # given a day ahead, in which a cluster is born, another gets a spec, and a third fails for its age
        clock.step(int(DAY.total_seconds()))
        born = await api.created("born")
        await api.update(fresh["id"])
        assert datetime.now(UTC) + DAY / 2 < moment((await api.get(fresh["id"]))["updated_at"])

        async def failed():
            return (await api.get(working["id"]))["status"]["phase"] == "Failed"

        await until(failed, what="the time-out under the fast clock")

        # when it is right again
        clock.step(0)
        since = datetime.now(UTC)

        # then reports on the new spec count, the failure is taken back, and all are reconciled
        await api.report(fresh["id"], observed_generation=2, conditions=available())
        assert "Ready" == (await api.get(fresh["id"]))["status"]["phase"]

        async def works():
            return (await api.get(working["id"]))["status"]["phase"] == "Progressing"

        await until(works, what="the failure taken back")
        for cluster in (working, fresh, born):

            def reconciled_now(body):
                at = moment(body["timestamp"])
                return body["type"] == "cluster.reconcile" and since < at < since + DAY / 2

            await events.wait_for(cluster["id"], reconciled_now)

        async def written_today():
            return moment((await api.get(fresh["id"]))["updated_at"]) < since + DAY / 2

        await until(written_today, what="the right time of the last write")
