"""GET and PUT /api/v1/clusters/{id}/status."""

import asyncio
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from tests.e2e.product import CONTROLLER, an_owner, available
from tests.web.answers import NOT_FOUND, TIME, check, check_error, moment

STORED, STALE = "Status update stored successfully", "Stale status update ignored"


async def status_of(api, cluster_id):
    return check(await api.get(f"{cluster_id}/status"), 200).json


# --- GET ----------------------------------------------------------------------------------------------


async def test_without_reports_both_arrays_are_empty(api):
    cluster = await api.created()
    assert {
        "cluster_id": cluster["id"],
        "generation": 1,
        "status": cluster["status"],
        "controllers": [],
        "controller_status": [],
    } == await status_of(api, cluster["id"])


async def test_reports_of_every_generation_are_listed_by_name(api):
    cluster = await api.created()
    await api.report(cluster["id"], controller_name="network")
    await api.update(cluster["id"])
    await api.report(cluster["id"], controller_name="dns", observed_generation=2)
    await api.report(cluster["id"], controller_name="Zone", observed_generation=9)
    view = await status_of(api, cluster["id"])
    assert view["controllers"] == view["controller_status"]
    assert [("Zone", 9), ("dns", 2), ("network", 1)] == [
        (c["controller_name"], c["observed_generation"]) for c in view["controllers"]
    ]
    assert (2, 2) == (view["generation"], view["status"]["observedGeneration"])


async def test_the_status_is_the_one_of_get(api):
    cluster = await api.created()
    await api.report(cluster["id"], conditions=available())
    view = await status_of(api, cluster["id"])
    assert "Ready" == view["status"]["phase"]
    assert view["status"] == (await api.get(cluster["id"]))["status"]


async def test_a_report_is_shown_with_everything_it_said(api):
    cluster = await api.created()
    said_at = "2024-02-29T12:00:00.123456+05:30"
    condition = {
        "type": "Available",
        "status": "False",
        "lastTransitionTime": said_at,
        "reason": "R",
        "message": "m",
        "severity": "Warning",
    }
    error = {
        "errorType": "Transient",
        "errorCode": "E1",
        "message": "oh",
        "userActionable": True,
        "suggestions": ["try"],
        "details": {"a": {"b": [1]}},
        "retryAfter": 5_000_000_000,
        "timestamp": said_at,
    }
    metadata = {"deep": {"x": [1, None]}, "ü": 2**70}
    before = datetime.now(UTC)
    await api.report(cluster["id"], conditions=[condition], last_error=error, metadata=metadata)
    (shown,) = (await status_of(api, cluster["id"]))["controllers"]
    assert {
        *("cluster_id", "controller_name", "observed_generation", "conditions", "metadata", "last_error"),
        *("last_updated", "updated_at"),
    } == shown.keys()
    utc = "2024-02-29T06:30:00.123456Z"
    assert [{**condition, "lastTransitionTime": utc}] == shown["conditions"]
    assert {**error, "timestamp": utc, "controllerName": "dns"} == shown["last_error"]
    assert metadata == shown["metadata"]
    assert (cluster["id"], "dns", 1) == (
        shown["cluster_id"],
        shown["controller_name"],
        shown["observed_generation"],
    )
    assert shown["last_updated"] == shown["updated_at"]
    assert TIME.fullmatch(shown["last_updated"])
    assert abs((moment(shown["last_updated"]) - before).total_seconds()) < 60


async def test_a_bare_report_is_shown_without_nulls(api):
    cluster = await api.created()
    await api.report(cluster["id"])
    (shown,) = (await status_of(api, cluster["id"]))["controllers"]
    assert ([], {}) == (shown["conditions"], shown["metadata"])
    assert "last_error" not in shown


async def test_a_later_report_replaces_all_of_an_earlier_one(api):
    cluster = await api.created()
    await api.report(
        cluster["id"], conditions=available("False"), last_error={"message": "x"}, metadata={"a": 1}
    )
    await api.report(cluster["id"])
    (shown,) = (await status_of(api, cluster["id"]))["controllers"]
    assert ([], {}) == (shown["conditions"], shown["metadata"])
    assert "last_error" not in shown


async def test_reading_changes_nothing(api):
    cluster = await api.created()
    await api.report(cluster["id"], conditions=available("False"))
    first = (await api.get(cluster["id"])).json, await status_of(api, cluster["id"])
    for _ in range(3):
        await api.list()
        assert first == ((await api.get(cluster["id"])).json, await status_of(api, cluster["id"]))


# --- PUT ----------------------------------------------------------------------------------------------


async def test_a_stored_report_says_so(api):
    cluster = await api.created()
    answer = check(await api.report(cluster["id"], controller_name="c", conditions=available()), 200)
    assert {
        "message": STORED,
        "cluster_id": cluster["id"],
        "controller_name": "c",
        "observed_generation": 1,
        "applied": True,
    } == answer.json


async def test_a_report_is_readable_at_once_where_it_was_answered(api):
    cluster = await api.created()
    for n in range(10):
        await api.report(cluster["id"], metadata={"n": n})
        (shown,) = (await status_of(api, cluster["id"]))["controllers"]
        assert {"n": n} == shown["metadata"]


async def test_an_older_report_is_ignored_and_says_so(api):
    cluster = await api.created()
    await api.update(cluster["id"])
    await api.report(cluster["id"], observed_generation=2, metadata={"new": 1})
    stale = check(await api.report(cluster["id"], observed_generation=1, metadata={"old": 1}), 200).json
    assert (False, STALE, 1) == (stale["applied"], stale["message"], stale["observed_generation"])
    (shown,) = (await status_of(api, cluster["id"]))["controllers"]
    assert ({"new": 1}, 2) == (shown["metadata"], shown["observed_generation"])


async def test_any_generation_is_accepted_and_the_future_yields(api):
    cluster = await api.created()
    assert (await api.report(cluster["id"], observed_generation=2**63 - 1))["applied"]
    assert "Pending" == (await api.get(cluster["id"]))["status"]["phase"]
    assert (await api.report(cluster["id"], observed_generation=1, conditions=available()))["applied"]
    assert "Ready" == (await api.get(cluster["id"]))["status"]["phase"]


async def test_the_same_report_twice_is_a_no_op(api):
    cluster = await api.created()
    report_id = str(uuid4())
    assert (await api.report(cluster["id"], report_id=report_id, metadata={"n": 1}))["applied"]
    again = check(await api.report(cluster["id"], report_id=report_id.upper(), metadata={"n": 2}), 200)
    assert again["message"] != STALE
    (shown,) = (await status_of(api, cluster["id"]))["controllers"]
    assert {"n": 1} == shown["metadata"]


async def test_the_same_report_many_times_at_once_is_answered_each_time(api):
    cluster = await api.created()
    report_id = str(uuid4())
    answers = await asyncio.gather(*(api.report(cluster["id"], report_id=report_id) for _ in range(8)))
    assert [200] * 8 == [answer.status for answer in answers]


async def test_reports_of_many_controllers_at_once_are_all_kept(api):
    cluster = await api.created()
    names = [f"c{n:02}" for n in range(40)]
    await asyncio.gather(
        *(api.report(cluster["id"], controller_name=n, conditions=available()) for n in names)
    )
    view = await status_of(api, cluster["id"])
    assert names == [controller["controller_name"] for controller in view["controllers"]]
    assert "Cluster is ready with 40 controllers operational" == view["status"]["message"]


async def test_the_path_decides_about_the_cluster_not_the_body(api):
    cluster, other = await api.created("a"), await api.created("b")
    for wrong in (other["id"], "nonsense", 5, None):
        answer = await api.report(cluster["id"], cluster_id=wrong)
        assert (200, cluster["id"]) == (answer.status, answer["cluster_id"])
    assert [] == (await status_of(api, other["id"]))["controllers"]


async def test_client_times_of_arrival_are_ignored(api):
    cluster = await api.created()
    await api.report(cluster["id"], last_updated="2001-01-01T00:00:00Z", updated_at="2001-01-01T00:00:00Z")
    (shown,) = (await status_of(api, cluster["id"]))["controllers"]
    assert moment(shown["last_updated"]).year > 2020


async def test_a_missing_transition_time_is_filled_and_kept(api):
    cluster = await api.created()
    times = []
    for value in ("False", "False", "True"):
        await api.report(cluster["id"], conditions=available(value))
        (shown,) = (await status_of(api, cluster["id"]))["controllers"]
        times.append(shown["conditions"][0]["lastTransitionTime"])
    assert times[0] == times[1] <= times[2]
    assert all(TIME.fullmatch(time) for time in times)


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        ({"code": "E1"}, {"errorCode": "E1"}),
        ({"errorCode": "E2"}, {"errorCode": "E2"}),
        ({"message": "m"}, {"message": "m"}),
        ({"message": "m", "retryAfter": "5m"}, {"retryAfter": 300 * 10**9}),
        ({"message": "m", "retryAfter": "1m30s"}, {"retryAfter": 90 * 10**9}),
        ({"message": "m", "retryAfter": 7}, {"retryAfter": 7}),
        ({"message": "m", "controllerName": "else"}, {"controllerName": "else"}),
        ({"message": "m"}, {"controllerName": "dns"}),
    ],
)
async def test_errors_in_the_forms_that_are_accepted(api, error, shown):
    cluster = await api.created()
    check(await api.report(cluster["id"], last_error=error), 200)
    (controller,) = (await status_of(api, cluster["id"]))["controllers"]
    assert shown.items() <= controller["last_error"].items()
    assert "code" not in controller["last_error"]
    assert TIME.fullmatch(controller["last_error"]["timestamp"])


async def test_a_null_error_is_none(api):
    cluster = await api.created()
    check(await api.report(cluster["id"], conditions=available(), last_error=None), 200)
    assert "Ready" == (await api.get(cluster["id"]))["status"]["phase"]


BAD_REPORTS = {
    "no controller": {"controller_name": None},
    "an empty controller": {"controller_name": ""},
    "a controller of 256 characters": {"controller_name": "x" * 256},
    "a controller that is a number": {"controller_name": 5},
    "no generation": {"observed_generation": None},
    "generation 0": {"observed_generation": 0},
    "generation -1": {"observed_generation": -1},
    "a generation as text": {"observed_generation": "1"},
    "a generation and a half": {"observed_generation": 1.5},
    "a generation beyond 64 bits": {"observed_generation": 2**63},
    "a huge generation": {"observed_generation": 10**400},
    "true as generation": {"observed_generation": True},
    "conditions as object": {"conditions": {}},
    "65 conditions": {"conditions": available() * 65},
    "a condition without type": {"conditions": [{"status": "True"}]},
    "a condition with an empty type": {"conditions": [{"type": "", "status": "True"}]},
    "a condition type of 317 characters": {"conditions": [{"type": "x" * 317, "status": "True"}]},
    "a condition without status": {"conditions": [{"type": "Available"}]},
    "a condition status in lower case": {"conditions": available("true")},
    "a condition status that is a boolean": {"conditions": [{"type": "Available", "status": True}]},
    "an unknown severity": {"conditions": available(severity="Fatal")},
    "a null condition": {"conditions": [None]},
    "a time that is none": {"conditions": available(lastTransitionTime="yesterday")},
    "a time without offset": {"conditions": available(lastTransitionTime="2024-01-01T00:00:00")},
    "a date": {"conditions": available(lastTransitionTime="2024-01-01")},
    "an impossible date": {"conditions": available(lastTransitionTime="2023-02-29T00:00:00Z")},
    "a time as number": {"conditions": available(lastTransitionTime=1700000000)},
    "an empty time": {"conditions": available(lastTransitionTime="")},
    "a time before the year 1": {"conditions": available(lastTransitionTime="0001-01-01T00:00:00+14:00")},
    "metadata as array": {"metadata": []},
    "metadata as text": {"metadata": "x"},
    "an error as text": {"last_error": "broken"},
    "an empty error": {"last_error": {}},
    "an error without message and code": {"last_error": {"errorType": "Fatal"}},
    "an error with both empty": {"last_error": {"message": "", "errorCode": ""}},
    "an unknown error type": {"last_error": {"message": "m", "errorType": "Odd"}},
    "a retryAfter that is none": {"last_error": {"message": "m", "retryAfter": "soon"}},
    "error details as text": {"last_error": {"message": "m", "details": "x"}},
    "suggestions as text": {"last_error": {"message": "m", "suggestions": "x"}},
    "a bad error time": {"last_error": {"message": "m", "timestamp": "now"}},
    "a report id that is no UUID": {"report_id": "abc"},
    "a bad reported_at": {"reported_at": "now"},
    "NUL in metadata": {"metadata": {"x": "\0"}},
    "NUL in a message": {"conditions": available(message="\0")},
}


@pytest.mark.parametrize("members", BAD_REPORTS.values(), ids=BAD_REPORTS.keys())
async def test_bad_reports_are_told_and_change_nothing(api, members):
    cluster = await api.created()
    check_error(await api.report(cluster["id"], **members), 400, "VALIDATION_FAILED")
    assert [] == (await status_of(api, cluster["id"]))["controllers"]


@pytest.mark.parametrize("missing", ["controller_name", "observed_generation"])
async def test_a_missing_member_is_named(api, missing):
    cluster = await api.created()
    body = {"controller_name": "dns", "observed_generation": 1}
    del body[missing]
    answer = await api.as_(CONTROLLER).request("PUT", f"{cluster['id']}/status", body)
    check_error(answer, 400, "VALIDATION_FAILED", field=missing)


@pytest.mark.parametrize(
    "members",
    [
        {"controller_name": "x" * 255},
        {"conditions": [{"type": "x" * 316, "status": "Unknown"}]},
        {"conditions": [{"type": f"T{n}", "status": "True"} for n in range(64)]},
        {"conditions": [{"type": "Available", "status": "True", "severity": "Critical"}]},
        {"conditions": available(lastTransitionTime="9999-12-31T23:59:59.999999Z")},
        {"conditions": available(lastTransitionTime="2024-01-01t00:00:00z")},
        {"metadata": {}},
        {"reported_at": "2024-01-01T00:00:00.5-08:00"},
        {"unknown": {"member": 1}},
    ],
    ids=lambda members: next(iter(members)),
)
async def test_what_is_just_allowed_is_taken(api, members):
    cluster = await api.created()
    check(await api.report(cluster["id"], **members), 200)


async def test_metadata_has_at_most_64_kib(api):
    cluster = await api.created()
    fits = 64 * 1024 - len('{"x":""}')
    check(await api.report(cluster["id"], metadata={"x": "y" * fits}), 200)
    check_error(await api.report(cluster["id"], metadata={"x": "y" * (fits + 1)}), 413, "PAYLOAD_TOO_LARGE")


# --- who may ------------------------------------------------------------------------------------------


async def test_users_may_not_report_not_even_owners(api):
    cluster = await api.created()
    body = {"controller_name": "dns", "observed_generation": 1}
    for client in (api, api.as_(an_owner())):
        answer = await client.request("PUT", f"{cluster['id']}/status", body)
        check_error(answer, 403, "FORBIDDEN", "Only system controllers can report status")


async def test_reports_of_unknown_clusters_are_not_found(api):
    check_error(await api.report(str(uuid4())), 404, "RESOURCE_NOT_FOUND", NOT_FOUND)


async def test_any_address_of_the_privileged_domain_may_report(api):
    cluster = await api.created()
    body = {"controller_name": "dns", "observed_generation": 1}
    answer = await api.as_("dns@system.local").request("PUT", f"{cluster['id']}/status", body)
    assert 200 == answer.status
