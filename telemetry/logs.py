"""Log lines as JSON, one object a line: `ts`, `level`, `component`, `msg`, and the variables as members.

Messages are constant, variables go in `extra`; below the configured level nothing is built at all, because
Kafka clients build debug records by the thousand (docs/measured.md).
"""

import logging
import sys
import time
from typing import Any

from pythonjsonlogger.orjson import OrjsonFormatter

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}
# Libraries that narrate: their information is our debug.
_CHATTY = ("faust", "mode", "aiokafka", "asyncio", "streams", "tables")


def configure(*, level: str, json: bool, role: str) -> None:
    """Set up logging of this process; call once, before anything else logs."""
    threshold = _LEVELS[level]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(role) if json else logging.Formatter(_CONSOLE))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING) if level != "debug" else threshold)
    logging.disable(threshold - 1)


_CONSOLE = "%(asctime)s %(levelname)-7s %(name)s %(message)s"


def _formatter(role: str) -> OrjsonFormatter:
    return _Formatter(
        "{asctime}{levelname}{name}{message}",
        style="{",
        datefmt="%Y-%m-%dT%H:%M:%S",
        rename_fields={"asctime": "ts", "levelname": "level", "name": "component", "message": "msg"},
        static_fields={"service": "clusterflow", "role": role},
        json_default=str,
    )


class _Formatter(OrjsonFormatter):
    """Lower-case levels and UTC times with milliseconds."""

    converter = staticmethod(time.gmtime)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        return f"{super().formatTime(record, datefmt)}.{int(record.msecs):03d}Z"

    def process_log_record(self, log_record: Any) -> Any:
        log_record["level"] = log_record["level"].lower()
        return log_record
