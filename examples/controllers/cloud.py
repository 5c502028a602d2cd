"""A provider that exists in memory only: it takes its time, and refuses when the demo tells it to.

In a real controller the provider's SDK stands here. What the SDK has in common with this module is all that
matters to a controller: it can be asked for the same thing twice, and it can fail.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from fnmatch import fnmatch
from typing import Any

from examples.controllers.contract import Cluster, Transient
from examples.controllers.settings import Settings

CHECK_SHARE = 0.1  # looking whether something is in place costs a tenth of making it


class Cloud:
    """One kind of infrastructure at a provider, one piece per cluster."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._present: dict[str, Mapping[str, Any]] = {}
        self._refused: Counter[str] = Counter()

    async def ensure(self, cluster: Cluster, wanted: Mapping[str, Any]) -> bool:
        """Have the cluster's piece be as wanted; False if it already was.

        Raises: Transient: the provider refuses for now.
        """
        await asyncio.sleep(self._settings.simulated_work * CHECK_SHARE)
        if self._present.get(cluster.id) == wanted:
            return False
        self._refuse_at_first(cluster)
        await asyncio.sleep(self._settings.simulated_work)
        self._present[cluster.id] = dict(wanted)
        return True

    async def remove(self, cluster_id: str) -> None:
        """Have the cluster's piece be gone."""
        await asyncio.sleep(self._settings.simulated_work * CHECK_SHARE)
        self._present.pop(cluster_id, None)
        self._refused.pop(cluster_id, None)

    def _refuse_at_first(self, cluster: Cluster) -> None:
        unlucky = any(fnmatch(cluster.name, pattern) for pattern in self._settings.simulated_failures)
        attempts = self._settings.simulated_failed_attempts
        if unlucky and self._refused[cluster.id] < attempts:
            self._refused[cluster.id] += 1
            refused = self._refused[cluster.id]
            raise Transient("Throttled", f"the provider is busy (refusal {refused} of {attempts})")
