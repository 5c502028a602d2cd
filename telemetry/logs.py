"""Log lines as JSON, one object a line: `ts`, `level`, `component`, `msg`, and the variables as members.

Messages are constant, variables go in `extra`: ids, names, counts and times, never a spec, a body, a DSN or
an argument of a statement. Below the configured level nothing is built at all, because Kafka clients build
debug records by the thousand (docs/measured.md).
"""

import logging
import re
import sys
import time
from types import TracebackType
from typing import Any, Final

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
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_json_lines(role) if json else _Console(_CONSOLE))
    handler.addFilter(Repeats(*_CHATTY))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(
            logging.INFO if level == "debug" else max(threshold, logging.WARNING)
        )
    logging.disable(threshold - 1)


_CONSOLE: Final = "%(asctime)s %(levelname)-8s %(component)-25s %(message)s"

# What every record has; the rest are the variables.
_COMMON: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "component"}


def _json_lines(role: str) -> OrjsonFormatter:
    return _JsonLines(
        "{asctime}{levelname}{name}{message}",
        style="{",
        datefmt="%Y-%m-%dT%H:%M:%S",
        rename_fields={"asctime": "ts", "levelname": "level", "name": "component", "message": "msg"},
        static_fields={"service": "clusterflow", "role": role},
        json_default=str,
    )


class _Discreet(logging.Formatter):
    """Tracebacks without the rows that PostgreSQL puts into its errors."""

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802
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
