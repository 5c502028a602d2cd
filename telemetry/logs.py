"""Log lines as JSON, one object a line: `ts`, `level`, `component`, `msg`, and the variables as members.

Messages are constant, variables go in `extra`: ids, names, counts and times, never a spec, a body, a DSN or
an argument of a statement. Below the configured level nothing is built at all, because Kafka clients build
debug records by the thousand (docs/measured.md).
"""

import asyncio
import contextlib
import logging
import re
import sys
import time
from collections.abc import Mapping
from functools import lru_cache
from types import TracebackType
from typing import Any, Final, TextIO

import orjson
from aiohttp.http_exceptions import HttpProcessingError
from pythonjsonlogger.orjson import OrjsonFormatter

from telemetry.repeats import Repeats

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}
_NAMES: Final = {"WARNING": "warn"}

OURS: Final = "clusterflow."
"""What our loggers' names begin with; the rest is the component."""

# Libraries that narrate: their information is our debug, and their debug is nobody's, for it holds records
# and credentials.
_CHATTY: Final = ("faust", "mode", "aiokafka", "asyncio")

# PostgreSQL shows the row at hand.
_DETAIL: Final = re.compile(r"^DETAIL:.*$", re.MULTILINE)

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def configure(*, level: str, json: bool, role: str) -> None:
    """Set up logging of this process; call once, before anything else logs."""
    threshold = _LEVELS[level]
    handler = _JsonHandler(role) if json else logging.StreamHandler(sys.stderr)
    if not json:
        handler.setFormatter(_Console(_CONSOLE))
    handler.addFilter(Repeats(*_CHATTY, "aiohttp"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(
            logging.INFO if level == "debug" else max(threshold, logging.WARNING)
        )
    logging.disable(threshold - 1)


def write_line(log: logging.Logger, message: str, variables: Mapping[str, Any]) -> None:
    """`log.info(message, extra=variables)`, for what comes with every request, at a tenth of its cost.

    The line is the same. If our JSON handler is the only one, no record is made for it, and the lines of one
    turn of the event loop are written together. It must be called on the loop.

    Args:
        log: Enabled for level info; callers check before they build the variables.
        variables: At least one: numbers, None, and text that can be encoded; no name of a record's attribute.
    """
    match logging.root.handlers:
        case [_JsonHandler() as only]:
            only.write_line(log.name, message, variables)
        case _:
            log.info(message, extra=dict(variables))


class _JsonHandler(logging.StreamHandler[TextIO]):
    """Writes JSON lines, of records and without."""

    def __init__(self, role: str) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(_json_lines(role))
        self._static = _static(role)
        self._begun = lru_cache(maxsize=8)(self._beginning)
        self._pending: list[bytes] = []  # not the stream's own buffer: PYTHONUNBUFFERED takes that away

    def write_line(self, name: str, message: str, variables: Mapping[str, Any]) -> None:
        """Write a line at level info with the others of this turn of the loop."""
        now = time.time()
        second = int(now)
        before, after = self._begun(second, name, message)
        told = orjson.dumps(variables, option=orjson.OPT_APPEND_NEWLINE)
        if not self._pending:
            asyncio.get_running_loop().call_soon(self._written)
        self._pending.append(b"%b%03d%b%b" % (before, int((now - second) * 1000), after, told[1:]))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, behind what was told before it."""
        self._write_pending()
        super().emit(record)

    def flush(self) -> None:
        """Write out what was told; `logging.shutdown` does so too."""
        self._write_pending()
        super().flush()

    def _written(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # nobody takes the log: no fault of who is served
            self.flush()

    def _write_pending(self) -> None:
        self.acquire()
        try:
            if not self._pending:
                return
            taken = self._pending[:]
            del self._pending[: len(taken)]  # records come from any thread, and the loop tells more meanwhile
            self.stream.buffer.write(b"".join(taken))
        finally:
            self.release()

    def _beginning(self, second: int, name: str, message: str) -> tuple[bytes, bytes]:
        """A line before its milliseconds, and behind them up to its variables."""
        begun = {
            "level": "info",
            "component": name.removeprefix(OURS),
            "msg": message,
            **self._static,
        }
        ts = time.strftime(_TIME, time.gmtime(second))
        return f'{{"ts":"{ts}.'.encode(), b'Z",' + orjson.dumps(begun)[1:-1] + b","


_TIME: Final = "%Y-%m-%dT%H:%M:%S"
_CONSOLE: Final = "%(asctime)s %(levelname)-8s %(component)-25s %(message)s"

# What every record has; the rest are the variables.
_COMMON: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "component"}


def _static(role: str) -> dict[str, str]:
    return {"service": "clusterflow", "role": role}


def _json_lines(role: str) -> OrjsonFormatter:
    return _JsonLines(
        "{asctime}{levelname}{name}{message}",
        style="{",
        datefmt=_TIME,
        rename_fields={"asctime": "ts", "levelname": "level", "name": "component", "message": "msg"},
        static_fields=_static(role),
        json_default=str,
    )


class _Discreet(logging.Formatter):
    """Tracebacks without the rows that PostgreSQL puts into its errors, and without lines of HTTP heads."""

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802
        if isinstance(ei[1], HttpProcessingError):  # its text quotes the header at fault, credentials too
            return f"{type(ei[1]).__name__}: not shown"
        return _DETAIL.sub("DETAIL: not shown", super().formatException(ei))


class _JsonLines(_Discreet, OrjsonFormatter):
    """Levels as LOG_LEVEL has them, and UTC times with milliseconds."""

    converter = staticmethod(time.gmtime)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        return f"{super().formatTime(record, datefmt)}.{int(record.msecs):03d}Z"

    def process_log_record(self, log_record: Any) -> Any:
        level = log_record["level"]
        log_record["level"] = _NAMES.get(level, level.lower())
        log_record["component"] = log_record["component"].removeprefix(OURS)
        return log_record


class _Console(_Discreet):
    """A line for people, the variables behind the message."""

    def format(self, record: logging.LogRecord) -> str:
        record.component = record.name.removeprefix(OURS)
        line, *more = super().format(record).split("\n")
        variables = (f"{name}={value}" for name, value in vars(record).items() if name not in _COMMON)
        return "\n".join([" ".join([line, *variables]), *more])
