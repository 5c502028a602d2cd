"""Log lines: their form, their level, and what is kept out of them."""

import contextlib
import io
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import asyncpg
import orjson
import pytest
from aiohttp.http_exceptions import InvalidHeader

PROGRAM = """
import logging, sys
from telemetry import logs
logs.configure(level=sys.argv[1], json=sys.argv[2] == "json", role="test")
log = logging.getLogger("clusterflow.publisher")
for level in ("debug", "info", "warning", "error"):
    getattr(log, level)(level, extra={"topic": "t"})
    getattr(logging.getLogger("aiokafka.conn"), level)("aiokafka %s", level)
"""


def told(level: str, form: str) -> list[str]:
    command = [sys.executable, "-c", PROGRAM, level, form]
    return subprocess.run(command, check=True, capture_output=True, text=True).stderr.splitlines()


@pytest.mark.parametrize(
    ("level", "messages"),
    [
        pytest.param("error", ["error", "aiokafka error"], id="errors alone"),
        pytest.param("warn", ["warning", "aiokafka warning", "error", "aiokafka error"], id="warnings too"),
        pytest.param(
            "info", ["info", "warning", "aiokafka warning", "error", "aiokafka error"], id="ours too"
        ),
        pytest.param(
            "debug",
            ["debug", "info", "aiokafka info", "warning", "aiokafka warning", "error", "aiokafka error"],
            id="all but what Kafka's client says of records and passwords",
        ),
    ],
)
def test_the_level_decides_what_is_told(level, messages):
    assert messages == [orjson.loads(line)["msg"] for line in told(level, "json")]


def test_a_line_names_its_part_and_its_variables():
    line = orjson.loads(told("warn", "json")[0])
    assert line.pop("ts").endswith("Z")
    assert line == {
        "level": "warn",
        "component": "publisher",
        "msg": "warning",
        "service": "clusterflow",
        "role": "test",
        "topic": "t",
    }


def test_a_line_for_people_has_the_same():
    line = told("warn", "console")[0]
    assert line.split()[2:] == ["WARNING", "publisher", "warning", "topic=t"]


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_shows_no_row(form):
    from telemetry.logs import _CONSOLE, _Console, _json_lines

    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(_json_lines("test") if form == "json" else _Console(_CONSOLE))
    error = asyncpg.CheckViolationError("new row is refused")
    error.detail = "Failing row contains (hunter2)."
    assert "hunter2" in str(error)
    try:
        raise error
    except asyncpg.PostgresError:
        record = logging.LogRecord("clusterflow.x", logging.ERROR, __file__, 1, "failed", (), sys.exc_info())
    handler.emit(record)
    text = handler.stream.getvalue()
    assert "new row is refused" in text
    assert "hunter2" not in text


def test_a_traceback_shows_no_line_of_a_request():
    from telemetry.logs import _json_lines

    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(_json_lines("test"))
    try:
        raise InvalidHeader("Authorization: Bearer hunter2")
    except InvalidHeader:
        record = logging.LogRecord("aiohttp.server", logging.ERROR, __file__, 1, "failed", (), sys.exc_info())
    handler.emit(record)
    text = handler.stream.getvalue()
    assert "InvalidHeader" in text
    assert "hunter2" not in text


FREQUENT = """
import asyncio, logging
from telemetry import logs
logs.configure(level="info", json=True, role="test")
log = logging.getLogger("clusterflow.api_server")

async def main():
    variables = {"number": 1, "text": "ü", "nothing": None, "part": 0.5}
    log.info("request", extra=variables)
    logs.write_line(log, "request", variables)
    await asyncio.sleep(0)
    log.info("after")
    logs.write_line(log, "last", variables)

asyncio.run(main())
"""


def test_a_frequent_line_is_as_any_other_and_in_its_place():
    done = subprocess.run([sys.executable, "-c", FREQUENT], check=True, capture_output=True, text=True)
    record, frequent, after, last = map(orjson.loads, done.stderr.splitlines())
    assert record.pop("ts")[:10] == frequent["ts"][:10]
    assert len(frequent.pop("ts")) == len("2026-01-01T00:00:00.000Z")
    assert record == frequent
    assert list(record) == list(frequent)
    assert ("after", "last") == (after["msg"], last["msg"])


TURNS = """
import asyncio, logging
from telemetry import logs
logs.configure(level="info", json=True, role="test")
log = logging.getLogger("clusterflow.api_server")

async def main():
    for number in range(3):
        logs.write_line(log, "first turn", {"number": number})
    await asyncio.sleep(0)
    logs.write_line(log, "second turn", {"number": 3})
    log.info("record")
    logs.write_line(log, "last", {"number": 4})

asyncio.run(main())
"""


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_what_one_turn_tells_is_one_write_and_a_record_comes_behind_it(unbuffered):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)  # each write is a datagram
    with ours, theirs:
        environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        subprocess.run([sys.executable, "-c", TURNS], check=True, stderr=theirs, env=environment)
        ours.setblocking(False)
        writes = [[orjson.loads(line)["msg"] for line in write.splitlines()] for write in received(ours)]
    first, *rest = writes
    assert ["first turn"] * 3 == first
    assert ["second turn", "record", "last"] == [msg for write in rest for msg in write]


def received(end: socket.socket) -> Iterator[bytes]:
    with contextlib.suppress(BlockingIOError):
        while True:
            yield end.recv(65536)


def test_a_frequent_line_for_people_is_a_record():
    program = FREQUENT.replace("json=True", "json=False")
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    lines = [line.split()[2:] for line in done.stderr.splitlines()]
    assert lines[0] == lines[1]


def test_a_frequent_line_that_nobody_takes_ends_nothing():
    ended = "import os; os.close(2); asyncio.run(main()); print('done')"
    program = FREQUENT.replace("asyncio.run(main())", ended)
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert "done" in done.stdout
