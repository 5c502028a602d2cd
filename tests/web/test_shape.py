"""Sections 2.2 and 2.3: headers on every answer, one error shape on every route, CORS, odd methods."""

from uuid import uuid4

import pytest

from tests.e2e.product import SPEC, an_owner
from tests.web.answers import UUID4, check, check_error, is_refusal

CLUSTERS, ONE = "/api/v1/clusters", f"/api/v1/clusters/{uuid4()}"
PUBLIC = ("/health", "/api/v1/info")


# --- routes and methods -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        *(
            "//",
            "/api",
            "/api/v1",
            "/api/v1/",
            "/api/v2/clusters",
            "/api/v1/nodepools",
            "/clusters",
            "/healthz",
        ),
        *(f"{ONE}/statuses", f"{ONE}/status/x", f"{ONE}/status/aggregate", "/api/v1/clusters//", "//health"),
        *("/api/v1/%63lusters%00", "/%ff", "/api/v1/status/health", "/.well-known/x"),
    ],
)
async def test_unknown_routes_are_not_found(api, path):
    check_error(await api.get(path), 404, "RESOURCE_NOT_FOUND")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        (CLUSTERS, {"GET", "POST"}),
        (ONE, {"GET", "PUT", "DELETE"}),
        (f"{ONE}/status", {"GET", "PUT"}),
        ("/health", {"GET"}),
        ("/api/v1/info", {"GET"}),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"])
async def test_methods_that_a_route_has_not_are_refused(api, path, allowed, method):
    if method in allowed:
        return
    answer = await api.request(method, path)
    check_error(answer, 405, "METHOD_NOT_ALLOWED")
    assert allowed | {"HEAD"} == {name.strip() for name in answer.headers["Allow"].split(",")}


@pytest.mark.parametrize("path", [CLUSTERS, *PUBLIC])
async def test_a_trailing_slash_reaches_the_same_resource(api, path):
    assert 200 == check(await api.get(f"{path}/"), 200).status


async def test_a_trailing_slash_reaches_one_cluster_by_every_method(api):
    created = check(await api.request("POST", f"{CLUSTERS}/", {"name": "one", "spec": SPEC}), 201)
    one = created["id"]
    assert 200 == (await api.get(f"{one}/")).status
    assert 200 == (await api.get(f"{one}/status/")).status
    assert 200 == (await api.request("PUT", f"{one}/", {"spec": SPEC})).status
    assert 1 == (await api.list("/?limit=1"))["limit"]
    assert 202 == (await api.request("DELETE", f"{one}/?force=true")).status


# --- request ids and times ----------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["a", "A-Z_.:9", "x" * 128, str(uuid4())])
@pytest.mark.parametrize("path", [CLUSTERS, ONE, "/nowhere", "/health"])
async def test_a_request_id_is_echoed(api, path, given):
    answer = await api.get(path, headers={"X-Request-ID": given})
    assert given == answer.headers["X-Request-ID"]
    if answer.status >= 400:
        assert given == answer["request_id"]


@pytest.mark.parametrize("given", [None, "", "x" * 129, "a b", "a/b", "ü", "a,b", "<script>", '"'])
async def test_a_request_id_that_is_none_is_replaced(api, given):
    headers = {} if given is None else {"X-Request-ID": given}
    answers = [await api.get(CLUSTERS, headers=headers) for _ in range(2)]
    ids = [answer.headers["X-Request-ID"] for answer in answers]
    assert all(UUID4.fullmatch(request_id) for request_id in ids), ids
    assert 2 == len(set(ids))


async def test_a_refusal_of_the_agent_carries_the_request_id_too(api):
    await api.created("taken")
    answer = await api.request(
        "POST", CLUSTERS, {"name": "taken", "spec": SPEC}, headers={"X-Request-ID": "mine"}
    )
    check_error(answer, 409, "CLUSTER_NAME_EXISTS")
    assert "mine" == answer["request_id"]


async def test_etags_stand_on_single_clusters(api):
    cluster = await api.created()
    etag = f'"{cluster["resource_version"]}"'
    assert etag == (await api.get(cluster["id"])).headers["ETag"]
    assert "ETag" not in (await api.list()).headers


# --- CORS ---------------------------------------------------------------------------------------------

METHODS = "POST, OPTIONS, GET, PUT, DELETE"
HEADERS = {
    *(
        "content-type",
        "content-length",
        "accept-encoding",
        "x-csrf-token",
        "authorization",
        "accept",
        "origin",
    ),
    *(
        "cache-control",
        "x-requested-with",
        "x-user-email",
        "x-user-id",
        "x-request-id",
        "x-trace-id",
        "if-match",
        "idempotency-key",
    ),
}


def listed(value: str) -> set[str]:
    return {part.strip().lower() for part in value.split(",")}


PATHS = [CLUSTERS, ONE, f"{ONE}/status", "/nowhere", "/health", "/api/v1/clusters/nonsense"]
STRANGER = {"Origin": "https://stranger.example", "Access-Control-Request-Method": "PUT"}


def allowances(answer):
    return {name for name in answer.headers if name.lower().startswith("access-control-")}


@pytest.mark.parametrize("path", PATHS)
async def test_a_preflight_needs_nobody_and_nothing(listed_origins, path):
    origin = {"Origin": "https://a.example", "Access-Control-Request-Method": "PUT"}
    answer = check(await listed_origins.as_(None).request("OPTIONS", path, headers=origin), 204)
    assert b"" == answer.body
    assert listed(METHODS) == listed(answer.headers["Access-Control-Allow-Methods"])
    assert listed(answer.headers["Access-Control-Allow-Headers"]) == HEADERS
    exposed = listed(answer.headers["Access-Control-Expose-Headers"])
    assert {"x-request-id", "x-response-time", "x-trace-id", "etag", "retry-after"} <= exposed
    assert UUID4.fullmatch(answer.headers["X-Request-ID"])


@pytest.mark.parametrize("path", PATHS)
async def test_a_preflight_of_a_stranger_is_answered_and_allowed_nothing(api, listed_origins, path):
    for asked in (api, listed_origins):
        answer = check(await asked.as_(None).request("OPTIONS", path, headers=STRANGER), 204)
        assert set() == allowances(answer)


@pytest.mark.parametrize("path", [CLUSTERS, ONE, "/nowhere", "/health"])
async def test_no_origin_is_allowed_by_default(api, path):
    for origin in ("https://any.example", "null", api.url):
        assert set() == allowances(await api.get(path, headers={"Origin": origin}))


@pytest.mark.parametrize("listed_too", [False, True], ids=["by caller", "by caller and origin"])
async def test_no_cache_gives_an_answer_to_another_caller(api, listed_origins, listed_too):
    client = listed_origins if listed_too else api
    cluster = await client.created()
    stranger = client.as_("stranger@example.com")
    answers = [
        *[
            await client.get(path)
            for path in (CLUSTERS, f"{CLUSTERS}/", cluster["id"], f"{cluster['id']}/status")
        ],
        await client.request("HEAD", cluster["id"]),
        await stranger.get(cluster["id"]),
        await client.as_(None).get(cluster["id"]),
    ]
    assert [200, 200, 200, 200, 200, 404, 401] == [answer.status for answer in answers]
    for answer in answers:
        assert "x-user-email" in listed(answer.headers["Vary"])


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://a.example", True),
        ("https://b.example", True),
        ("https://a.example.evil.example", False),
        ("http://a.example", False),
        ("null", False),
        (None, False),
    ],
)
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
async def test_listed_origins_are_echoed_with_credentials(listed_origins, method, origin, allowed):
    headers = {} if origin is None else {"Origin": origin}
    answer = await listed_origins.request(method, CLUSTERS, headers=headers)
    assert "origin" in listed(answer.headers["Vary"])
    if allowed:
        assert origin == answer.headers["Access-Control-Allow-Origin"]
        assert "true" == answer.headers["Access-Control-Allow-Credentials"]
    else:
        assert set() == allowances(answer)


@pytest.fixture(scope="module")
async def listed_origins(product):
    return await product.web(an_owner(), cors_origins=("https://a.example", "https://b.example"))


# --- requests that are hardly HTTP --------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(b"GET /api/v1/clusters HTTP/1.0\r\n\r\n", id="HTTP/1.0 without host"),
        pytest.param(b"GET http://x/api/v1/clusters HTTP/1.1\r\nHost: x\r\n\r\n", id="absolute URL"),
        pytest.param(b"GET /api/v1/clusters?%zz&&=&a=%ff HTTP/1.1\r\nHost: x\r\n\r\n", id="odd query"),
        pytest.param(b"GET /api/v1/clusters#f HTTP/1.1\r\nHost: x\r\n\r\n", id="a fragment"),
    ],
)
async def test_odd_requests_get_the_error_of_their_route(api, raw_request, request_):
    answer = await raw_request(api.url, request_)
    check_error(answer, 401, "AUTH_REQUIRED")


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(b"FOO /api/v1/clusters HTTP/1.1\r\nHost: x\r\n\r\n", id="an unknown method"),
        pytest.param(b"GET /api/v1/clusters\r\n\r\n", id="HTTP/0.9"),
        pytest.param(b"GET /api/v1/clusters HTTP/9.9\r\nHost: x\r\n\r\n", id="HTTP/9.9"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", id="a header without colon"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n", id="NUL in a header"),
        pytest.param(b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n" % (b"x" * 100_000), id="a URL of 100,000 bytes"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", id="TLS"),
        pytest.param(
            b"POST /api/v1/clusters HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
            id="two lengths",
        ),
        pytest.param(
            b"POST /api/v1/clusters HTTP/1.1\r\nHost: x\r\nContent-Length: -2\r\n\r\n",
            id="a negative length",
        ),
    ],
)
async def test_what_is_not_http_is_refused_at_once(api, raw_request, request_):
    is_refusal(await raw_request(api.url, request_))


async def test_an_unknown_expectation_is_refused_in_the_one_shape_or_passed_over(api):
    answer = await api.get(CLUSTERS, headers={"Expect": "the-unexpected"})
    if answer.status != 200:
        is_refusal(answer)


async def test_an_expected_continue_is_given(api):
    body = {"name": "one", "spec": SPEC}
    assert 201 == (await api.request("POST", CLUSTERS, body, expect100=True)).status
