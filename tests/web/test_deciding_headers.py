"""Headers that decide something: sent once or refused, of whatever bytes, and never a 500."""

import asyncio
from urllib.parse import urlsplit

import pytest

from tests.e2e.product import CONTROLLER
from tests.web.answers import check, check_error, is_refusal
from tests.web.serving import OWNER, serving
from tests.web.wire import CLUSTERS, ONE, request

ROUTES = {
    "list": ("GET", CLUSTERS),
    "list, the ordinary way": ("GET", f"{CLUSTERS}/"),
    "watch": ("GET", f"{CLUSTERS}?watch=true"),
    "create": ("POST", CLUSTERS),
    "get": ("GET", f"{CLUSTERS}/{ONE}"),
    "get, the ordinary way": ("GET", f"{CLUSTERS}/{ONE}/"),
    "watch of one": ("GET", f"{CLUSTERS}/{ONE}?watch=true"),
    "head": ("HEAD", f"{CLUSTERS}/{ONE}"),
    "update": ("PUT", f"{CLUSTERS}/{ONE}"),
    "delete": ("DELETE", f"{CLUSTERS}/{ONE}"),
    "get status": ("GET", f"{CLUSTERS}/{ONE}/status"),
    "put status": ("PUT", f"{CLUSTERS}/{ONE}/status"),
}


@pytest.fixture(scope="module")
async def served():
    async with serving(cors_origins=("https://ui.example",)) as served:
        served.put(ONE)
        yield served


AS = {"put status": CONTROLLER}


def identity(route: str) -> tuple[str, bytes]:
    return ("X-User-Email", AS.get(route, OWNER).encode())


# --- once -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", [route for route in ROUTES if route != "head"])
@pytest.mark.parametrize(
    "second",
    [
        pytest.param(b"else@example.com", id="another"),
        pytest.param(OWNER.encode(), id="the same"),
        pytest.param(b"", id="none"),
    ],
)
async def test_an_identity_given_twice_is_nobodys(served, raw_request, route, second):
    method, path = ROUTES[route]
    for emails in ((CONTROLLER.encode(), second), (second, CONTROLLER.encode())):
        sent = request(method, path, [("X-User-Email", email) for email in emails])
        answer = await raw_request(served.client.url, sent)
        check_error(answer, 400, "VALIDATION_FAILED", field="X-User-Email")


async def test_an_identity_given_twice_is_nobodys_without_authentication_too(raw_request):
    async with serving(disable_auth=True) as served:
        sent = request("GET", CLUSTERS, [("X-User-Email", b"a@b.cd"), ("x-user-email", b"e@f.gh")])
        check_error(
            await raw_request(served.client.url, sent), 400, "VALIDATION_FAILED", field="X-User-Email"
        )


@pytest.mark.parametrize(
    ("name", "values", "routes"),
    [
        ("If-Match", (b'"1"', b'"2"'), ["update", "delete"]),
        ("If-Match", (b"*", b'"2"'), ["update", "delete"]),
        ("Idempotency-Key", (b"a", b"b"), ["create", "update", "delete", "put status"]),
        ("Last-Event-ID", (b"a", b"b"), ["watch", "watch of one"]),
        ("Origin", (b"https://ui.example", b"https://else.example"), [r for r in ROUTES if r != "head"]),
        ("Content-Encoding", (b"identity", b"gzip"), ["create", "update", "put status"]),
    ],
)
async def test_a_header_that_decides_something_occurs_once(served, raw_request, name, values, routes):
    for route in routes:
        sent = request(*ROUTES[route], [identity(route), *((name, value) for value in values)])
        answer = await raw_request(served.client.url, sent)
        check_error(answer, 400, "VALIDATION_FAILED", field=name)
        assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("path", [CLUSTERS, "/health", "/nowhere"])
async def test_a_preflight_of_two_origins_is_refused(served, raw_request, path):
    origins = [("Origin", b"https://ui.example"), ("Origin", b"https://else.example")]
    answer = await raw_request(served.client.url, request("OPTIONS", path, origins))
    check_error(answer, 400, "VALIDATION_FAILED", field="Origin")


# --- blanks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blanks", [b" ", b"\t", b" \t "])
@pytest.mark.parametrize("path", [CLUSTERS, f"{CLUSTERS}/"])
async def test_blanks_of_http_around_an_identity_are_none_of_it(served, raw_request, path, blanks):
    sent = request("GET", path, [("X-User-Email", blanks + OWNER.encode() + blanks)])
    assert 1 == check(await raw_request(served.client.url, sent), 200)["total"]


@pytest.mark.parametrize("blank", ["\u00a0", "\u2003", "\u3000", "\u2028", "\u0085"])
@pytest.mark.parametrize("route", ["list", "list, the ordinary way", "get", "put status"])
async def test_other_blanks_belong_to_an_identity_and_make_it_none(served, raw_request, route, blank):
    for email in (f"x@system.local{blank}", f"{blank}x@system.local", blank):
        sent = request(*ROUTES[route], [("X-User-Email", email.encode())])
        check_error(await raw_request(served.client.url, sent), 401, "INVALID_EMAIL")


# --- any bytes --------------------------------------------------------------------------------------------

READ = [
    *("X-User-Email", "X-Request-ID", "Origin", "If-Match", "Idempotency-Key", "Last-Event-ID", "Expect"),
    *("User-Agent", "Content-Encoding", "Content-Type", "Connection", "Accept-Encoding", "Upgrade"),
]
ODD = {
    "no UTF-8": b"\xff",
    "no UTF-8 in quotes": b'"\xff"',
    "a cut off character": b'"\xe4\xbd',
    "a surrogate": b'"\xed\xa0\x80"',
    "a C1 character": '"\u009b"'.encode(),
    "another script": '"\u4f8b"'.encode(),
    "blanks of Unicode": "\u00a0\u2028".encode(),
    "a control character": b'"\x01"',
    "nothing": b"",
    "a quote": b'"',
    "a long one": b'"%b"' % (b"x" * 60_000),
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
@pytest.mark.parametrize("name", READ)
async def test_no_bytes_of_a_header_make_the_server_fail(served, name, odd):
    """Nothing is behind this process: what is accepted waits for Kafka in vain, and says so."""
    served.health.kafka_healthy = False
    address = urlsplit(served.client.url)
    for route, (method, path) in ROUTES.items():
        headers = {"X-User-Email": identity(route)[1], name: odd}
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            writer.write(request(method, path, headers.items()))
            status = int((await reader.readuntil(b"\r\n")).split()[1])
            writer.close()
        assert status < 500 or status == 503, (route, status)
    served.health.kafka_healthy = True


@pytest.mark.parametrize(
    ("name", "routes"),
    [
        ("If-Match", ["update", "delete"]),
        ("Idempotency-Key", ["create", "update", "delete", "put status"]),
        ("Last-Event-ID", ["watch", "watch of one"]),
    ],
)
@pytest.mark.parametrize("odd", [b'"\xff"', b"\xff", b"\xed\xa0\x80"])
async def test_bytes_that_are_no_text_are_refused_where_they_decide(served, raw_request, name, routes, odd):
    for route in routes:
        sent = request(*ROUTES[route], [identity(route), (name, odd)])
        check_error(await raw_request(served.client.url, sent), 400, "VALIDATION_FAILED", field=name)


@pytest.mark.parametrize(
    "path",
    [
        b"/api/v1/clusters/%ff",
        b"/api/v1/clusters/%ff/status",
        b"/api/v1/clusters?watch=true&last_event_id=%ff",
        b"/docs/%ff",
        b"/%ff",
    ],
)
async def test_bytes_of_a_path_that_are_no_text_are_refused(served, raw_request, path):
    head = b"GET %b HTTP/1.1\r\nHost: x\r\nX-User-Email: %b\r\n\r\n" % (path, OWNER.encode())
    is_refusal(await raw_request(served.client.url, head))
