"""POST /api/v1/clusters."""

import asyncio
from uuid import uuid4

import pytest

from tests.e2e.product import CONTROLLER, SPEC, an_owner
from tests.web.answers import check, check_cluster, check_error

PATH = "/api/v1/clusters"


async def test_a_created_cluster_is_complete(api):
    answer = check(await api.create("one", {"platform": {"type": "gcp"}}, target_project_id="p"), 201)
    cluster = answer.json
    check_cluster(cluster)
    assert ("one", "p", api.email, 1) == (
        cluster["name"],
        cluster["target_project_id"],
        cluster["created_by"],
        cluster["generation"],
    )
    assert cluster["created_at"] == cluster["updated_at"]
    status = cluster["status"]
    assert ("Pending", "NoControllers", "Waiting for controllers to report status") == (
        status["phase"],
        status["reason"],
        status["message"],
    )
    assert f"{PATH}/{cluster['id']}" == answer.headers["Location"]
    assert f'"{cluster["resource_version"]}"' == answer.headers["ETag"]


async def test_a_created_cluster_is_readable_at_once_where_it_was_answered(api):
    answers = await asyncio.gather(*(api.create(f"n{n}") for n in range(20)))
    for answer in answers:
        read = await api.get(answer["id"])
        assert (200, answer.json) == (read.status, read.json)
    assert 20 == (await api.list())["total"]


async def test_the_shortest_request_gets_an_empty_project(api):
    cluster = await api.created()
    assert "" == cluster["target_project_id"]


async def test_a_privileged_caller_owns_what_it_creates(api):
    name = f"n-{uuid4()}"
    answer = await api.as_(CONTROLLER).create(name)
    assert (201, CONTROLLER) == (answer.status, answer["created_by"])


async def test_members_only_the_server_sets_are_ignored(api):
    given = {
        "id": str(uuid4()),
        "generation": 7,
        "created_by": "else@example.com",
        "resource_version": "mine",
        "status": {"phase": "Ready"},
        "created_at": "2001-01-01T00:00:00Z",
        "deleted_at": "2001-01-01T00:00:00Z",
        "unknown": {"a": 1},
    }
    cluster = (await api.create("one", **given)).json
    check_cluster(cluster)
    assert (1, api.email, "Pending") == (
        cluster["generation"],
        cluster["created_by"],
        cluster["status"]["phase"],
    )
    assert not {cluster[member] for member in ("id", "resource_version", "created_at")} & set(
        map(str, given.values())
    )


async def test_a_spec_comes_back_as_sent(api):
    spec = {
        "platform": {"type": "GcP", "gcp": {"projectID": "p", "zone": "z", "extra": None}},
        "infraID": "abc-1",
        "release": {"image": "i"},
        "networking": {"clusterNetwork": [{"cidr": "10.0.0.0/8", "hostPrefix": 23}], "serviceNetwork": ["x"]},
        "custom": {
            "numbers": [0, -1, 1.5, 2**53 + 1, 2**70, 1e-7],
            "ünïcödé": "\U0001f680",
            "": {},
            "a.b": [[]],
        },
        "nothing": None,
    }
    created = await api.created(spec=spec)
    assert spec == created["spec"]
    assert spec == (await api.get(created["id"]))["spec"]


# --- names --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "0-9", "-", "x" * 63])
async def test_names_that_pass(api, name):
    check(await api.create(name), 201)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"spec": SPEC}, "cluster name is required"),
        ({"name": "", "spec": SPEC}, "cluster name is required"),
        ({"name": "Upper", "spec": SPEC}, "name must contain only lowercase letters, numbers, and hyphens"),
        ({"name": "a_b", "spec": SPEC}, "name must contain only lowercase letters, numbers, and hyphens"),
        ({"name": "x" * 64, "spec": SPEC}, None),
        ({"name": None, "spec": SPEC}, None),
        ({"name": 5, "spec": SPEC}, None),
        ({"name": ["a"], "spec": SPEC}, None),
    ],
    ids=["absent", "empty", "upper case", "underscore", "64 characters", "null", "a number", "an array"],
)
async def test_names_that_do_not(api, body, text):
    check_error(await api.request("POST", PATH, body), 400, "VALIDATION_FAILED", text, field="name")


async def test_a_name_is_taken_once_per_owner(api):
    await api.created("taken")
    refused = await api.create("taken")
    check_error(refused, 409, "CLUSTER_NAME_EXISTS", "Cluster with name 'taken' already exists", field="name")
    assert 201 == (await api.as_(an_owner()).create("taken")).status


async def test_of_concurrent_creates_of_one_name_exactly_one_wins(api, product):
    other = (await product.web()).as_(api.email)
    answers = await asyncio.gather(*((api, other)[n % 2].create("contested") for n in range(24)))
    assert [201] + [409] * 23 == sorted(answer.status for answer in answers)
    for answer in answers:
        if answer.status == 409:
            check_error(answer, 409, "CLUSTER_NAME_EXISTS")
    assert 1 == (await api.list())["total"]


async def test_a_name_is_free_as_soon_as_its_delete_is_answered(api):
    for _ in range(5):
        cluster = await api.created("phoenix")
        check(await api.delete(cluster["id"]), 202)
    assert 201 == (await api.create("phoenix")).status


async def test_a_refused_create_leaves_its_name_free(api):
    check_error(await api.create("later", {}), 400, "INVALID_SPEC")
    assert 201 == (await api.create("later")).status


# --- spec ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [{"name": "one"}, {"name": "one", "spec": None}],
    ids=["absent", "null"],
)
async def test_a_spec_is_required(api, body):
    check_error(
        await api.request("POST", PATH, body), 400, "VALIDATION_FAILED", "spec is required", field="spec"
    )


@pytest.mark.parametrize("spec", [[], "x", 5, True, [SPEC]], ids=repr)
async def test_a_spec_is_an_object(api, spec):
    check_error(await api.create("one", spec), 400, "VALIDATION_FAILED", field="spec")


@pytest.mark.parametrize(
    ("spec", "value"),
    [({}, None), ({"platform": {}}, None), ({"platform": {"type": "vmware"}}, "vmware")],
    ids=["empty", "no type", "unknown type"],
)
async def test_a_platform_is_one_of_those_allowed(api, spec, value):
    answer = await api.create("one", spec)
    details = check_error(answer, 400, "INVALID_SPEC", "Invalid cluster specification")
    assert ["aws", "azure", "gcp"] == sorted(details["allowed"])
    assert "platform.type" in details["field"]
    if value is not None:
        assert value == details["value"]


@pytest.mark.parametrize(
    ("member", "field"),
    [
        ({"platform": {"type": "GCP"}, "infraID": "Not-Valid"}, "spec.infraID"),
        ({"release": {"channelGroup": "nightly"}}, "spec.release.channelGroup"),
        ({"release": "4.20"}, "spec.release"),
        ({"infraID": 5}, "spec.infraID"),
        ({"serviceAccountSigningKey": "c2VjcmV0"}, "spec.serviceAccountSigningKey"),
    ],
    ids=["infraID", "channelGroup", "release of a wrong type", "infraID of a wrong type", "a signing key"],
)
async def test_rules_of_the_spec_name_the_member(api, member, field):
    answer = await api.create("one", {**SPEC, **member})
    check_error(answer, 400, "VALIDATION_FAILED", field=field)
    assert b"c2VjcmV0" not in answer.body


@pytest.mark.parametrize("project", [5, [], "x" * 256], ids=["number", "array", "256 characters"])
async def test_a_project_is_a_string_of_at_most_255_characters(api, project):
    answer = await api.create("one", target_project_id=project)
    check_error(answer, 400, "VALIDATION_FAILED", field="target_project_id")


async def test_what_is_null_in_a_create_is_absent(api):
    created = (await api.create("one", target_project_id=None)).json
    assert "" == created["target_project_id"]
    check_error(
        await api.request("POST", "/api/v1/clusters", {"name": None, "spec": SPEC}), 400, "VALIDATION_FAILED"
    )


async def test_numbers_of_a_spec_come_back_to_the_last_digit(api):
    spec = b'{"platform":{"type":"gcp"},"x":[123456789.123456789123456789,1e-400,1E400,1.50,-0.0]}'
    created = await api.request("POST", "/api/v1/clusters", b'{"name":"exact","spec":%b}' % spec)
    shown = await api.get(created["id"])
    listed = await api.list()
    for answer in (created, shown, listed):
        assert spec in answer.body


async def test_a_name_that_is_taken_is_told(api):
    await api.created("taken")
    details = check_error(await api.create("taken"), 409, "CLUSTER_NAME_EXISTS", field="name")
    assert "taken" == details["value"]


async def test_a_spec_of_512_kib_passes_and_more_does_not(api):
    def spec(size: int) -> dict:
        empty = len('{"platform":{"type":"gcp"},"x":""}')
        return {**SPEC, "x": "y" * (size - empty)}

    fits = await api.create("fits", spec(512 * 1024))
    assert 201 == fits.status
    assert 200 == (await api.get(fits["id"])).status
    check_error(await api.create("over", spec(512 * 1024 + 1)), 413, "PAYLOAD_TOO_LARGE")
