"""The load generator against a server of ours: what it counts, and from when on."""

import asyncio
import contextlib
import itertools
import os
import re
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from bench.load import MOMENT, NUMBER, Load, LoadFailed, Unanswered, run
from bench.stage import HOST
from bench.wire import request_bytes

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Answering = Callable[[bytes], Awaitable[bytes]]


@contextlib.asynccontextmanager
async def serving(answer: Answering) -> AsyncIterator[int]:
    async def serve(reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(re.search(rb"Content-Length: (\d+)", head)[1])
                writer.write(await answer(head + await reader.readexactly(length)))
        writer.close()

    server = await asyncio.start_server(serve, HOST, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def load(port, *, request=None, **others):
    requests = [request or request_bytes("GET", "/", email="a@example.com")]
    return Load(port, requests, **{"seconds": 0.5, "connections": 2, "settle": 0.0, **others})


async def loaded(answer, *pids, **others):
    async with serving(answer) as port:
        return await asyncio.to_thread(run, load(port, **others), *pids)


async def at_once(_):
    return OK


async def test_a_closed_loop_counts_an_answer_for_each_latency():
    found = await loaded(at_once)

    assert found.per_second == len(found.latencies) / 0.5
    assert found.spread.count > 20


@pytest.mark.parametrize("settle", [0.0, 0.5], ids=["all counts", "half of it does not count"])
async def test_each_request_has_its_part_of_the_processor_time(settle):
    # given a server in this process, and what this process takes for the whole load
    before = time.process_time()
    found = await loaded(at_once, os.getpid(), settle=settle)
    taken = time.process_time() - before

    # then requests that were not counted have taken their part of it
    counted = found.cpu_micros * len(found.latencies) / 1e6
    assert counted == pytest.approx(taken / (1 + settle / 0.5), abs=0.1)
    assert counted > 0


async def test_an_open_loop_keeps_its_rate():
    found = await loaded(at_once, rate=100.0)

    assert 50 == len(found.latencies)


async def test_a_server_that_stalls_makes_everything_wait_that_was_due_meanwhile():
    """given a server that stands still once, for 0.3 s of half a second, and 100 requests due a second
    then 30 of the 50 have waited, though at two connections only two were ever sent into the stall
    """
    stalls_at = time.monotonic() + 0.1
    stalled = False

    async def answer(_):
        nonlocal stalled
        if not stalled and time.monotonic() >= stalls_at:
            stalled = True
            time.sleep(0.3)  # noqa: ASYNC251  # the whole server, not one answer
        return OK

    found = await loaded(answer, rate=100.0)

    assert len([latency for latency in found.latencies if latency > 0.05]) >= 20
    assert found.spread.p50 > 50


async def test_each_sending_has_its_number_and_the_moment_it_was_due():
    seen = []

    async def answer(request):
        body = request.rpartition(b"\r\n\r\n")[2]
        number, moment = re.fullmatch(rb'\{"number": "(\d{10})", "at": "(\d{16})"\}', body).groups()
        seen.append((int(number), int(moment) / 1e6))
        return OK

    before = time.time()
    body = {"number": NUMBER, "at": MOMENT}
    request = request_bytes("PUT", "/", email="a@example.com", body=body)
    await loaded(answer, request=request, rate=40.0, connections=1, first=700)

    assert list(range(700, 720)) == [number for number, _ in seen]
    gaps = [after - at for (_, at), (_, after) in itertools.pairwise(seen)]
    assert all(gap == pytest.approx(1 / 40, abs=1e-4) for gap in gaps)
    assert before <= seen[0][1] <= time.time()


async def test_a_refusal_ends_the_load_and_is_shown():
    async def answer(_):
        return b"HTTP/1.1 409 Conflict\r\nContent-Length: 4\r\n\r\nnope"

    with pytest.raises(LoadFailed, match="409 Conflict"):
        await loaded(answer)


async def test_a_server_that_hangs_up_ends_the_load():
    async def answer(_):
        raise ConnectionResetError

    with pytest.raises(LoadFailed, match="hung up"):
        await loaded(answer)


async def test_without_an_answer_in_time_there_is_no_figure():
    async def answer(_):
        await asyncio.sleep(1.0)
        return OK

    with pytest.raises(Unanswered, match="not one"):
        await loaded(answer)
