"""What the edge and all handlers find in their application and request, by typed key.

An object of a type of ours has its key beside that type, as `HealthMonitor` has.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from serving.kinds import Served
from serving.monitor import HealthMonitor
from serving.submit import Submitter
from web.settings import WebSettings

SETTINGS: Final = web.AppKey("settings", WebSettings)
HEALTH: Final = web.AppKey("health", HealthMonitor)
SUBMITTER: Final = web.AppKey("submitter", Submitter)

SERVED: Final = web.AppKey("served", dict[str, Served])
"""By kind, what this process serves it from."""

SLUGGED: Final = web.AppKey("slugged", tuple[str, ...])
"""The beginnings of paths whose errors have slugs as their codes."""

KINDS: Final = web.AppKey("kinds", dict[str, str])
"""The kind that a route's pattern is of, where it has one."""


@dataclass(slots=True)
class RequestState:
    """What is known of a request while it is under way, for its answer and the log.

    Attributes:
        started: On the clock of `perf_counter`.
        answered: When aiohttp began to write its answer, on the same clock.
        entity_id: Of a create, whose path has none.
        stream: How a watch went.
        trace: The headers of the trace that a write belongs to (`streams/trace.py`).
        limit: What its answer says of the limit of its route (`web/limiter/`).
    """

    request_id: str
    started: float
    answered: float | None = None
    entity_id: str | None = None
    stream: Mapping[str, Any] | None = None
    trace: Mapping[str, str] | None = None
    limit: Mapping[str, str] | None = None


REQUEST_STATE: Final = web.RequestKey("seen", RequestState)
