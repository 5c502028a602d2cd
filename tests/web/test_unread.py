"""What nobody reads is bounded in bytes, on each connection and in all; no entry of a list is lost by it."""

import asyncio
import json
import resource
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.conftest import until
from tests.web.answers import check, check_error
from tests.web.serving import OWNER, Served, serving
from tests.web.unread_server import MOST
from web.http.unread import SHORT, UNREAD, Unread
from web.keys import SUBMITTER

LIST = "/api/v1/clusters"
ONE = f"{0:08}-0000-4000-8000-000000000000"
SLACK = 32 * 1024 * 1024  # what an allocator and some thousand requests take, whatever is answered
CONNECTIONS = 64
BY_OWNER = {"X-User-Email": OWNER}


@dataclass
class Process:
    """A web process of its own, on uvloop as in production."""

    url: str
    process: asyncio.subprocess.Process

    async def ask(self, line: str = "look") -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line.encode() + b"\n")
        figures: dict[str, Any] = json.loads(await self.process.stdout.readline())
        return figures


@pytest.fixture(scope="module")
async def process() -> AsyncIterator[Process]:
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.web.unread_server"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert started.stdout is not None
    async with asyncio.timeout(60):
        url = (await started.stdout.readline()).decode().strip()
    yield Process(url, started)
    started.kill()
    await started.wait()


async def unread(url: str, data: bytes) -> socket.socket:
    """A connection whose client sends this and reads nothing, behind small buffers."""
    address = urlsplit(url)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, (address.hostname, address.port))
    await loop.sock_sendall(sock, data)
    return sock


@asynccontextmanager
async def nobody_reads(url: str, data: bytes, number: int = CONNECTIONS) -> AsyncIterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    socks = [await unread(url, data) for _ in range(number)]
    try:
        yield
    finally:
        for sock in socks:
            sock.close()


def head(path: str, *fields: str, version: str = "1.1", method: str = "GET") -> bytes:
    lines = (f"{method} {path} HTTP/{version}", "Host: x", f"X-User-Email: {OWNER}", *fields, "", "")
    return "\r\n".join(lines).encode()


KINDS = {
    "pages": head(f"{LIST}?limit=100") * 8,
    "pages by the ordinary way": head(f"{LIST}/?limit=100") * 8,
    "a page, the last answer": head(f"{LIST}?limit=100", "Connection: close"),
    "a page over HTTP/1.0": head(f"{LIST}?limit=100", version="1.0"),
    "single clusters": head(f"{LIST}/{ONE}") * 40,
    "single clusters by the ordinary way": head(f"{LIST}/{ONE}/") * 40,
    "files": head("/docs/swagger-ui-bundle.js") * 20,
    "watches": head(f"{LIST}?watch=true"),
    "short answers": head("/openapi.json") * 200,
}


@pytest.mark.parametrize("request_", KINDS.values(), ids=KINDS.keys())
async def test_memory_is_bounded_by_the_setting_whatever_is_left_unread(process, request_):
    before = await process.ask("forget")
    async with nobody_reads(process.url, request_):
        await until(at_a_stand(process), what="answers that nobody reads")
        for _ in range(3):
            figures = await process.ask("replace")  # what is under way is kept by nobody else from now on
        assert figures["held_peak"] <= MOST
        assert figures["peak"] - before["memory"] <= MOST + SLACK
    await until(at_a_stand(process, empty=True), what="the end of all that waited")


async def test_a_thousand_watches_that_never_read_stay_within_the_bound_in_all(process):
    await process.ask("forget")
    async with nobody_reads(process.url, head(f"{LIST}?watch=true"), 1000):
        await until(at_a_stand(process), what="watches that nobody reads")
        for _ in range(3):
            figures = await process.ask("replace")
        assert MOST // 2 < figures["held_peak"] <= MOST
    await until(at_a_stand(process, empty=True), what="the end of all that waited")


def at_a_stand(process: Process, *, empty: bool = False) -> Callable[[], Awaitable[bool]]:
    """Asks whether nothing more is held than a moment ago."""
    looks: list[int] = []

    async def still() -> bool:
        looks.append((await process.ask())["held"])
        return len(set(looks[-5:])) == 1 < len(looks[-5:]) and (looks[-1] == 0) is empty

    return still


# --- pages -------------------------------------------------------------------------------------------------


@asynccontextmanager
async def listing(number: int, *, length: int = 400_000, **settings: Any) -> AsyncIterator[Served]:
    """So many clusters, each of about so many bytes."""
    async with serving(**settings) as served:
        for n in range(number):
            served.put(f"{n:08}-0000-4000-8000-000000000000", minute=n, padding="x" * length)
        yield served


NEXT = {
    "offset + limit of the answer": lambda page: page["offset"] + page["limit"],
    "offset + what it holds": lambda page: page["offset"] + len(page["clusters"]),
    "next_offset, where there is one": lambda page: page.get("next_offset", page["offset"] + 20),
}


@pytest.mark.parametrize("following", NEXT.values(), ids=NEXT.keys())
@pytest.mark.parametrize("path", [LIST, f"{LIST}/"], ids=["plain", "the ordinary way"])
async def test_pages_bounded_in_bytes_are_the_whole_list(following, path):
    async with listing(45, max_unread_each=2**20) as served:
        ids, offset, total = [], 0, 1
        while offset < total:
            answer = check(await served.client.get(f"{path}?limit=20&offset={offset}"), 200)
            assert len(answer.body) <= 2**20 + 1000
            page = answer.json
            total, offset = page["total"], following(page)
            ids += [cluster["id"] for cluster in page["clusters"]]
    assert [f"{n:08}-0000-4000-8000-000000000000" for n in reversed(range(45))] == ids


@pytest.mark.parametrize(
    ("length", "most", "limit", "more"),
    [
        pytest.param(400_000, 2**22, 10, {"next_offset": 10}, id="ten of 400 kB in 4 MiB"),
        pytest.param(400_000, 2**20, 2, {"next_offset": 2}, id="two in 1 MiB"),
        pytest.param(400_000, 1, 1, {"next_offset": 1}, id="one is shown however long it is"),
        pytest.param(100, 2**20, 20, {}, id="short ones: as many as were asked for"),
        pytest.param(10_000, 2**20, 20, {}, id="a long page that fits"),
    ],
)
async def test_a_page_says_when_it_holds_fewer_than_were_asked_for(length, most, limit, more):
    async with listing(30, length=length, max_unread_each=most) as served:
        page = (await served.client.list("?limit=20")).json
    held = page.pop("clusters")
    assert (limit, {"total": 30, "limit": limit, "offset": 0, **more}) == (len(held), page)


async def test_the_last_of_a_list_is_no_page_cut_short():
    async with listing(3, max_unread_each=2**20) as served:
        page = (await served.client.list("?limit=20&offset=2")).json
    assert (1, 20) == (len(page["clusters"]), page["limit"])
    assert "next_offset" not in page


async def test_long_answers_are_the_same_whoever_writes_them(raw_request):
    async with listing(9, length=50_000) as served:
        url = served.client.url
        ours = await raw_request(url, head(LIST))
        others = [
            await raw_request(url, head(f"{LIST}/")),
            await raw_request(url, head(LIST, "Connection: close")),
            await raw_request(url, head(LIST, "Connection: keep-alive", version="1.0")),
        ]
        shown = await served.client.request("HEAD", LIST)
    assert {ours.body} == {other.body for other in others}
    assert 9 == len(ours["clusters"])
    assert ours.headers["Content-Length"] == shown.headers["Content-Length"]


# --- room --------------------------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr("web.http.unread.ROOM_WITHIN", 0.1)


READS = {
    "a page": f"{LIST}?limit=3",
    "a page by the ordinary way": f"{LIST}/?limit=3",
    "a cluster": f"{LIST}/{ONE}",
    "a cluster by the ordinary way": f"{LIST}/{ONE}/",
    "a watch": f"{LIST}?watch=true",
}


@pytest.mark.parametrize("path", READS.values(), ids=READS.keys())
async def test_a_read_that_finds_no_room_is_turned_away(impatient, path):
    async with listing(3) as served:
        with served.runner.app[UNREAD].holding(48 * 2**20):
            answer = await served.client.get(path)
            check_error(answer, 503, "UNAVAILABLE")
            assert int(answer.headers["Retry-After"]) >= 1
        async with served.client.session.get(served.client.url + path, headers=BY_OWNER) as response:
            assert 200 == response.status


@pytest.mark.parametrize("path", READS.values(), ids=READS.keys())
async def test_a_read_waits_for_others_to_be_read(path):
    async with listing(3) as served:
        with served.runner.app[UNREAD].holding(48 * 2**20):
            asked = asyncio.create_task(served.client.session.get(served.client.url + path, headers=BY_OWNER))
            done, _ = await asyncio.wait({asked}, timeout=0.2)
            assert not done
            served.put(ONE, phase="Ready")  # it shows what is there when it is answered
        async with await asyncio.wait_for(asked, 10) as response:
            assert 200 == response.status
            async with asyncio.timeout(10):
                data = b""
                while b'"Ready"' not in data:
                    assert not response.content.at_eof()
                    data += await response.content.readany()


async def test_a_write_that_finds_no_room_is_not_done(impatient, monkeypatch):
    async with listing(1) as served:

        async def submit(*_: object, **__: object) -> None:
            pytest.fail("it was sent")

        monkeypatch.setattr(served.runner.app[SUBMITTER], "submit", submit)
        spec = {"platform": {"type": "gcp"}, "padding": "x" * 2 * SHORT}
        with served.runner.app[UNREAD].holding(48 * 2**20):
            for answer in (await served.client.update(ONE, spec), await served.client.create("one", spec)):
                check_error(answer, 503, "UNAVAILABLE")
                assert "waiting to be read" in answer["error"]


async def test_short_answers_are_given_while_long_ones_fill_their_part():
    async with listing(1, length=10) as served:
        with served.runner.app[UNREAD].holding(48 * 2**20):
            for path in (LIST, f"{LIST}/{ONE}", f"{LIST}/{ONE}/status", "/health", f"{LIST}/"):
                check(await served.client.get(path), 200)
            assert 404 == (await served.client.get("/nowhere")).status


@pytest.mark.parametrize(
    ("held", "length", "fits"),
    [
        pytest.param(0, 10**9, True, id="nothing waits: whatever it is"),
        pytest.param(1, 3 * 2**18, False, id="more than the part of long ones"),
        pytest.param(2**17, 2**19, True, id="a long one within their part"),
        pytest.param(2**19, 2**19, False, id="a long one beyond it"),
        pytest.param(2**20 - SHORT, SHORT, True, id="a short one beside them"),
        pytest.param(2**20 - SHORT + 1, SHORT, False, id="a short one too many"),
    ],
)
async def test_what_fits(held, length, fits):
    unread = Unread(2**20)
    with unread.holding(held):
        assert fits is unread.fits(length)
        if not fits:
            assert not await unread.room(length, within=0.01)
    assert 0 == unread.held


async def test_who_goes_while_an_answer_waits_is_counted_no_more():
    async with listing(10, write_timeout=timedelta(seconds=60)) as served:
        unread = served.runner.app[UNREAD]

        async def waits() -> bool:
            return unread.held > 0

        async with nobody_reads(served.client.url, head(LIST) * 8, 1):
            await until(waits, what="an answer that waits")
            assert unread.held <= 2 * 2**22

        async def gone() -> bool:
            return unread.held == 0

        await until(gone, what="the end of it")
