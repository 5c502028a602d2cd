"""What aiohttp refuses by itself: answered in the one shape over HTTP/1.1, whoever finds the fault."""

import asyncio
import logging
import random
from urllib.parse import urlsplit

import pytest
from aiohttp.http_exceptions import BadStatusLine
from aiohttp.test_utils import make_mocked_request
from prometheus_client import REGISTRY

from serving.submit import UNKNOWN
from tests.conftest import until
from tests.e2e.product import Answer
from tests.web.answers import UUID4, check_error, complaints, logged
from tests.web.serving import OWNER, serving
from web.http.protocol import refusal_of

CLUSTERS = "/api/v1/clusters"
SECRET = b"hunter2"
HEAD = b"POST /api/v1/clusters HTTP/1.1\r\nHost: x\r\nX-User-Email: %b\r\n" % OWNER.encode()


@pytest.fixture(scope="module")
async def served():
    async with serving(cors_origins=("https://ui.example",)) as served:
        yield served


async def exchange(url: str, *parts: bytes) -> bytes:
    """All that comes back until the server ends the connection; the parts arrive one by one."""
    address = urlsplit(url)
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        for part in parts:
            writer.write(part)
            await writer.drain()
            if part is not parts[-1]:
                await asyncio.sleep(0.05)  # so that it comes with another read
        whole = await reader.read()
        writer.close()
    return whole


def parsed(whole: bytes) -> Answer:
    """The one answer that is all there is."""
    head, _, body = whole.partition(b"\r\n\r\n")
    line, *fields = head.decode().split("\r\n")
    assert line.startswith("HTTP/1.1 "), line
    headers = dict(field.split(": ", 1) for field in fields)
    assert len(body) == int(headers["Content-Length"])
    return Answer(int(line.split()[1]), headers, body)


UNREADABLE = {
    "an unknown method": (b"HUNTER2 /hunter2 HTTP/1.1\r\nHost: x\r\n\r\n", "request"),
    "a method that is not ASCII": (b"G\xc3\x89T /hunter2 HTTP/1.1\r\nHost: x\r\n\r\n", "request"),
    "HTTP/0.9": (b"GET /hunter2\r\n\r\n", "request"),
    "HTTP/2": (b"GET /hunter2 HTTP/2.0\r\nHost: x\r\n\r\n", "request"),
    "HTTP/9.9": (b"GET /hunter2 HTTP/9.9\r\nHost: x\r\n\r\n", "request"),
    "HTTP/2's preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", "request"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03hunter2\r\n\r\n", "request"),
    "a target that is no path": (b"GET hunter2 HTTP/1.1\r\nHost: x\r\n\r\n", "request"),
    "a target that is not ASCII": (b"GET /hunter2/\xff HTTP/1.1\r\nHost: x\r\n\r\n", "request"),
    "a query that is not ASCII": (b"GET /?hunter2=\xff HTTP/1.1\r\nHost: x\r\n\r\n", "request"),
    "a header without colon": (b"GET / HTTP/1.1\r\nHost: x\r\nhunter2\r\n\r\n", None),
    "NUL in a header": (b"GET / HTTP/1.1\r\nHost: x\r\nA: hunter2\0\r\n\r\n", None),
    "CONNECT to nothing": (b"CONNECT \r\nx:1 HTTP/1.1\r\nHost: hunter2\r\n\r\n", "request"),
    "no host": (b"GET /hunter2 HTTP/1.1\r\n\r\n", "Host"),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: x\r\nHost: hunter2\r\n\r\n", "Host"),
    "two lengths": (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n", None),
    "the same length twice": (
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
        None,
    ),
    "a negative length": (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -2\r\n\r\n", None),
    "two transfer codings": (
        HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        None,
    ),
    "a length and chunks": (HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 7\r\n\r\nhunter2", None),
    "an unknown transfer coding": (HEAD + b"Transfer-Encoding: hunter2\r\n\r\n", None),
    "an encoding not installed": (
        HEAD + b"Content-Encoding: br\r\nContent-Length: 7\r\n\r\nhunter2",
        "Content-Encoding",
    ),
    "another encoding not installed": (
        HEAD + b"Content-Encoding: zstd\r\nContent-Length: 7\r\n\r\nhunter2",
        "Content-Encoding",
    ),
    "a chunk size that is none": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nhunter2\r\n", None),
    "a target of 100,000 bytes": (b"GET /hunter2%b HTTP/1.1\r\nHost: x\r\n\r\n" % (b"x" * 10**5), "request"),
    "a target of 3,000,000 bytes": (b"GET /hunter2%b HTTP/1.1\r\nHost: x\r\n\r\n" % (b"x" * 3 * 10**6), None),
    "a header of 3,000,000 bytes": (
        b"GET / HTTP/1.1\r\nHost: x\r\nA: hunter2%b\r\n\r\n" % (b"x" * 3 * 10**6),
        "request",
    ),
    "100 headers of 30,000 bytes": (
        b"GET / HTTP/1.1\r\nHost: x\r\n%b\r\n" % (b"A: hunter2%b\r\n" % (b"x" * 30_000) * 100),
        "request",
    ),
    "300 headers": (b"GET / HTTP/1.1\r\nHost: x\r\n%b\r\n" % (b"A: hunter2\r\n" * 300), "request"),
}


@pytest.mark.parametrize(("request_", "field"), UNREADABLE.values(), ids=UNREADABLE.keys())
async def test_what_cannot_be_read_is_refused_in_the_one_shape(served, request_, field):
    answer = parsed(await exchange(served.client.url, request_))
    details = check_error(answer, 400, "VALIDATION_FAILED")
    assert field in (None, details["field"])
    assert UUID4.fullmatch(answer.headers["X-Request-ID"])
    assert ("Origin, X-User-Email", "close") == (answer.headers["Vary"], answer.headers["Connection"])
    assert not any(name.startswith("Access-Control-") for name in answer.headers)
    assert SECRET not in answer.body.lower()


@pytest.mark.parametrize("request_", [case[0] for case in UNREADABLE.values()], ids=UNREADABLE.keys())
async def test_what_cannot_be_read_is_counted_and_logged_without_what_was_sent(served, caplog, request_):
    labels = [{"method": method, "path": "unmatched", "status": "400"} for method in ("other", "GET")]

    def counted() -> float:
        return sum(REGISTRY.get_sample_value("clusterflow_http_requests_total", one) or 0 for one in labels)

    before = counted()
    caplog.set_level(logging.DEBUG)
    await exchange(served.client.url, request_)
    assert before + 1 == counted()
    records = logged(caplog)
    (line,) = [record for record in records if record.msg == "request"]
    assert ("unmatched", 400) == (line.route, line.status)
    assert {True} == {record.levelno <= logging.INFO for record in records}
    said = [
        str(value).lower() for record in records for value in (*vars(record).values(), record.getMessage())
    ]
    assert not any("hunter2" in text for text in said)


@pytest.mark.parametrize(
    ("head", "rest"),
    [
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n", b"hunter2\r\n", id="no chunk"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", b"hunter2\r\n", id="no second chunk"),
        pytest.param(b"Content-Encoding: gzip\r\nContent-Length: 7\r\n\r\n", b"hunter2", id="no gzip"),
    ],
)
async def test_a_body_that_turns_out_to_be_none_is_refused_at_once(served, caplog, head, rest):
    answer = parsed(await exchange(served.client.url, HEAD + head, rest))
    check_error(answer, 400, "VALIDATION_FAILED", field="body")
    assert SECRET not in answer.body
    assert [] == complaints(caplog)


async def test_a_fault_behind_good_requests_is_answered_after_them(served):
    good = b"GET /api/v1/info HTTP/1.1\r\nHost: x\r\n\r\n"
    whole = await exchange(served.client.url, good, good, b"HUNTER2\r\n\r\n")
    assert [b"200", b"200", b"400"] == [part.split()[0] for part in whole.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize("expected", [b"the-unexpected", b"\xff", b""])
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        pytest.param(b"GET", b"/nowhere", 404, id="no route"),
        pytest.param(b"PATCH", b"/health", 405, id="no method"),
        pytest.param(b"OPTIONS", b"/nowhere", 204, id="a preflight"),
        pytest.param(b"GET", b"/api/v1/info", 200, id="a route"),
    ],
)
async def test_an_expectation_nobody_knows_changes_nothing(
    served, raw_request, method, path, status, expected
):
    head = b"%b %b HTTP/1.1\r\nHost: x\r\nExpect: %b\r\n\r\n" % (method, path, expected)
    answer = await raw_request(served.client.url, head)
    assert status == answer.status
    if status >= 400:
        check_error(answer, status, {404: "RESOURCE_NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}[status])


async def test_headers_without_end_behind_a_request_under_way_end_their_connection(served):
    """Nothing of them is kept, and the request under way is answered."""
    address = urlsplit(served.client.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    request = f"GET {CLUSTERS}?watch=true HTTP/1.1\r\nHost: x\r\nX-User-Email: {OWNER}\r\n\r\n".encode()
    writer.write(request)
    async with asyncio.timeout(20):
        await reader.readuntil(b"BOOKMARK")
    (protocol,) = [each for each in served.runner.server.connections if each._current_request is not None]
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
    for _ in range(100):
        writer.write(b"A: %b\r\n" % (b"x" * 30_000))
        await writer.drain()

    async def ended() -> bool:
        return protocol._close

    await until(ended, what="no more being taken")
    assert protocol._head <= 2 * 2**20
    writer.transport.abort()


async def test_a_refusal_before_a_long_body_leaves_its_connection_for_the_next(served):
    """What is passed over of a body is no head."""
    body = b"x" * 900_000
    refused = b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    address = urlsplit(served.client.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    async with asyncio.timeout(20):
        for _ in range(4):
            writer.write(refused)
            assert b"HTTP/1.1 404 Not Found\r\n" == await reader.readuntil(b"\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.split(b"\r\n") if line.startswith(b"Content-Length: "))
            await reader.readexactly(int(length[16:]))
            writer.write(body)
            await writer.drain()
    writer.close()


async def test_a_client_that_stays_is_let_go_soon(served):
    """It has its answer, and time to read it."""
    address = urlsplit(served.client.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(b"HUNTER2\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 400 ")

    async def is_gone() -> bool:
        writer.write(b"more")
        return writer.transport.is_closing()

    await until(is_gone, within=10, what="the connection's end")


async def test_a_fault_of_the_edge_itself_says_nothing_of_itself(served, raw_request, monkeypatch, caplog):
    def failing(*_: object, **__: object) -> None:
        raise ValueError("hunter2")

    monkeypatch.setattr("web.http.edge.log_request", failing)
    answer = await raw_request(served.client.url, b"GET /api/v1/info HTTP/1.1\r\nHost: x\r\n\r\n")
    assert {} == check_error(answer, 500, "INTERNAL_ERROR", "Internal error")
    assert ["request failed"] == [r.message for r in caplog.records if r.levelno == logging.ERROR]


async def test_what_libraries_say_of_kafka_reaches_no_caller(served, raw_request):
    """Nobody listens where this process looks for Kafka."""
    body = b'{"name":"one","spec":{"platform":{"type":"gcp"}}}'
    answer = await raw_request(served.client.url, HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
    check_error(answer, 503, "UNAVAILABLE", UNKNOWN)


async def test_clients_that_leave_at_once_disturb_nobody(served, caplog):
    address = urlsplit(served.client.url)
    for _ in range(50):
        _, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(b"HUNTER2\r\n\r\n")
        writer.transport.abort()
    assert 200 == (await served.client.get("/api/v1/info")).status
    assert [] == complaints(caplog)


async def test_a_watcher_that_leaves_at_once_disturbs_nobody(served, caplog):
    address = urlsplit(served.client.url)
    request = f"GET {CLUSTERS}?watch=true HTTP/1.1\r\nHost: x\r\nX-User-Email: {OWNER}\r\n\r\n".encode()
    before = REGISTRY.get_sample_value("clusterflow_watches_ended_total", {"reason": "gone"}) or 0
    for _ in range(50):
        _, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(request)
        writer.write_eof()
        await asyncio.sleep(0)
        writer.transport.abort()

    async def ended() -> bool:
        now = REGISTRY.get_sample_value("clusterflow_watches_ended_total", {"reason": "gone"}) or 0
        return now > before and not REGISTRY.get_sample_value("clusterflow_watchers")

    await until(ended, what="the end of all of them")
    assert [] == complaints(caplog)


async def test_no_request_gone_wrong_makes_more_of_a_line_than_that_it_was(served, caplog):
    """Requests with bytes added, taken and changed anywhere, by a seed."""
    drawn = random.Random(20261126)
    seeds = [request for request, _ in UNREADABLE.values() if len(request) < 300] + [
        HEAD + b"Content-Length: 2\r\n\r\n{}",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"GET http://x:80/hunter2 HTTP/1.1\r\nHost: [::1\r\nConnection: Upgrade\r\nUpgrade: h\r\n\r\nhunter2",
        b"CONNECT hunter2:1 HTTP/1.1\r\nHost: x\r\n\r\nhunter2",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n",
    ]
    served.health.kafka_healthy = False
    for _ in range(1000):
        sent = bytearray(drawn.choice(seeds))
        for _ in range(drawn.choice([1, 1, 2, 3])):
            place, change = drawn.randrange(len(sent)), drawn.randrange(4)
            if change == 0:
                sent[place] = drawn.randrange(256)
            elif change == 1:
                sent[place:place] = drawn.randbytes(drawn.choice([1, 2, 8]))
            elif change == 2:
                sent[place:place] = drawn.choice([b"\r\n", b"\0", b":", b"http://[", b"%00", b" "])
            elif len(sent) > 20:
                del sent[place : place + drawn.choice([1, 2, 10])]
        address = urlsplit(served.client.url)
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            writer.write(bytes(sent))
            await asyncio.sleep(0)
            writer.write(b"\r\n\r\n0\r\n\r\n")  # whatever the framing, it has an end
            status = (await reader.readuntil(b"\r\n")).split()[1]
            writer.transport.abort()
        assert int(status) < 500 or status == b"503", bytes(sent)
    served.health.kafka_healthy = True
    assert [] == complaints(caplog)


async def test_a_refusal_of_nobody_goes_nowhere(served):
    """The connection was lost between the parser and the answer."""
    request = make_mocked_request("GET", "/")
    request.protocol.transport = None
    edge = served.runner.server.request_handler
    assert not edge.refuse(request, refusal_of(BadStatusLine("x")), started=0.0).keep_alive
