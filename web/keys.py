"""What handlers find in their application and request, by typed key."""

from typing import Any, Final

from aiohttp import web

from tables.views import ClusterView
from web.headers import Cors
from web.health import Health
from web.reads import Reads
from web.settings import WebSettings
from web.submit import Submitter

SETTINGS: Final = web.AppKey("settings", WebSettings)
VIEW: Final = web.AppKey("view", ClusterView)
SUBMITTER: Final = web.AppKey("submitter", Submitter)
HEALTH: Final = web.AppKey("health", Health)
READS: Final = web.AppKey("reads", Reads)
CORS: Final = web.AppKey("cors", Cors)

REQUEST_ID: Final = web.RequestKey("request_id", str)
CLUSTER_ID: Final = web.RequestKey("cluster_id", str)  # of a create, whose path has none
STARTED: Final = web.RequestKey("started", float)  # on the clock of `perf_counter`
ANSWERED: Final = web.RequestKey("answered", float)  # when its headers were ready
STREAM: Final = web.RequestKey("stream", dict[str, Any])  # how a watch went, for the log
