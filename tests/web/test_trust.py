"""What web pages can reach: nothing by another name, and nothing from an origin that is not named."""

import logging

import pytest

from tests.e2e.product import CONTROLLER, SPEC, an_owner
from tests.web.answers import check, check_error
from tests.web.serving import OWNER, serving

CLUSTERS = "/api/v1/clusters"
ID = "5c0ffee0-0000-4000-8000-00000000000a"
EVIL = "https://evil.example"
ROUTES = {
    "list, plain": ("GET", CLUSTERS),
    "list": ("GET", f"{CLUSTERS}/"),
    "watch": ("GET", f"{CLUSTERS}?watch=true"),
    "create": ("POST", CLUSTERS),
    "get, plain": ("GET", f"{CLUSTERS}/{ID}"),
    "get": ("GET", f"{CLUSTERS}/{ID}/"),
    "update": ("PUT", f"{CLUSTERS}/{ID}"),
    "delete": ("DELETE", f"{CLUSTERS}/{ID}"),
    "status, plain": ("GET", f"{CLUSTERS}/{ID}/status"),
    "report": ("PUT", f"{CLUSTERS}/{ID}/status"),
    "a preflight": ("OPTIONS", CLUSTERS),
    "health": ("GET", "/health"),
    "health of the API": ("GET", "/api/v1/health"),
    "info": ("GET", "/api/v1/info"),
    "description": ("GET", "/openapi.json"),
    "docs": ("GET", "/docs"),
    "no route": ("GET", "/nowhere"),
    "another method": ("PATCH", CLUSTERS),
}


@pytest.fixture(scope="module")
async def served():
    async with serving() as served:
        served.put(ID)
        yield served


def asked(method: str, path: str, *fields: str, version: str = "1.1", email: str = CONTROLLER) -> bytes:
    lines = (f"{method} {path} HTTP/{version}", f"X-User-Email: {email}", *fields, "", "")
    return "\r\n".join(lines).encode()


# --- by another name ------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("route", ROUTES)
async def test_no_route_answers_to_a_name_that_points_here(served, raw_request, route, version):
    method, path = ROUTES[route]
    for host in ("evil.example", "evil.example:8080", "localhost.evil.example", "10.9.8.7"):
        answer = await raw_request(served.client.url, asked(method, path, f"Host: {host}", version=version))
        check_error(answer, 421, "MISDIRECTED_REQUEST", field="Host")
        assert "ALLOWED_HOSTS" in answer["error"]
        assert ID.encode() not in answer.body


@pytest.mark.parametrize("route", ["list, plain", "list", "health", "a preflight"])
@pytest.mark.parametrize("host", ["", "localhost, evil.example", "http://localhost", "a@localhost", "\xff"])
async def test_a_host_that_is_none_is_refused(served, raw_request, route, host):
    answer = await raw_request(served.client.url, asked(*ROUTES[route], f"Host: {host}"))
    check_error(answer, 400, "VALIDATION_FAILED", field="Host")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9", "127.0.0.1", "[::1]:8080"])
@pytest.mark.parametrize("route", ["list, plain", "list", "get, plain", "get", "health", "info"])
async def test_loopback_names_are_ours(served, raw_request, route, host):
    method, path = ROUTES[route]
    assert 200 == (await raw_request(served.client.url, asked(method, path, f"Host: {host}"))).status


@pytest.mark.parametrize("fields", [[], ["Host: localhost", "Host: localhost"]], ids=["none", "two"])
async def test_http_1_1_has_one_host(served, raw_request, fields):
    for route in ("list, plain", "health"):
        answer = await raw_request(served.client.url, asked(*ROUTES[route], *fields))
        check_error(answer, 400, "VALIDATION_FAILED", field="Host")


async def test_http_1_0_may_have_none(served, raw_request):
    answer = await raw_request(served.client.url, asked(*ROUTES["list"], version="1.0", email=OWNER))
    assert 1 == check(answer, 200)["total"]


async def test_a_target_that_names_a_host_goes_before_the_header(served, raw_request):
    for target, status in (("http://evil.example", 421), ("http://localhost:9", 200), ("http://[::1]", 200)):
        answer = await raw_request(served.client.url, asked("GET", f"{target}{CLUSTERS}", "Host: localhost"))
        assert status == answer.status, target


@pytest.mark.parametrize(
    "line", [b"OPTIONS * HTTP/1.1", b"CONNECT evil.example:80 HTTP/1.1", b"CONNECT localhost:80 HTTP/1.1"]
)
async def test_targets_of_other_forms_make_no_server_fail(served, raw_request, line):
    answer = await raw_request(served.client.url, line + b"\r\nHost: localhost\r\n\r\n")
    assert answer.status < 500, answer


async def test_named_hosts_are_ours_and_go_the_plain_way(raw_request):
    async with serving(allowed_hosts=("api.example.com",)) as served:
        for host, status in (("api.example.com", 200), ("API.example.com:443", 200), ("example.com", 421)):
            for route in ("list, plain", "list", "health"):
                answer = await raw_request(served.client.url, asked(*ROUTES[route], f"Host: {host}"))
                assert status == answer.status, (host, route)


async def test_probes_by_address_pass_where_all_addresses_are_listened_on(raw_request, caplog):
    caplog.set_level(logging.WARNING)
    async with serving(host="0.0.0.0", allowed_hosts=()) as served:
        assert ["ALLOWED_HOSTS" in record.message for record in caplog.records] == [True]
        port = served.runner.addresses[0][1]
        url = f"http://127.0.0.1:{port}"
        for host, status in ((f"10.244.1.7:{port}", 200), ("[fd00::7]", 200), ("web:8080", 421)):
            for path in ("/health", "/api/v1/health", CLUSTERS):
                answer = await raw_request(url, asked("GET", path, f"Host: {host}"))
                assert status == answer.status, (host, path)


# --- from another origin --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
async def test_a_write_that_a_browser_sends_unasked_does_nothing(product, kind):
    """A page may send these without a preflight; where no identity is asked for, nothing else stops it."""
    api = await product.web(None, disable_auth=True)
    name = f"n{an_owner().partition('@')[0]}"
    headers = {"Origin": EVIL, "Content-Type": kind}
    body = {"name": name, "spec": SPEC}
    answer = await api.request("POST", CLUSTERS, body, headers=headers)
    check_error(answer, 403, "FORBIDDEN", field="Origin")
    assert "CORS_ALLOWED_ORIGINS" in answer["error"]
    names = {cluster["name"] for cluster in (await api.list("?limit=100"))["clusters"]}
    assert name not in names


@pytest.mark.parametrize("origin", [EVIL, "null", "http://localhost", "http://localhost:9", "localhost", ""])
@pytest.mark.parametrize("route", ["create", "update", "delete", "report"])
async def test_no_page_of_another_origin_writes(served, raw_request, route, origin):
    request = asked(*ROUTES[route], "Host: localhost:8080", f"Origin: {origin}")
    answer = await raw_request(served.client.url, request)
    check_error(answer, 403, "FORBIDDEN", field="Origin")
    assert not any(name.startswith("Access-Control-") for name in answer.headers)


async def test_a_simple_kind_tells_its_refusal_in_its_own_shape(served, raw_request):
    request = asked("DELETE", "/api/v1/resources/r-1", "Host: localhost:8080", f"Origin: {EVIL}")
    answer = await raw_request(served.client.url, request)
    assert (403, "forbidden") == (answer.status, answer["code"])
    assert ["Origin"] == [detail["field"] for detail in answer["details"]]


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:8080", "http://localhost:8080"),
        ("LOCALHOST:8080", "http://localhost:8080"),
        ("api.example.com", "https://api.example.com"),
        ("localhost:8080", "https://ui.example"),
    ],
)
async def test_pages_of_this_host_and_of_named_origins_write(raw_request, host, origin):
    async with serving(allowed_hosts=("api.example.com",), cors_origins=("https://ui.example",)) as served:
        request = asked("DELETE", f"{CLUSTERS}/{ID}", f"Host: {host}", f"Origin: {origin}")
        check_error(await raw_request(served.client.url, request), 404, "RESOURCE_NOT_FOUND")
