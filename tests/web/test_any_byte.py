"""Every byte value in every header that is read, on all kinds of requests: never a 5xx, and one shape."""

import asyncio
import json
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

import pytest

from serving.submit import Submitter
from streams.cluster.messages import ResultMessage
from streams.json import encode
from streams.writing.appending import Acknowledged
from streams.writing.outputs import Output, RecordPosition
from tests.e2e.product import CONTROLLER, Answer
from tests.tables.given import Record
from tests.web.answers import JSON, check_error, complaints
from tests.web.serving import KAFKA, OWNER, serving
from tests.web.wire import CLUSTERS, ONE, request
from web.keys import SUBMITTER

REPORT = b'{"controller_name":"c","observed_generation":1}'
SPEC = b'{"name":"one","spec":{"platform":{"type":"gcp"}}}'

ROUTES = {
    "list": ("GET", CLUSTERS, b""),
    "get": ("GET", f"{CLUSTERS}/{ONE}", b""),
    "get, the ordinary way": ("GET", f"{CLUSTERS}/{ONE}/", b""),
    "get status": ("GET", f"{CLUSTERS}/{ONE}/status", b""),
    "create": ("POST", CLUSTERS, SPEC),
    "update": ("PUT", f"{CLUSTERS}/{ONE}", SPEC),
    "put status": ("PUT", f"{CLUSTERS}/{ONE}/status", REPORT),
    "delete": ("DELETE", f"{CLUSTERS}/{ONE}", b""),
}
WATCHES = {"watch": f"{CLUSTERS}?watch=true", "watch of one": f"{CLUSTERS}/{ONE}?watch=true"}

# Those that our code reads, or a library for it.
READ = [
    *("X-User-Email", "X-Request-ID", "Origin", "If-Match", "Idempotency-Key", "Last-Event-ID", "User-Agent"),
    *("Content-Type", "Content-Encoding", "Accept-Encoding", "Cookie", "Expect", "Host"),
]
OF_FRAMES = ["Connection", "Upgrade", "Content-Length", "Transfer-Encoding"]  # a request may be the last

# What the parser lets into a value; all others end the connection.
READABLE = [*b"\t", *range(0x20, 0x7F), *range(0x80, 0x100)]
UNREADABLE = [byte for byte in range(0x100) if byte not in READABLE]


def values(name: str, byte: int) -> Iterable[bytes]:
    """The byte alone, and within what is right there."""
    right = {"X-User-Email": b"a%b@example.com", "If-Match": b'"%b"', "Origin": b"https://%b.example"}
    yield bytes([byte])
    yield right.get(name, b"a%bz") % bytes([byte])


class Deciding:
    """A producer, and a worker behind it that refuses all it is sent."""

    def __init__(self) -> None:
        self.submitter: Submitter | None = None

    async def publish(self, outputs: Sequence[Output], *, acknowledged: Acknowledged) -> None:
        assert self.submitter is not None
        for output in outputs:
            sent = json.loads(output.value)
            headers = {name: text.encode() for name, text in output.headers.items()}  # as the real one does
            assert headers
            command_id = sent.get("command_id") or sent["report_id"]
            result = ResultMessage(command_id=command_id, outcome="rejected", code="RESOURCE_CONFLICT")
            record = Record(
                sent["cluster_id"].encode(),
                encode(result),
                headers=(("command_id", command_id.encode()), ("triggered_by", b"api_request")),
                topic=KAFKA.topics.results,
            )
            self.submitter.on_result(record)
        acknowledged({number: RecordPosition(0, number) for number in range(len(outputs))})


@pytest.fixture(scope="module")
async def served():
    async with serving(cors_origins=("https://ui.example",)) as served:
        served.put(ONE)
        assert served.runner.app is not None
        submitter = served.runner.app[SUBMITTER]
        submitter._producer = deciding = Deciding()
        deciding.submitter = submitter
        yield served


class Connection:
    """Requests on one connection, and their answers one after the other."""

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url)

    async def __aenter__(self) -> "Connection":
        self._reader, self._writer = await asyncio.open_connection(
            self._address.hostname, self._address.port, limit=2**20
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    def send(self, *requests: bytes) -> None:
        self._writer.writelines(requests)

    async def answer(self, *, stream: bool = False) -> Answer:
        """The next one; of a stream its head."""
        async with asyncio.timeout(20):
            first, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            fields = dict(line.split(": ", 1) for line in lines if line)
            status = int(first.split()[1])
            if status == 100:
                return await self.answer(stream=stream)
            long = 0 if stream and status == 200 else int(fields["Content-Length"])
            return Answer(status, fields, await self._reader.readexactly(long))


def is_right(answer: Answer) -> None:
    assert answer.status < 500, answer
    if answer.status >= 400:
        assert answer.headers["Content-Type"] == JSON
        check_error(answer, answer.status, answer["code"])


def asked(route: str, name: str, value: bytes) -> bytes:
    method, path, body = ROUTES[route]
    caller = CONTROLLER if route == "put status" else OWNER
    sent = request(method, path, {"X-User-Email": caller.encode(), name: value}.items(), body)
    return sent.replace(b"Host: x\r\n", b"", 1) if name == "Host" else sent


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", READ)
async def test_a_byte_that_may_stand_in_a_header_is_answered(served, route, name, caplog):
    """All on one connection, but for refusals that end theirs: others leave the next request alone."""
    requests = [asked(route, name, value) for byte in READABLE for value in values(name, byte)]
    alone = name in ("Host", "Origin")
    while requests:
        async with Connection(served.client.url) as connection:
            going_on = True
            while requests and going_on:
                part, requests = (requests[:1], requests[1:]) if alone else (requests[:16], requests[16:])
                connection.send(*part)
                for _ in part:
                    is_right(answer := await connection.answer())
                    going_on = answer.headers.get("Connection") != "close"
                    assert going_on or alone
    assert [] == complaints(caplog)


@pytest.mark.parametrize("route", ["get", "create", "update", "delete"])
@pytest.mark.parametrize("name", [*READ, *OF_FRAMES])
async def test_a_byte_that_may_not_is_refused(served, route, name, caplog):
    for byte in [*UNREADABLE, *(READABLE if name in OF_FRAMES else ())]:
        for value in values(name, byte):
            async with Connection(served.client.url) as connection:
                sent = asked(route, name, value)
                if name == "Content-Length":
                    sent = sent.replace(b"Content-Length: 0\r\n", b"", 1)
                connection.send(sent, b"\r\n\r\n0\r\n\r\n")  # whatever the framing, it has an end
                is_right(await connection.answer())
    assert [] == complaints(caplog)


@pytest.mark.parametrize(
    ("route", "name"), [*(("watch", name) for name in READ), ("watch of one", "Last-Event-ID")]
)
async def test_watches_answer_every_byte(served, route, name, caplog):
    for byte in range(0x100):
        for value in values(name, byte):
            fields = {"X-User-Email": OWNER.encode(), name: value}
            async with Connection(served.client.url) as connection:
                sent = request("GET", WATCHES[route], fields.items())
                connection.send(sent.replace(b"Host: x\r\n", b"", 1) if name == "Host" else sent)
                is_right(await connection.answer(stream=True))
    assert [] == complaints(caplog)
