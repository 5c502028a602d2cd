"""PUT /api/v1/clusters/{id}: full replacement, generations, preconditions."""

import asyncio
from uuid import uuid4

import pytest

from tests.e2e.product import SPEC, available
from tests.web.answers import check, check_cluster, check_error, moment


async def test_an_update_replaces_the_spec_and_counts_one_generation(api):
    cluster = await api.created(spec={**SPEC, "custom": 1})
    answer = check(await api.update(cluster["id"], {"platform": {"type": "aws"}, "infraID": "ANY"}), 200)
    updated = answer.json
    check_cluster(updated)
    assert {"platform": {"type": "aws"}, "infraID": "ANY"} == updated["spec"]
    assert 2 == updated["generation"]
    assert updated["resource_version"] != cluster["resource_version"]
    assert f'"{updated["resource_version"]}"' == answer.headers["ETag"]
    assert moment(updated["updated_at"]) >= moment(cluster["updated_at"])
    same = ("id", "name", "created_by", "created_at", "target_project_id")
    assert [cluster[m] for m in same] == [updated[m] for m in same]


async def test_an_identical_spec_is_a_new_generation_too(api):
    cluster = await api.created()
    generations = [(await api.update(cluster["id"], cluster["spec"]))["generation"] for _ in range(3)]
    assert [2, 3, 4] == generations


async def test_an_update_answers_with_the_status_of_its_own_generation(api):
    cluster = await api.created()
    await api.report(cluster["id"], conditions=available())
    assert "Ready" == (await api.get(cluster["id"]))["status"]["phase"]
    status = (await api.update(cluster["id"]))["status"]
    assert (2, "Pending", "NoControllers") == (
        status["observedGeneration"],
        status["phase"],
        status["reason"],
    )


async def test_an_update_is_readable_at_once_where_it_was_answered(api):
    cluster = await api.created()
    for _ in range(10):
        updated = await api.update(cluster["id"])
        assert updated.json == (await api.get(cluster["id"])).json


async def test_a_name_cannot_be_changed(api):
    cluster = await api.created("before")
    updated = await api.update(cluster["id"], name="after", target_project_id="else")
    assert ("before", "") == (updated["name"], updated["target_project_id"])


@pytest.mark.parametrize("body", [{}, {"spec": None}, {"name": "x"}], ids=["{}", "null", "other members"])
async def test_a_body_without_spec_wipes_nothing(api, body):
    cluster = await api.created()
    answer = await api.request("PUT", cluster["id"], body)
    check_error(answer, 400, "VALIDATION_FAILED", "spec is required", field="spec")
    assert cluster == (await api.get(cluster["id"])).json


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({}, "INVALID_SPEC"),
        ({"platform": {"type": "x"}}, "INVALID_SPEC"),
        ({"platform": {"type": "GCP"}, "infraID": "1"}, "VALIDATION_FAILED"),
        ([], "VALIDATION_FAILED"),
    ],
    ids=["no platform", "unknown platform", "bad infraID", "an array"],
)
async def test_the_rules_of_create_hold_for_updates(api, spec, code):
    cluster = await api.created()
    check_error(await api.update(cluster["id"], spec), 400, code)
    assert cluster == (await api.get(cluster["id"])).json


# --- preconditions ------------------------------------------------------------------------------------


async def test_the_current_etag_lets_an_update_through(api):
    cluster = await api.created()
    etag = (await api.get(cluster["id"])).headers["ETag"]
    assert 200 == (await api.update(cluster["id"], if_match=etag)).status


async def test_the_current_version_in_the_body_lets_an_update_through(api):
    cluster = await api.created()
    assert 200 == (await api.update(cluster["id"], resource_version=cluster["resource_version"])).status


@pytest.mark.parametrize("if_match", [None, "current", "*"])
async def test_an_empty_version_in_the_body_counts_as_not_given(api, if_match):
    cluster = await api.created()
    header = f'"{cluster["resource_version"]}"' if if_match == "current" else if_match
    answer = await api.update(cluster["id"], if_match=header, resource_version="")
    assert (200, 2) == (answer.status, answer["generation"])


@pytest.mark.parametrize("how", ["header", "body"])
async def test_an_old_version_changes_nothing_and_learns_what_is_current(api, product, how):
    old = await api.created()
    current = (await api.update(old["id"])).json
    if how == "header":
        answer = await api.update(old["id"], if_match=f'"{old["resource_version"]}"')
    else:
        answer = await api.update(old["id"], resource_version=old["resource_version"])
    check_error(
        answer, 409, "GENERATION_CONFLICT", generation=2, resource_version=current["resource_version"]
    )
    assert current == (await api.get(old["id"])).json
    events = await product.log("cluster-events").bodies(old["id"])
    assert ["cluster.created", "cluster.updated"] == [event["type"] for event in events]


async def test_a_report_does_not_invalidate_an_etag(api):
    cluster = await api.created()
    await api.report(cluster["id"], conditions=available())
    assert f'"{cluster["resource_version"]}"' == (await api.get(cluster["id"])).headers["ETag"]
    assert 200 == (await api.update(cluster["id"], if_match=f'"{cluster["resource_version"]}"')).status


async def test_any_version_matches_the_star(api):
    cluster = await api.created()
    assert 200 == (await api.update(cluster["id"], if_match="*")).status


@pytest.mark.parametrize("header", ["", "unquoted", '"a", "b"', 'W/"weak"', '"', "'x'", '"a"b"'])
async def test_a_malformed_if_match_is_told_or_does_not_match(api, header):
    cluster = await api.created()
    answer = await api.update(cluster["id"], if_match=header)
    assert answer.status in (400, 409)
    check_error(answer, answer.status, {400: "VALIDATION_FAILED", 409: "GENERATION_CONFLICT"}[answer.status])
    assert 1 == (await api.get(cluster["id"]))["generation"]


@pytest.mark.parametrize("version", [5, [], {}, True])
async def test_a_version_is_a_string(api, version):
    cluster = await api.created()
    check_error(await api.update(cluster["id"], resource_version=version), 400, "VALIDATION_FAILED")


@pytest.mark.parametrize("how", ["header", "body"])
async def test_a_version_of_any_length_is_told_or_does_not_match(api, how):
    cluster, version = await api.created(), "x" * 900_000
    if how == "header":
        answer = await api.update(cluster["id"], if_match=f'"{version}"')
    else:
        answer = await api.update(cluster["id"], resource_version=version)
    assert answer.status in (400, 409)
    check_error(answer, answer.status, {400: "VALIDATION_FAILED", 409: "GENERATION_CONFLICT"}[answer.status])
    assert 1 == (await api.get(cluster["id"]))["generation"]


# --- concurrency --------------------------------------------------------------------------------------


async def test_parallel_updates_get_one_generation_each(api):
    cluster = await api.created()
    answers = await asyncio.gather(*(api.update(cluster["id"], {**SPEC, "n": n}) for n in range(30)))
    assert {200} == {answer.status for answer in answers}
    assert list(range(2, 32)) == sorted(answer["generation"] for answer in answers)
    last = max(answers, key=lambda answer: answer["generation"])
    assert last.json == (await api.get(cluster["id"])).json


async def test_of_parallel_updates_of_one_version_exactly_one_wins(api):
    cluster = await api.created()
    etag = f'"{cluster["resource_version"]}"'
    answers = await asyncio.gather(*(api.update(cluster["id"], if_match=etag) for _ in range(16)))
    assert [200] + [409] * 15 == sorted(answer.status for answer in answers)
    assert 2 == (await api.get(cluster["id"]))["generation"]


async def test_an_update_of_nothing_is_not_found(api):
    check_error(await api.update(str(uuid4())), 404, "RESOURCE_NOT_FOUND", "Cluster not found")
