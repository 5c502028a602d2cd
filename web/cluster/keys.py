"""What the handlers of clusters find in their application, by typed key."""

from typing import Final

from aiohttp import web

from tables.cluster import ClusterEntry
from tables.feed import Feed
from web.cluster.reads import Reads
from web.cluster.writes import ClusterWrites

READS: Final = web.AppKey("cluster reads", Reads)
WRITES: Final = web.AppKey("cluster writes", ClusterWrites)
FEED: Final = web.AppKey("cluster feed", Feed[ClusterEntry])
