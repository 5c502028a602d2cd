"""DELETE /api/v1/clusters/{id}: what may go, and that it is gone at once."""

from uuid import uuid4

import pytest

from tests.e2e.product import CONTROLLER, available
from tests.web.answers import check, check_error

FATAL = {"errorType": "Fatal", "message": "broken"}


async def test_a_fresh_cluster_goes(api):
    cluster = await api.created()
    answer = check(await api.delete(cluster["id"]), 202)
    assert {"message": "cluster deletion initiated", "cluster_id": cluster["id"]} == answer.json


async def test_a_deleted_cluster_is_not_found_anywhere(api):
    cluster = await api.created()
    await api.delete(cluster["id"])
    controller = api.as_(CONTROLLER)
    for answer in (
        await api.get(cluster["id"]),
        await controller.get(cluster["id"]),
        await api.get(f"{cluster['id']}/status"),
        await api.update(cluster["id"]),
        await api.delete(cluster["id"]),
        await api.delete(cluster["id"], force=True),
        await api.report(cluster["id"], conditions=available()),
    ):
        check_error(answer, 404, "RESOURCE_NOT_FOUND", "Cluster not found")
    assert {"clusters": [], "total": 0, "limit": 50, "offset": 0} == (await api.list()).json


async def test_a_failed_cluster_goes(api):
    cluster = await api.created()
    await api.report(cluster["id"], last_error=FATAL)
    assert "Failed" == (await api.get(cluster["id"]))["status"]["phase"]
    check(await api.delete(cluster["id"]), 202)


@pytest.mark.parametrize(
    ("reports", "phase"),
    [
        pytest.param([{"conditions": available()}], "Ready", id="ready"),
        pytest.param([{"conditions": available("False")}], "Progressing", id="progressing"),
        pytest.param([{"observed_generation": 9}], "Pending", id="pending with a report from the future"),
    ],
)
async def test_others_stay_without_force(api, reports, phase):
    cluster = await api.created()
    for members in reports:
        await api.report(cluster["id"], **members)
    text = f"Cannot delete cluster in {phase} state. Use force=true to override."
    check_error(await api.delete(cluster["id"]), 409, "CLUSTER_NOT_DELETABLE", text)
    assert 200 == (await api.get(cluster["id"])).status
    check(await api.delete(cluster["id"], force=True), 202)


async def test_a_once_ready_cluster_does_not_become_deletable_by_an_update(api):
    cluster = await api.created()
    await api.report(cluster["id"], conditions=available())
    assert "Pending" == (await api.update(cluster["id"]))["status"]["phase"]
    check_error(await api.delete(cluster["id"]), 409, "CLUSTER_NOT_DELETABLE")


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("force=true", 202),
        ("force=TRUE", 202),
        ("force=True", 202),
        ("force=1", 409),
        ("force=yes", 409),
        ("force", 409),
        ("force=", 409),
        ("force=false", 409),
        ("force=%20true", 409),
        ("FORCE=true", 409),
    ],
)
async def test_force_is_the_literal_true_in_any_case(api, query, status):
    cluster = await api.created()
    await api.report(cluster["id"], conditions=available())
    assert status == (await api.request("DELETE", f"{cluster['id']}?{query}")).status


async def test_a_delete_of_nothing_is_not_found(api):
    check_error(await api.delete(str(uuid4())), 404, "RESOURCE_NOT_FOUND", "Cluster not found")
