"""Reactive reconciliation with real ticks: changes are announced at once, and the last of a burst always."""

from datetime import timedelta

import pytest

from domain.policy import Policy
from tests.conftest import until
from tests.e2e.product import LONG_AGO, Deployment, an_owner, available
from tests.web.answers import check, moment

DEBOUNCE = timedelta(seconds=1)


@pytest.fixture(scope="module")
async def deployment(servers):
    policy = Policy(reactive=True, reactive_debounce=DEBOUNCE)
    async with Deployment(await servers.new_topics(), policy=policy) as deployment:
        await deployment.worker(tick_interval=LONG_AGO)
        yield deployment


@pytest.fixture(scope="module")
async def api(deployment):
    return await deployment.web(an_owner())


async def announced(deployment, cluster_id):
    """The metadata of its announcements, with the generation they tell of."""
    bodies = await deployment.log("cluster-events").bodies(cluster_id)
    return [
        {**body["metadata"], "reason": body["reason"], "generation": body["generation"], "id": body["id"]}
        for body in bodies
        if body["type"] == "cluster.reconcile"
        and body["metadata"]["scheduled_by"] == "reactive_reconciliation"
    ]


async def test_a_create_is_announced_at_once(deployment, api):
    cluster = await api.created("created")
    (told,) = await announced(deployment, cluster["id"])
    assert ("spec", "cluster_created", "cluster_created", 1) == (
        told["change_type"],
        told["trigger_reason"],
        told["reason"],
        told["generation"],
    )
    assert cluster["created_at"] == told["triggered_at"]


async def test_the_last_of_a_burst_is_announced_when_its_time_is_over(deployment, api):
    cluster = await api.created("burst")
    for _ in range(5):
        last = check(await api.update(cluster["id"]), 200)

    async def both_edges():
        told = await announced(deployment, cluster["id"])
        return told if len(told) >= 2 else None

    told = await until(both_edges, what="the trailing edge")
    assert [("cluster_created", 1), ("generation_increment", 6)] == [
        (one["reason"], one["generation"]) for one in told
    ]
    assert last["updated_at"] == told[-1]["triggered_at"]
    assert 2 == len({one["id"] for one in told})


async def test_a_report_is_announced_by_what_it_changes_and_its_repeat_is_not(deployment, api):
    cluster = await api.created("reported")
    for status in ("True", "True", "False"):
        check(await api.report(cluster["id"], conditions=available(status)), 200)

    async def all_told():
        told = await announced(deployment, cluster["id"])
        return told if len(told) >= 5 else None

    told = await until(all_told, what="announcements of spec, status and controller status")
    assert {
        ("spec", "cluster_created"),
        ("status", "status_change"),
        ("controller_status", "controller_status_created"),
        ("controller_status", "controller_status_change"),
    } == {(one["change_type"], one["reason"]) for one in told}
    times = [moment(one["triggered_at"]) for one in told]
    assert times[0] == min(times)


async def test_announcing_moves_no_schedule_and_no_revision_is_without_end(deployment, api):
    cluster = await api.created("quiet")
    check(await api.update(cluster["id"]), 200)

    async def told():
        return len(await announced(deployment, cluster["id"])) >= 2

    await until(told, what="both edges")
    states = await deployment.log("cluster-state").bodies(cluster["id"])
    assert {None} == {state["schedule"]["last_reconciled_at"] for state in states}
    assert [1, 2, 3] == [state["revision"] for state in states]
