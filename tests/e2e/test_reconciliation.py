"""Contract section 6 with real ticks: when reconciles are told, how many at once, what time alone does."""

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import uuid4

import pytest

from agents.clock import TICK_SLICE
from domain.policy import Policy
from tests.conftest import until
from tests.e2e.product import LONG_AGO, SPEC, Deployment, an_owner, available, command, headers_of
from tests.web.answers import moment

TICKS = "reconcile-ticks"
NO_TIME = timedelta(milliseconds=1)
ALWAYS_DUE = Policy(attention_interval=NO_TIME, stable_interval=NO_TIME, attention_age=NO_TIME)
FATAL = {"errorType": "Fatal", "message": "broken"}


class Fleet:
    """One partition of clusters whose only ticks are ours."""

    def __init__(self, deployment, api):
        self.deployment, self.api = deployment, api
        self.events, self.ticks = deployment.log("cluster-events"), deployment.log(TICKS)

    async def tick(self):
        """One tick, decided when this returns: the bad record behind it has reached its dead-letter topic."""
        behind = str(uuid4())
        tick = {"tick_id": str(uuid4()), "at": datetime.now(UTC).isoformat()}
        await self.ticks.publish_all([("0", tick), (behind, None)], partition=0)
        letters = self.deployment.log(f"{TICKS}.dlq")

        async def behind_is_parked():
            return [r for r in await letters.read() if r.key == behind.encode()]

        await until(behind_is_parked, what="the record behind a tick")

    async def reconciled(self):
        """The clusters of all reconcile events, in their order."""
        bodies = [json.loads(record.value) for record in await self.events.read()]
        return [body["cluster_id"] for body in bodies if body["type"] == "cluster.reconcile"]

    async def created(self, count):
        return [(await self.api.created(f"c{n}"))["id"] for n in range(count)]


@pytest.fixture
async def fleet(servers):
    """Makes a `Fleet` under a policy."""
    deployments = []

    async def make(policy):
        deployment = Deployment(await servers.new_topics(partitions=1), policy=policy)
        deployments.append(await deployment.__aenter__())
        await deployment.worker(tick_interval=LONG_AGO)
        made = Fleet(deployment, await deployment.web(an_owner()))
        first = deployment.log(TICKS)
        await until(first.read, what="the tick of a worker's start")  # from now on, ticks are ours
        await made.tick()
        return made

    yield make
    for deployment in deployments:
        await deployment.__aexit__(None, None, None)


async def test_no_tick_brings_more_than_the_cap_and_the_oldest_come_first(fleet):
    fleet = await fleet(Policy(reconcile_cap=2))
    ids = await fleet.created(5)
    seen = []
    for _ in range(4):
        await fleet.tick()
        seen.append(len(await fleet.reconciled()))
    assert [2, 4, 5, 5] == seen
    assert ids == await fleet.reconciled()


async def test_a_large_cap_is_worked_off_in_slices_and_kept(fleet):
    cap = 2 * TICK_SLICE + 7
    fleet = await fleet(Policy(reconcile_cap=cap))
    ids = await fleet.created(cap + 5)
    await fleet.tick()

    async def cap_reached():
        return len(await fleet.reconciled()) >= cap

    await until(cap_reached, what="as many reconciles as the cap allows")
    assert ids[:cap] == await fleet.reconciled()
    await fleet.tick()
    assert ids == await fleet.reconciled()
    slices = [json.loads(r.value) for r in await fleet.ticks.read() if r.value is not None]
    left = [tick["reconcile"] for tick in slices if tick.get("reconcile")]
    assert [cap - TICK_SLICE, cap - 2 * TICK_SLICE] == left


async def test_failed_clusters_come_before_stable_ones(fleet):
    """Nobody reports, so all are due at every tick; only one may be told."""
    two_minutes = timedelta(minutes=2)
    fleet = await fleet(
        Policy(
            attention_age=NO_TIME, attention_interval=NO_TIME, stable_interval=two_minutes, reconcile_cap=1
        )
    )
    a, b, c = await fleet.created(3)
    for _ in range(4):
        await fleet.tick()
    await fleet.api.report(c, last_error=FATAL)
    for _ in range(2):
        await fleet.tick()
    await fleet.api.report(c, conditions=available())
    for _ in range(3):
        await fleet.tick()
    taking_turns, failing, healed = [a, b, c, a], [c, c], [c, b, a]
    assert taking_turns + failing + healed == await fleet.reconciled()


def _fields(policy):
    return {name: getattr(policy, name) for name in policy.__slots__}


async def test_one_cluster_is_told_once_a_tick(fleet):
    fleet = await fleet(ALWAYS_DUE)
    (one,) = await fleet.created(1)
    for _ in range(3):
        await fleet.tick()
    bodies = await fleet.events.bodies(one)
    assert ["cluster.created", *["cluster.reconcile"] * 3] == [body["type"] for body in bodies]
    assert 4 == len({body["id"] for body in bodies})
    for earlier, later in pairwise(bodies[1:]):
        assert earlier["timestamp"] == later["metadata"]["last_reconciled_at"]


async def test_a_scheduled_reconcile_says_why_and_until_when(fleet):
    fleet = await fleet(Policy())
    (one,) = await fleet.created(1)
    await fleet.api.update(one)
    await fleet.tick()
    record = (await fleet.events.of(one))[-1]
    body, headers = json.loads(record.value), headers_of(record)
    assert ("cluster.reconcile", "never_reconciled", 2) == (body["type"], body["reason"], body["generation"])
    assert {
        "scheduled_by": "reconciliation_scheduler",
        "last_reconciled_at": None,
        "cluster_generation": 2,
        "interval": "30s",
    } == body["metadata"]
    assert "clusterflow" == body["source"]
    assert one == body["cluster"]["id"]
    assert ("cluster.reconcile", "never_reconciled", "gcp", body["id"]) == (
        headers["event_type"],
        headers["reason"],
        headers["platform"],
        headers["event_id"],
    )


async def test_a_stable_cluster_says_five_minutes(fleet):
    fleet = await fleet(Policy(attention_age=NO_TIME))
    (one,) = await fleet.created(1)
    await fleet.tick()
    assert "5m" == (await fleet.events.bodies(one))[-1]["metadata"]["interval"]


async def test_deleted_clusters_are_not_told_any_more(fleet):
    fleet = await fleet(ALWAYS_DUE)
    one, two = await fleet.created(2)
    await fleet.api.delete(one)
    await fleet.tick()
    assert [two] == await fleet.reconciled()


async def test_a_deleted_cluster_is_purged_after_its_retention(fleet):
    fleet = await fleet(Policy(delete_retention=NO_TIME))
    one, two = await fleet.created(2)
    await fleet.api.delete(one)
    states = fleet.deployment.log("cluster-state")

    async def purged():
        """A purge waits until the delete is committed, which is twice a second."""
        await fleet.tick()
        return [record for record in await states.of(one) if record.value is None]

    await until(purged, what="the purge by one of the next ticks")
    assert [False, False, True] == [record.value is None for record in await states.of(one)]
    assert 404 == (await fleet.api.get(one)).status
    assert 200 == (await fleet.api.get(two)).status
    assert 201 == (await fleet.api.create("c0")).status


async def test_reports_and_updates_do_not_bring_a_reconcile_forward(fleet):
    fleet = await fleet(Policy())
    (one,) = await fleet.created(1)
    await fleet.tick()
    await fleet.api.report(one, conditions=available("False"))
    await fleet.api.report(one, last_error=FATAL)
    await fleet.tick()
    assert [one] == await fleet.reconciled()


async def test_reconciliation_off_tells_nothing_but_manual_ones(fleet):
    fleet = await fleet(Policy(**{**_fields(ALWAYS_DUE), "reconcile_enabled": False}))
    (one,) = await fleet.created(1)
    await fleet.tick()
    assert [] == await fleet.reconciled()
    await fleet.deployment.log("cluster-commands").publish(one, command("reconcile", one, fleet.api.email))
    assert "manual_trigger" == (await fleet.events.wait_for(one, lambda b: "reason" in b))["reason"]


@pytest.mark.parametrize("enabled", [True, False], ids=["reconciliation on", "reconciliation off"])
async def test_a_silent_controller_fails_its_cluster_by_ticks_alone(fleet, enabled):
    policy = Policy(grace_period=NO_TIME, activity_window=NO_TIME, reconcile_enabled=enabled)
    fleet = await fleet(policy)
    (one,) = await fleet.created(1)
    await fleet.api.report(one, conditions=available("False"))

    async def reason():
        await fleet.tick()
        return (await fleet.api.get(one))["status"]["reason"] == "ControllerTimeout"

    await until(reason, what="the time-out")
    status = (await fleet.api.get(one))["status"]
    assert ("Failed", "False") == (status["phase"], status["conditions"][1]["status"])


async def test_bad_ticks_are_parked_and_the_clock_goes_on(fleet):
    fleet = await fleet(ALWAYS_DUE)
    (one,) = await fleet.created(1)
    bad = [b"", b"{", b"[]", b"{}", b'{"tick_id":5,"at":"x"}', b"\xff"]
    await fleet.ticks.publish_all([(f"bad{n}", value) for n, value in enumerate(bad)], partition=0)
    await fleet.tick()
    assert [one] == await fleet.reconciled()
    letters = [r for r in await fleet.deployment.log(f"{TICKS}.dlq").read() if r.key.startswith(b"bad")]
    assert {"invalid_schema"} == {headers_of(letter)["dlq_reason"] for letter in letters}
    assert len(bad) == len(letters)


async def test_a_restarted_worker_knows_what_is_due(servers):
    async with Deployment(await servers.new_topics(), policy=Policy()) as deployment:
        worker = await deployment.worker(tick_interval=LONG_AGO)
        ticks = deployment.log(TICKS)
        await until(ticks.read, what="the first worker's ticks")
        api = await deployment.web(an_owner())
        ids = {(await api.created(f"c{n}"))["id"] for n in range(8)}
        await worker.end()
        await deployment.worker(tick_interval=LONG_AGO)  # ticks at its start
        events = deployment.log("cluster-events")

        async def all_told():
            bodies = [json.loads(record.value) for record in await events.read()]
            return ids == {b["cluster_id"] for b in bodies if b["type"] == "cluster.reconcile"}

        await until(all_told, what="a reconcile of every cluster")


async def test_the_product_s_own_clock_keeps_the_intervals(servers):
    """Attention for three seconds: every second; then stable: every two. Ticks come five times a second."""
    policy = Policy(
        attention_age=timedelta(seconds=3),
        attention_interval=timedelta(seconds=1),
        stable_interval=timedelta(seconds=2),
    )
    async with Deployment(await servers.new_topics(), policy=policy) as deployment:
        await deployment.worker(tick_interval=timedelta(seconds=0.2))
        api = await deployment.web(an_owner())
        one = await api.created()
        await api.report(one["id"], conditions=available())
        log = deployment.log("cluster-events")

        async def two_stable_ones():
            bodies = [body for body in await log.bodies(one["id"]) if body["type"] == "cluster.reconcile"]
            stable = [body for body in bodies if body["reason"] == "healthy_reconciliation"]
            return bodies if len(stable) == 2 else None

        told = await until(two_stable_ones, within=30, what="two stable reconciles")
        assert "never_reconciled" == told[0]["reason"]
        lengths = {"1s": 1.0, "2s": 2.0}
        for earlier, later in pairwise(told):
            gap = (moment(later["timestamp"]) - moment(earlier["timestamp"])).total_seconds()
            assert lengths[earlier["metadata"]["interval"]] <= gap
        for body in told:
            age = moment(body["timestamp"]) - moment(one["created_at"])
            assert ("1s" if age < policy.attention_age else "2s") == body["metadata"]["interval"]
        reasons = [body["reason"] for body in told[1:]]
        assert reasons == sorted(reasons, reverse=True)  # all of the first kind before all of the second
        assert {"unhealthy_reconciliation", "healthy_reconciliation"} == set(reasons)
        assert SPEC == told[-1]["cluster"]["spec"]
