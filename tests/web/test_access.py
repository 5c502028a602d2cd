"""Section 2.1: identities, who sees what; and the order of checks of section 2.3."""

from uuid import uuid4

import pytest

from tests.e2e.product import CONTROLLER, SPEC, an_owner
from tests.web.answers import NOT_FOUND, check, check_error

CLUSTERS = "/api/v1/clusters"
REPORT = {"controller_name": "c", "observed_generation": 1}


def every_endpoint(cluster_id):
    return [
        ("GET", CLUSTERS, None),
        ("POST", CLUSTERS, {"name": "one", "spec": SPEC}),
        ("GET", f"{CLUSTERS}/{cluster_id}", None),
        ("PUT", f"{CLUSTERS}/{cluster_id}", {"spec": SPEC}),
        ("DELETE", f"{CLUSTERS}/{cluster_id}", None),
        ("GET", f"{CLUSTERS}/{cluster_id}/status", None),
        ("PUT", f"{CLUSTERS}/{cluster_id}/status", REPORT),
    ]


ENDPOINTS = range(len(every_endpoint("")))
NAMES = [f"{method} {path}" for method, path, _ in every_endpoint("{id}")]


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=NAMES)
@pytest.mark.parametrize(
    ("email", "code", "text"),
    [
        pytest.param(None, "AUTH_REQUIRED", "Authentication required", id="none"),
        pytest.param("", "AUTH_REQUIRED", "Authentication required", id="empty"),
        pytest.param("   ", "AUTH_REQUIRED", "Authentication required", id="blank"),
        pytest.param("nobody", "INVALID_EMAIL", "Invalid user email format", id="malformed"),
        pytest.param("a@.", "INVALID_EMAIL", "Invalid user email format", id="a dot for a domain"),
    ],
)
async def test_every_endpoint_asks_who_is_there(api, endpoint, email, code, text):
    method, path, body = every_endpoint(str(uuid4()))[endpoint]
    check_error(await api.as_(email).request(method, path, body), 401, code, text, field="X-User-Email")


async def test_who_is_nobody_learns_which_header_names_them_and_what_it_must_be(api):
    for email in (None, "nobody"):
        details = check_error(await api.as_(email).list(), 401, "INVALID_EMAIL" if email else "AUTH_REQUIRED")
        assert "X-User-Email" == details["field"]
        assert "name@example.com" in details["expected"]
        check(await api.as_("name@example.com").list(), 200)  # as it says


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(b"\xff\xfe@example.com", id="bytes that are no text"),
        pytest.param(b"a\x9b@example.com", id="a lone C1 byte"),
        pytest.param("a\u009b@example.com".encode(), id="a C1 control character"),
        pytest.param("a\u2028@example.com".encode(), id="a line separator"),
        pytest.param(b"a" * 250 + b"@example.com", id="262 characters"),
        pytest.param(b"a b@example.com", id="a blank"),
        pytest.param(b"a\t@example.com", id="a tab"),
        pytest.param(b"a@b@example.com", id="two @"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_odd_bytes_are_no_identity(api, raw_request, method, header):
    body = b'{"name":"one","spec":{"platform":{"type":"gcp"}}}' if method == "POST" else b""
    answer = await raw_request(
        api.url,
        b"%b /api/v1/clusters HTTP/1.1\r\nHost: x\r\nX-User-Email: %b\r\nContent-Length: %d\r\n\r\n%b"
        % (method.encode(), header, len(body), body),
    )
    check_error(answer, 401, "INVALID_EMAIL")


async def test_identities_of_other_scripts_work(api, raw_request):
    email = f"bücher+{uuid4()}@例え.example".encode()
    body = b'{"name":"one","spec":{"platform":{"type":"gcp"}}}'
    answer = await raw_request(
        api.url,
        b"POST /api/v1/clusters HTTP/1.1\r\nHost: x\r\nX-User-Email: %b\r\nContent-Length: %d\r\n\r\n%b"
        % (email, len(body), body),
    )
    assert (201, email.decode()) == (answer.status, answer["created_by"])


async def test_an_identity_is_trimmed(api):
    cluster = await api.created()
    assert 200 == (await api.as_(f"  {api.email} ").get(cluster["id"])).status


async def test_an_owner_is_compared_byte_for_byte(api):
    cluster = await api.created()
    check_error(await api.as_(api.email.upper()).get(cluster["id"]), 404, "RESOURCE_NOT_FOUND", NOT_FOUND)


async def test_strangers_find_nothing_and_never_a_403(api):
    cluster = await api.created()
    stranger = api.as_(an_owner())
    for method, path, body in every_endpoint(cluster["id"])[2:6]:
        check_error(await stranger.request(method, path, body), 404, "RESOURCE_NOT_FOUND", NOT_FOUND)
    assert cluster == (await api.get(cluster["id"])).json


@pytest.mark.parametrize(
    ("email", "status"),
    [
        (CONTROLLER, 200),
        ("anyone@system.local", 200),
        ("controller@sub.system.local", 404),
        ("controller@system.local.example.com", 404),
        ("controller@SYSTEM.LOCAL", 404),
    ],
)
async def test_privilege_is_exactly_the_domain(api, email, status):
    cluster = await api.created()
    assert status == (await api.as_(email).get(cluster["id"])).status


async def test_privileged_callers_may_update_and_delete_everything(api):
    cluster = await api.created()
    controller = api.as_(CONTROLLER)
    updated = await controller.update(cluster["id"], {"platform": {"type": "aws"}})
    assert (200, api.email) == (updated.status, updated["created_by"])
    assert 202 == (await controller.delete(cluster["id"])).status


async def test_roles_and_organisations_are_carried_but_not_evaluated(api):
    cluster = await api.created()
    headers = {"X-User-Roles": "admin,controller", "X-Organization-ID": "acme"}
    answer = await api.as_(an_owner()).request("GET", cluster["id"], headers=headers)
    assert 404 == answer.status
    assert 200 == (await api.request("GET", cluster["id"], headers=headers)).status


# --- order of checks ----------------------------------------------------------------------------------


NONE, BAD, OWN = {"email": None}, {"id": "nonsense"}, {"id": "own"}
ABSENT, FOREIGN = {"id": "absent"}, {"id": "foreign"}
CUT_OFF = {"body": b"{"}
BY_CONTROLLER = {"email": CONTROLLER}
BAD_KEY, BAD_MATCH = {"Idempotency-Key": "x" * 256}, {"If-Match": "unquoted"}
OLD = {"spec": SPEC, "resource_version": "old"}


async def answer_in_order(api, method, path, case, body):
    """The answer to a request with several faults."""
    ids = {
        "nonsense": "nonsense",
        "absent": str(uuid4()),
        "own": (await api.created())["id"],
        "foreign": (await api.as_(an_owner()).created())["id"],
    }
    client = api.as_(case.get("email", api.email))
    path = path.format(id=ids[case["id"]])
    return await client.request(method, path, case.get("body", body), headers=case.get("headers"))


@pytest.mark.parametrize(
    ("case", "status", "code"),
    [
        pytest.param({**NONE, **BAD, **CUT_OFF}, 401, "AUTH_REQUIRED", id="identity first"),
        pytest.param({**BAD, **CUT_OFF}, 400, "VALIDATION_FAILED", id="then the id of the path"),
        pytest.param({**ABSENT, **CUT_OFF}, 400, "VALIDATION_FAILED", id="then whether it is JSON"),
        pytest.param({**ABSENT, "body": {}}, 404, "RESOURCE_NOT_FOUND", id="then existence"),
        pytest.param({**FOREIGN, "body": {}}, 404, "RESOURCE_NOT_FOUND", id="visibility likewise"),
        pytest.param({**ABSENT, "body": b"[]"}, 404, "RESOURCE_NOT_FOUND", id="before an array"),
        pytest.param({**ABSENT, "body": {"spec": 5}}, 404, "RESOURCE_NOT_FOUND", id="before a wrong type"),
        pytest.param(
            {**ABSENT, "body": {"spec": {"a": "\0"}}},
            404,
            "RESOURCE_NOT_FOUND",
            id="before what can't be kept",
        ),
        pytest.param({**ABSENT, "headers": BAD_KEY}, 404, "RESOURCE_NOT_FOUND", id="before a bad key"),
        pytest.param({**ABSENT, "headers": BAD_MATCH}, 404, "RESOURCE_NOT_FOUND", id="before a bad version"),
        pytest.param(
            {**ABSENT, "headers": {**BAD_MATCH, "Idempotency-Key": "k"}},
            404,
            "RESOURCE_NOT_FOUND",
            id="before a bad version under a key",
        ),
        pytest.param(
            {**ABSENT, "headers": {"Idempotency-Key": "k"}, "body": {"spec": 5}},
            404,
            "RESOURCE_NOT_FOUND",
            id="before a wrong type under a key",
        ),
        pytest.param({**OWN, "body": b"[]"}, 400, "VALIDATION_FAILED", id="then an array"),
        pytest.param({**OWN, "body": {"spec": 5}}, 400, "VALIDATION_FAILED", id="then a wrong type"),
        pytest.param({**OWN, "body": {**OLD, "spec": {}}}, 400, "INVALID_SPEC", id="then meaning"),
        pytest.param({**OWN, "body": OLD, "headers": BAD_KEY}, 400, "VALIDATION_FAILED", id="of the key"),
        pytest.param({**OWN, "headers": BAD_MATCH}, 400, "VALIDATION_FAILED", id="of the version"),
        pytest.param({**OWN, "body": OLD}, 409, "GENERATION_CONFLICT", id="then state"),
    ],
)
async def test_checks_of_an_update_come_in_their_order(api, case, status, code):
    check_error(await answer_in_order(api, "PUT", "{id}", case, {"spec": SPEC}), status, code)


@pytest.mark.parametrize(
    ("case", "status", "code"),
    [
        pytest.param({**NONE, **BAD, **CUT_OFF}, 401, "AUTH_REQUIRED", id="identity"),
        pytest.param({**BAD, **CUT_OFF}, 400, "VALIDATION_FAILED", id="then the path's id"),
        pytest.param({**ABSENT, **CUT_OFF}, 400, "VALIDATION_FAILED", id="then whether it is JSON"),
        pytest.param(ABSENT, 403, "FORBIDDEN", id="then the role, before existence"),
        pytest.param(OWN, 403, "FORBIDDEN", id="and whatever the cluster"),
        pytest.param({**OWN, "body": {}}, 403, "FORBIDDEN", id="before a missing member"),
        pytest.param({**OWN, "body": b"[]"}, 403, "FORBIDDEN", id="before an array"),
        pytest.param({**OWN, "headers": BAD_KEY}, 403, "FORBIDDEN", id="before a bad key"),
        pytest.param({**BY_CONTROLLER, **ABSENT}, 404, "RESOURCE_NOT_FOUND", id="then existence"),
        pytest.param(
            {**BY_CONTROLLER, **ABSENT, "body": {}}, 404, "RESOURCE_NOT_FOUND", id="then it, before a member"
        ),
        pytest.param(
            {**BY_CONTROLLER, **ABSENT, "headers": BAD_KEY}, 404, "RESOURCE_NOT_FOUND", id="and a bad key"
        ),
        pytest.param(
            {**BY_CONTROLLER, **ABSENT, "body": {**REPORT, "metadata": {"x": "y" * 70_000}}},
            404,
            "RESOURCE_NOT_FOUND",
            id="existence before the bound of metadata",
        ),
        pytest.param({**BY_CONTROLLER, **OWN, "body": {}}, 400, "VALIDATION_FAILED", id="then a member"),
        pytest.param(
            {**BY_CONTROLLER, **OWN, "body": {**REPORT, "last_error": {}}},
            400,
            "VALIDATION_FAILED",
            id="then meaning",
        ),
        pytest.param({**BY_CONTROLLER, **OWN, "headers": BAD_KEY}, 400, "VALIDATION_FAILED", id="of the key"),
    ],
)
async def test_checks_of_a_report_come_in_their_order(api, case, status, code):
    check_error(await answer_in_order(api, "PUT", "{id}/status", case, REPORT), status, code)


@pytest.mark.parametrize(
    ("case", "status", "code"),
    [
        pytest.param({**NONE, **BAD}, 401, "AUTH_REQUIRED", id="identity"),
        pytest.param({**BAD, "headers": BAD_KEY}, 400, "VALIDATION_FAILED", id="then the path's id"),
        pytest.param(
            {**ABSENT, "headers": BAD_KEY}, 404, "RESOURCE_NOT_FOUND", id="then existence, not the key"
        ),
        pytest.param({**FOREIGN, "headers": BAD_MATCH}, 404, "RESOURCE_NOT_FOUND", id="nor the version"),
        pytest.param(
            {**ABSENT, "headers": {**BAD_MATCH, "Idempotency-Key": "k"}},
            404,
            "RESOURCE_NOT_FOUND",
            id="nor both",
        ),
        pytest.param({**OWN, "headers": BAD_KEY}, 400, "VALIDATION_FAILED", id="then the key"),
        pytest.param({**OWN, "headers": BAD_MATCH}, 400, "VALIDATION_FAILED", id="and the version"),
        pytest.param({**OWN, "headers": {"If-Match": '"old"'}}, 409, "GENERATION_CONFLICT", id="then state"),
    ],
)
async def test_checks_of_a_delete_come_in_their_order(api, case, status, code):
    check_error(await answer_in_order(api, "DELETE", "{id}", case, None), status, code)


@pytest.mark.parametrize(
    ("case", "status", "code"),
    [
        pytest.param(ABSENT, 404, "RESOURCE_NOT_FOUND", id="existence"),
        pytest.param(FOREIGN, 404, "RESOURCE_NOT_FOUND", id="visibility likewise"),
        pytest.param(OWN, 400, "VALIDATION_FAILED", id="then the id of the last event"),
    ],
)
async def test_checks_of_a_watch_come_in_their_order(api, case, status, code):
    case = {**case, "headers": {"Last-Event-ID": "none of ours"}}
    check_error(await answer_in_order(api, "GET", "{id}?watch=true", case, None), status, code)


BAD_IDS = [
    *("nonsense", "1", "00000000-0000-4000-8000-00000000000", "00000000-0000-4000-8000-0000000000000"),
    *("00000000000040008000000000000000", "{00000000-0000-4000-8000-000000000000}"),
    *("urn:uuid:00000000-0000-4000-8000-000000000000", "g0000000-0000-4000-8000-000000000000"),
    *("%00", "%ff", "00000000-0000-4000-8000-000000000000%0a", "%20", "..", "٠" * 36),
]


@pytest.mark.parametrize("bad", BAD_IDS)
async def test_an_id_that_is_none_is_told_on_every_path(api, bad):
    for method, path, body in every_endpoint(bad)[2:]:
        answer = await api.as_(CONTROLLER).request(method, path, body)
        if bad == "..":  # clients resolve it before they send it
            assert 400 <= answer.status < 500
            continue
        check_error(answer, 400, "VALIDATION_FAILED", "invalid cluster ID format")


async def test_an_id_may_come_in_upper_case_and_leaves_in_lower(api):
    cluster = await api.created()
    upper = cluster["id"].upper()
    assert cluster == check(await api.get(upper), 200).json
    assert cluster["id"] == (await api.report(upper))["cluster_id"]
    assert cluster["id"] == (await api.update(upper))["id"]
    assert cluster["id"] == (await api.delete(upper, force=True))["cluster_id"]


# --- without authentication ---------------------------------------------------------------------------


async def test_disabled_auth_acts_as_controller_unless_an_identity_is_given(product):
    client = await product.web(disable_auth=True)
    owner = client.as_(an_owner())
    cluster = await owner.created()
    assert owner.email == cluster["created_by"]
    for email in (None, "", "nonsense"):
        assert 200 == (await client.as_(email).get(cluster["id"])).status
    check_error(await client.as_(an_owner()).get(cluster["id"]), 404, "RESOURCE_NOT_FOUND")
    assert 200 == (await client.as_(None).request("PUT", f"{cluster['id']}/status", REPORT)).status
    assert 403 == (await owner.request("PUT", f"{cluster['id']}/status", REPORT)).status
    created = await client.as_(None).create(f"n-{uuid4()}")
    assert (201, CONTROLLER) == (created.status, created["created_by"])
