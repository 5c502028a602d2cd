"""What handlers find in their application and request, by typed key."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from tables.cluster import ClusterEntry
from tables.view import View
from web.health.monitor import HealthMonitor
from web.http.headers import Cors
from web.http.unread import Unread
from web.reads import Reads
from web.settings import WebSettings
from web.submit import Submitter

SETTINGS: Final = web.AppKey("settings", WebSettings)
VIEW: Final = web.AppKey("view", View[ClusterEntry])
SUBMITTER: Final = web.AppKey("submitter", Submitter)
HEALTH: Final = web.AppKey("health", HealthMonitor)
READS: Final = web.AppKey("reads", Reads)
CORS: Final = web.AppKey("cors", Cors)
UNREAD: Final = web.AppKey("unread", Unread)


@dataclass(slots=True)
class RequestState:
    """What is known of a request while it is under way, for its answer and the log.

    Attributes:
        started: On the clock of `perf_counter`.
        answered: When aiohttp began to write its answer, on the same clock.
        cluster_id: Of a create, whose path has none.
        stream: How a watch went.
    """

    request_id: str
    started: float
    answered: float | None = None
    cluster_id: str | None = None
    stream: Mapping[str, Any] | None = None


REQUEST_STATE: Final = web.RequestKey("seen", RequestState)
