"""The one question controllers put to Clusterflow's API: how far are the others with a cluster?"""

from http import HTTPStatus

import aiohttp
import msgspec

from examples.controllers.contract import Transient


class Condition(msgspec.Struct, frozen=True):
    """One aspect a controller reports on."""

    type: str
    status: str


class ControllerReport(msgspec.Struct, frozen=True):
    """The last report of one controller."""

    controller_name: str
    observed_generation: int
    conditions: list[Condition]


class ClusterStatus(msgspec.Struct, frozen=True):
    """What all controllers said of a cluster."""

    controllers: list[ControllerReport]

    def ready(self, controller: str, *, generation: int) -> bool:
        """Whether a controller reported `Available=True` for exactly this generation."""
        return any(
            condition.type == "Available" and condition.status == "True"
            for report in self.controllers
            if report.controller_name == controller and report.observed_generation == generation
            for condition in report.conditions
        )


class ClusterflowApi:
    """Clusterflow's REST API as a controller sees it."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, controller: str) -> None:
        self._session = session
        self._base_url = base_url
        self._identity = {"X-User-Email": f"{controller}@system.local"}

    async def status(self, cluster_id: str) -> ClusterStatus | None:
        """A cluster's status; None when the API doesn't know the cluster.

        Raises: Transient: the API answers, but not with a status. aiohttp.ClientError, TimeoutError: it
        doesn't answer.
        """
        url = f"{self._base_url}/api/v1/clusters/{cluster_id}/status"
        async with self._session.get(url, headers=self._identity) as response:
            body = await response.read()
        if response.status == HTTPStatus.NOT_FOUND:
            return None
        if response.status != HTTPStatus.OK:
            raise Transient("ApiUnavailable", f"GET {url} answered {response.status}: {body[:200]!r}")
        return msgspec.json.decode(body, type=ClusterStatus)
