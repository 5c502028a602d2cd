"""The demo as a user of Clusterflow: creates, changes and lists clusters over HTTP."""

import asyncio
import uuid
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import aiohttp
import msgspec

from examples.demo.errors import DemoFailure
from examples.demo.progress import SeenCluster

USER: Final = "demo@example.com"
AT_ONCE: Final = 10  # requests under way
PAGE: Final = 20  # small enough that the demo's list has several pages
UNAVAILABLE: Final = (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)


class _Status(msgspec.Struct):
    phase: str
    message: str


class _Cluster(msgspec.Struct):
    id: str
    name: str
    generation: int
    spec: dict[str, Any]
    status: _Status


class _Page(msgspec.Struct):
    clusters: list[_Cluster]
    total: int
    limit: int


class _Condition(msgspec.Struct):
    type: str
    status: str


class _Report(msgspec.Struct):
    controller_name: str
    observed_generation: int
    conditions: list[_Condition]


class _StatusView(msgspec.Struct):
    controllers: list[_Report]


class Fleet:
    """The demo user's clusters."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str) -> None:
        self._session = session
        self._url = f"{base_url}/api/v1/clusters"
        self._health = f"{base_url}/health"
        self._few = asyncio.Semaphore(AT_ONCE)

    async def healthy(self) -> bool:
        """Whether the API answers and has all it needs."""
        try:
            async with self._session.get(self._health) as response:
                return response.status == HTTPStatus.OK
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def create(self, name: str, platform: str) -> SeenCluster:
        """Create a cluster. Raises: DemoFailure."""
        body = {"name": name, "spec": {"platform": {"type": platform}}}
        return _seen(msgspec.json.decode(await self._write("POST", self._url, body), type=_Cluster))

    async def move(self, cluster: SeenCluster, base_domain: str) -> SeenCluster:
        """Change a cluster's spec: its DNS zone goes to another domain. Raises: DemoFailure."""
        body = {"spec": {"platform": {"type": cluster.platform}, "dns": {"baseDomain": base_domain}}}
        answer = await self._write("PUT", f"{self._url}/{cluster.id}", body)
        return _seen(msgspec.json.decode(answer, type=_Cluster))

    async def clusters(self) -> list[SeenCluster]:
        """All of them, page by page. Raises: DemoFailure, aiohttp.ClientError."""
        clusters: dict[str, SeenCluster] = {}
        total = 1
        offset = 0
        while offset < total:
            page = msgspec.json.decode(await self._read(f"?limit={PAGE}&offset={offset}"), type=_Page)
            clusters |= {cluster.id: _seen(cluster) for cluster in page.clusters}
            total, offset = page.total, offset + page.limit  # a page of long clusters holds fewer than asked
        return list(clusters.values())

    async def reports(self, clusters: Sequence[SeenCluster]) -> set[tuple[str, str, int, bool]]:
        """Cluster, controller, observed generation and whether it is available, of every report."""
        answers = await asyncio.gather(*(self._read(f"/{cluster.id}/status") for cluster in clusters))
        return {
            (cluster.id, report.controller_name, report.observed_generation, _available(report))
            for cluster, answer in zip(clusters, answers, strict=True)
            for report in msgspec.json.decode(answer, type=_StatusView).controllers
        }

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, str], Any]:
        """Any request below `/api/v1`: its status, its headers and its JSON."""
        url = self._url.removesuffix("/clusters") + path
        headers = {"X-User-Email": USER}
        async with (
            self._few,
            self._session.request(method, url, json=body, headers=headers) as response,
        ):
            return response.status, dict(response.headers), await response.json()

    async def _read(self, path: str) -> bytes:
        async with (
            self._few,
            self._session.get(self._url + path, headers={"X-User-Email": USER}) as response,
        ):
            body = await response.read()
        if response.status != HTTPStatus.OK:
            raise DemoFailure(f"GET {self._url}{path} answered {response.status}: {body.decode()}")
        return body

    async def _write(self, method: str, url: str, body: dict[str, Any]) -> bytes:
        """Write until it is answered: with the same key, a repeated write is the same write."""
        headers = {"X-User-Email": USER, "Idempotency-Key": str(uuid.uuid4())}
        while True:
            async with (
                self._few,
                self._session.request(method, url, json=body, headers=headers) as response,
            ):
                answer = await response.read()
            if response.status in (HTTPStatus.OK, HTTPStatus.CREATED):
                return answer
            if response.status not in UNAVAILABLE:
                raise DemoFailure(f"{method} {url} answered {response.status}: {answer.decode()}")
            await asyncio.sleep(float(response.headers.get("Retry-After", "1")))


def _seen(cluster: _Cluster) -> SeenCluster:
    return SeenCluster(
        id=cluster.id,
        name=cluster.name,
        platform=cluster.spec["platform"]["type"],
        generation=cluster.generation,
        phase=cluster.status.phase,
        message=cluster.status.message,
    )


def _available(report: _Report) -> bool:
    return any(each.type == "Available" and each.status == "True" for each in report.conditions)
