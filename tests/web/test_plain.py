"""Plain reads, told apart from the rest and answered, counted and logged alike; how answers are written."""

import asyncio
import logging
import re
from collections import Counter
from dataclasses import dataclass, replace
from types import SimpleNamespace
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from aiohttp import HttpVersion, HttpVersion10, HttpVersion11, web
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.test_utils import make_mocked_request
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import Unavailable
from domain.hosts import Hosts
from tables.cluster import ClusterView
from tests.e2e.product import CONTROLLER
from tests.tables.given import Record, document, value
from tests.web.answers import UUID4
from tests.web.serving import KAFKA, OWNER, serving
from web.cluster.plain import LIST, MAX_QUERY, ONE, STATUS, _asked, plain_reads
from web.cluster.reads import Reads
from web.http.edge import usual_body
from web.http.meters import METERS
from web.http.pieces import ReadAnswer
from web.http.plain import Plain, PlainRead, PlainReads
from web.settings import WebSettings

MINE, OTHERS, GONE, ABSENT = (f"{number}c0ffee0-0000-4000-8000-00000000000a" for number in range(4))
PATH = "/api/v1/clusters"
LISTED = "https://ui.example"


# --- told apart -------------------------------------------------------------------------------------------


class Ready:
    """The health of a process that can answer."""

    def require_view(self) -> None:
        """It can."""


class NotReady:
    """The health of one whose view is still being filled."""

    def require_view(self) -> None:
        raise Unavailable("Tables are still being read")


def plain(health: object = Ready(), version: bytes = b"7") -> PlainReads:
    view = ClusterView()
    shown = document(MINE, owner=OWNER).replace(
        b'"resource_version": "1"', b'"resource_version": "%b"' % version
    )
    view.apply(Record(MINE.encode(), value(shown)))
    web_settings = WebSettings(kafka=KAFKA)
    reads = Reads(view, health, web_settings)  # type: ignore[arg-type]
    return PlainReads(plain_reads(reads), Hosts("127.0.0.1"), web_settings)


def asked(
    path: str,
    method: str = "GET",
    *,
    version: HttpVersion = HttpVersion11,
    closing: bool = False,
    payload: StreamReader = EMPTY_PAYLOAD,
    **headers: str,
):
    sent = {
        "Host": "localhost",
        "X-User-Email": OWNER,
        **{name.replace("_", "-"): text for name, text in headers.items()},
    }
    return make_mocked_request(method, path, sent, version=version, closing=closing, payload=payload)


@pytest.mark.parametrize(
    ("path", "route", "cluster_id"),
    [
        (f"{PATH}/{MINE}", ONE, MINE),
        (f"{PATH}/{MINE.upper()}", ONE, MINE),
        (f"{PATH}/{MINE}/status", STATUS, MINE),
        (PATH, LIST, None),
        (f"{PATH}?platform=gcp&status=Ready&limit=5&offset=1", LIST, None),
    ],
)
def test_a_plain_read_is_found(path, route, cluster_id):
    found = plain().find(asked(path))
    assert (route, cluster_id, None) == (found.route, found.entity_id, found.kind)


def test_a_second_kind_has_plain_reads_of_its_own():
    # given
    jars = PlainRead(
        re.compile("/jars/([a-z]+)"),
        lambda email, id: Plain("/jars/{id}", id, ReadAnswer((email.encode(),), "3"), kind="jar"),
    )
    reads = Reads(ClusterView(), Ready(), WebSettings(kafka=KAFKA))  # type: ignore[arg-type]
    plain = PlainReads((*plain_reads(reads), jars), Hosts("127.0.0.1"), WebSettings(kafka=KAFKA))

    # when
    found = plain.find(asked("/jars/jam"))

    # then
    assert Plain("/jars/{id}", "jam", ReadAnswer((OWNER.encode(),), "3"), "jar") == found
    assert plain.find(asked("/jars/7")) is None


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(asked(f"{PATH}/{ABSENT}"), id="absent"),
        pytest.param(asked(f"{PATH}/{MINE}", X_User_Email="else@example.com"), id="somebody else's"),
        pytest.param(asked(f"{PATH}/{MINE}", X_User_Email="nobody"), id="no identity"),
        pytest.param(asked(f"{PATH}/{'z' * 36}"), id="no id"),
        pytest.param(asked(f"{PATH}/{MINE}/"), id="a trailing slash"),
        pytest.param(asked(f"{PATH}/{MINE}?watch=true"), id="a watch of one"),
        pytest.param(asked(f"{PATH}?watch=true"), id="a watch"),
        pytest.param(asked(f"{PATH}?w%61tch=true"), id="a watch in other letters"),
        pytest.param(asked(f"{PATH}?limit=5#watch"), id="a fragment"),
        pytest.param(asked(f"{PATH}?platform={'x' * 300}"), id="a long query"),
        pytest.param(asked("/health"), id="another route"),
        pytest.param(asked(f"{PATH}/{MINE}", "HEAD"), id="HEAD"),
        pytest.param(asked(f"{PATH}/{MINE}", "DELETE"), id="a write"),
        pytest.param(asked(f"{PATH}/{MINE}", version=HttpVersion10), id="HTTP/1.0"),
        pytest.param(asked(f"{PATH}/{MINE}", closing=True), id="the connection's last"),
        pytest.param(asked(f"{PATH}/{MINE}", Expect="100-continue"), id="an expectation"),
        pytest.param(asked(f"{PATH}/{MINE}", Host="evil.example"), id="somebody else's host"),
    ],
)
def test_what_is_not_plain_is_left_to_the_application(request_):
    assert plain().find(request_) is None


async def test_a_body_is_left_to_the_application():
    body = StreamReader(SimpleNamespace(), 1, loop=asyncio.get_running_loop())  # type: ignore[arg-type]
    assert plain().find(asked(PATH, payload=body)) is None


def test_before_the_view_is_filled_nothing_is_plain():
    assert plain(NotReady()).find(asked(PATH)) is None


def test_what_would_break_a_header_is_left_to_the_application():
    assert plain(version=rb"a\u000d\u000ab").find(asked(f"{PATH}/{MINE}")) is None


# --- answered alike ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """What a request led to, apart from times and an id that was made for it."""

    answer: tuple[bytes, ...]
    body: bytes
    counted: Counter[tuple[str, ...]]
    told: dict[str, object]


class Lines(logging.Handler):
    """The log lines about requests."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.variables: list[dict[str, object]] = []

    def emit(self, record: logging.LogRecord) -> None:
        common = vars(logging.makeLogRecord({}))
        if record.msg == "request":
            self.variables.append({name: v for name, v in vars(record).items() if name not in common})


@pytest.fixture(scope="module")
def lines():
    log, handler = logging.getLogger("clusterflow.api_server"), Lines()
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield handler
    log.removeHandler(handler)
    log.setLevel(logging.NOTSET)


@pytest.fixture(scope="module", params=[("*",), (LISTED,)], ids=["any origin", "listed origins"])
async def served(request):
    async with serving(cors_origins=request.param) as served:
        served.put(MINE, phase="Ready")
        served.put(OTHERS, owner="else@example.com", platform="aws", minute=1)
        served.put(GONE)
        served.put(GONE, deleted=True)
        for minute in range(3):
            served.put(str(uuid4()), minute=minute + 2)
        yield served


async def seen(url: str, request: bytes, lines: Lines) -> Seen:
    """Send one request on a connection of its own."""
    before = counted()
    lines.variables.clear()
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    length = next((int(line[15:]) for line in head if line.lower().startswith(b"content-length:")), 0)
    body = b"" if request.startswith(b"HEAD") else await reader.readexactly(length)
    writer.close()
    (told,) = lines.variables
    made = told.pop("request_id")
    told.pop("duration_ms")
    if UUID4.fullmatch(str(made)):
        head = [line.replace(str(made).encode(), b"made") for line in head]
        body = body.replace(str(made).encode(), b"made")
    kept = (line for line in head if not line.startswith((b"Date: ", b"X-Response-Time: ")))
    return Seen(tuple(kept), body, counted() - before, told)


def counted() -> Counter[tuple[str, ...]]:
    """The requests and times that metrics have counted."""
    return Counter(
        {
            (sample.name, *sample.labels.values()): int(sample.value)
            for family in METERS.collect()
            for sample in family.samples
            if sample.name.endswith(("_total", "_count"))
        }
    )


ids = st.sampled_from([MINE, MINE, MINE.upper(), OTHERS, GONE, ABSENT, "nonsense", f"%30{MINE[1:]}"])
queries = st.lists(
    st.sampled_from(
        [
            *("limit=2", "limit=0", "limit=x", "limit=101", "limit=%32", "offset=1", "offset=-1", "offset=9"),
            *("platform=gcp", "platform=AWS", "platform=%67cp", "platform=", "platform=%ff", "status=Ready"),
            *("created_by=else@example.com", "created_by=a+b@c.de", "", "=", "x", "limit", "watch=false"),
        ]
    ),
    max_size=4,
).map("&".join)
paths = st.one_of(
    st.builds("{}/{}{}".format, st.just(PATH), ids, st.sampled_from(["", "", "/status", "?", "?x=1"])),
    st.builds("{}{}{}".format, st.just(PATH), st.sampled_from(["?", "?", ""]), queries).filter(
        lambda path: path.startswith(f"{PATH}?") or path == PATH
    ),
)
header_sets = st.fixed_dictionaries(
    {},
    optional={
        b"X-User-Email": st.sampled_from(
            [OWNER, f" {OWNER}", CONTROLLER, "else@example.com", "nobody", "", "b\u00fccher@example.com"]
        ).map(str.encode),
        b"X-Request-ID": st.sampled_from([b"mine-1", b"not mine", b"x" * 129, b""]),
        b"Origin": st.sampled_from([LISTED.encode(), b"https://else.example", b"null"]),
        b"Connection": st.sampled_from([b"close", b"keep-alive"]),
        b"User-Agent": st.sampled_from([b"curl/8", b"\xff\xfe", b"x" * 300]),
        b"Content-Length": st.just(b"0"),
        b"If-None-Match": st.just(b'"1"'),
        b"Host": st.sampled_from([b"127.0.0.1:8080", b"evil.example", b"[::1]", b"", b"a b"]),
    },
)


@settings(max_examples=150)
@given(
    method=st.sampled_from([b"GET", b"GET", b"GET", b"HEAD"]),
    path=paths,
    version=st.sampled_from([b"1.1", b"1.1", b"1.1", b"1.0"]),
    headers=header_sets,
)
async def test_both_ways_answer_count_and_log_alike(served, lines, method, path, version, headers):
    """An expectation that nobody knows sends a request the ordinary way and is passed over there."""
    fields = b"".join(b"%b: %b\r\n" % pair for pair in ({b"Host": b"x"} | headers).items())
    request = b"%b %b HTTP/%b\r\n%b" % (method, path.encode(), version, fields)
    one = await seen(served.client.url, request + b"\r\n", lines)
    other = await seen(served.client.url, request + b"Expect: nothing\r\n\r\n", lines)
    assert one == other


# --- written alike ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [
        pytest.param("GET", f"{PATH}/{MINE}", id="a plain read"),
        pytest.param("GET", f"{PATH}/{MINE}/", id="a read"),
        pytest.param("GET", f"{PATH}?limit=%32", id="a page"),
        pytest.param("GET", "/api/v1/info", id="another read"),
        pytest.param("GET", "/docs", id="a page for people"),
        pytest.param("GET", "/openapi.json", id="a large answer"),
        pytest.param("GET", "/nowhere", id="no route"),
        pytest.param("GET", f"{PATH}/{ABSENT}", id="absent"),
        pytest.param("PUT", f"{PATH}/{MINE}", id="a write that is refused"),
        pytest.param("PATCH", f"{PATH}/{MINE}", id="a wrong method"),
        pytest.param("HEAD", f"{PATH}/{MINE}", id="HEAD"),
        pytest.param("OPTIONS", f"{PATH}/{MINE}", id="OPTIONS"),
    ],
)
async def test_answers_are_alike_whoever_writes_them(served, lines, method, path):
    """The last answer on a connection is aiohttp's to write."""
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nX-User-Email: {OWNER}\r\nOrigin: {LISTED}\r\n".encode()
    ours = await seen(served.client.url, head + b"\r\n", lines)
    theirs = await seen(served.client.url, head + b"Connection: close\r\n\r\n", lines)
    closed = [line for line in theirs.answer if line != b"Connection: close"]
    assert len(theirs.answer) == len(closed) + 1
    assert ours == replace(theirs, answer=tuple(closed))


@pytest.mark.parametrize(
    ("response", "request_"),
    [
        pytest.param(web.Response(body=b"x"), asked(PATH, "HEAD"), id="HEAD"),
        pytest.param(web.Response(body=b"x"), asked(PATH, version=HttpVersion10), id="HTTP/1.0"),
        pytest.param(web.Response(body=b"x"), asked(PATH, closing=True), id="the connection's last"),
        pytest.param(web.Response(status=204), asked(PATH), id="no body"),
        pytest.param(web.StreamResponse(), asked(PATH), id="a stream"),
        pytest.param(
            web.Response(body=b"x", headers={"X": "a\r\nb: c"}), asked(PATH), id="what would break a header"
        ),
    ],
)
def test_what_is_not_usual_is_aiohttps_to_write(response, request_):
    usual = asked(PATH)
    usual.transport.is_closing.return_value = request_.transport.is_closing.return_value = False
    assert b"x" == usual_body(usual, web.Response(body=b"x"))
    assert usual_body(request_, response) is None


async def test_requests_on_the_way_together_are_answered_in_their_order(served):
    address = urlsplit(served.client.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    paths = [f"{PATH}/{MINE}", f"{PATH}/{MINE}/", f"{PATH}/{MINE}/status", "/nowhere", f"{PATH}?limit=1"] * 20
    for number, path in enumerate(paths):
        head = f"GET {path} HTTP/1.1\r\nHost: x\r\nX-User-Email: {OWNER}\r\nX-Request-ID: {number}\r\n\r\n"
        writer.write(head.encode())
    found = []
    for _ in paths:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        fields = dict(line.split(": ", 1) for line in head[1:] if line)
        await reader.readexactly(int(fields["Content-Length"]))
        found.append((int(fields["X-Request-ID"]), head[0]))
    writer.close()
    answers = ["HTTP/1.1 200 OK"] * 3 + ["HTTP/1.1 404 Not Found", "HTTP/1.1 200 OK"]
    assert list(enumerate(answers * 20)) == found


def test_long_queries_are_not_kept():
    # given a caller's query that is too long to be asked often
    reads, kept = plain(), _asked.cache_info().currsize

    # when it is looked at, then it takes the ordinary way, and nothing of it stays
    assert reads.find(asked(f"{PATH}?created_by={'x' * MAX_QUERY}")) is None
    assert kept == _asked.cache_info().currsize
