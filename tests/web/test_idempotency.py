"""`Idempotency-Key` (contract, section 2.4): a repeat gets the first outcome, whatever has happened since."""

import asyncio
from uuid import uuid4

import pytest

from tests.e2e.product import SPEC, an_owner
from tests.web.answers import check, check_error

CLUSTERS = "/api/v1/clusters"


def under(key):
    return {"Idempotency-Key": key}


async def create(api, key, name="one"):
    return await api.request("POST", CLUSTERS, {"name": name, "spec": SPEC}, headers=under(key))


async def update(api, cluster_id, key):
    return await api.request("PUT", cluster_id, {"spec": SPEC}, headers=under(key))


async def delete(api, cluster_id, key):
    return await api.request("DELETE", f"{cluster_id}?force=true", headers=under(key))


async def events_of(product, cluster_id):
    return [body["type"] for body in await product.log("cluster-events").bodies(cluster_id)]


async def test_a_repeated_create_makes_one_cluster(product, api):
    key = str(uuid4())
    first, again = await create(api, key), await create(api, key)
    check(first, 201)
    check(again, 201)
    assert (first.json, first.headers["Location"]) == (again.json, again.headers["Location"])
    assert (None, "true") == tuple(a.headers.get("Idempotent-Replayed") for a in (first, again))
    assert ["cluster.created"] == await events_of(product, first["id"])


async def test_repeats_at_the_same_time_make_one_cluster(product, api):
    key = str(uuid4())
    answers = await asyncio.gather(*(create(api, key) for _ in range(8)))
    assert {201} == {answer.status for answer in answers}
    (cluster_id,) = {answer["id"] for answer in answers}
    assert ["cluster.created"] == await events_of(product, cluster_id)


async def test_a_repeated_update_is_applied_once(api):
    cluster, key = await api.created(), str(uuid4())
    answers = [await update(api, cluster["id"], key) for _ in range(3)]
    assert [(200, 2)] * 3 == [(answer.status, answer["generation"]) for answer in answers]


async def test_a_repeated_delete_gets_its_first_answer(api):
    cluster, key = await api.created(), str(uuid4())
    first, again = await delete(api, cluster["id"], key), await delete(api, cluster["id"], key)
    check(first, 202)
    check(again, 202)
    assert first.json == again.json
    check_error(await delete(api, cluster["id"], str(uuid4())), 404, "RESOURCE_NOT_FOUND")


async def test_an_update_that_was_applied_stays_so_after_the_delete(api):
    cluster, key = await api.created(), str(uuid4())
    check(await update(api, cluster["id"], key), 200)
    check(await api.delete(cluster["id"], force=True), 202)
    assert 2 == check(await update(api, cluster["id"], key), 200)["generation"]
    check_error(await update(api, cluster["id"], str(uuid4())), 404, "RESOURCE_NOT_FOUND")


async def test_a_create_that_was_refused_stays_so_when_the_name_is_free(api):
    key = str(uuid4())
    cluster = await api.created("taken")
    check_error(await create(api, key, "taken"), 409, "CLUSTER_NAME_EXISTS")
    check(await api.delete(cluster["id"], force=True), 202)
    check_error(await create(api, key, "taken"), 409, "CLUSTER_NAME_EXISTS")
    check(await create(api, str(uuid4()), "taken"), 201)


async def test_a_refused_delete_stays_refused(api):
    cluster, key = await api.created(), str(uuid4())
    await api.report(cluster["id"], last_error={"errorType": "Transient", "message": "wait"})
    refused = await api.request("DELETE", cluster["id"], headers=under(key))
    check_error(refused, 409, "CLUSTER_NOT_DELETABLE")
    await api.report(cluster["id"], last_error={"errorType": "Fatal", "message": "broken"})
    check_error(await api.request("DELETE", cluster["id"], headers=under(key)), 409, "CLUSTER_NOT_DELETABLE")
    check(await api.delete(cluster["id"]), 202)


async def test_an_outcome_is_kept_beyond_the_last_64_commands(api):
    cluster, key = await api.created(), str(uuid4())
    check(await update(api, cluster["id"], key), 200)
    for _ in range(70):
        check(await api.update(cluster["id"]), 200)
    again = check(await update(api, cluster["id"], key), 200)
    assert ("true", 72) == (again.headers["Idempotent-Replayed"], again["generation"])


async def test_a_key_belongs_to_its_caller_operation_and_cluster(api):
    key = str(uuid4())
    one = check(await create(api, key), 201)
    other = check(await create(api.as_(an_owner()), key), 201)
    assert one["id"] != other["id"]
    assert 2 == check(await update(api, one["id"], key), 200)["generation"]
    two = await api.created("two")
    assert 2 == check(await update(api, two["id"], key), 200)["generation"]


async def test_a_repeated_report_is_a_repeat(api):
    cluster, key = await api.created(), str(uuid4())
    body = {"controller_name": "dns", "observed_generation": 1}
    controller = api.as_("dns@system.local")
    path = f"{cluster['id']}/status"
    first = check(await controller.request("PUT", path, body, headers=under(key)), 200)
    again = check(await controller.request("PUT", path, body, headers=under(key)), 200)
    assert first.json == again.json
    reports = check(await api.get(path), 200)["controllers"]
    assert 1 == len(reports)


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there"])
async def test_a_key_out_of_bounds_is_refused(api, key):
    check_error(await create(api, key), 400, "VALIDATION_FAILED", field="Idempotency-Key")
