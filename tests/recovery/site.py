"""A deployment with a database: everything that a write passes, compared, damaged, lost and refilled."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import asyncpg

import sinks
from database import DatabaseSettings
from domain.policy import Policy
from migrations import migrate
from recovery import RecoverySettings, Verified, verify
from sinks import SinkSettings
from streams.secrets import Keyring
from streams.settings import KafkaSettings
from tests.e2e.product import SPEC, Client, Deployment, Role, available

KEYRING = Keyring({"k1": b"1" * 32})
POLICY = Policy(reconcile_enabled=False)  # what a test sees is what it did

TABLES = {
    "clusters": "id",
    "controller_status": "cluster_id, controller_name",
    "reconciliation_schedule": "cluster_id",
    "cluster_events": "id",
}


@dataclass
class Site:
    """A deployment and the database of its sink."""

    deployment: Deployment
    database_url: str

    @property
    def settings(self) -> RecoverySettings:
        """In pages so small that each test has several."""
        return RecoverySettings(
            kafka=self.deployment.kafka,
            database=DatabaseSettings(url=self.database_url),
            wait=timedelta(seconds=20),
            page=3,
        )

    async def sink(self, group: str = "sink") -> Role:
        """A sink; one on another database needs another group, or the two would share the partitions."""
        settings = SinkSettings(
            kafka=self.deployment.kafka,
            database=DatabaseSettings(url=self.database_url),
            group_id=self.deployment.kafka.topics.prefix + group,
            max_backoff=0.5,
        )
        return await self.deployment._run(
            lambda stop, ready: sinks.run(settings, stop=stop, ready=lambda said: ready(lambda: said))
        )

    async def web(self, email: str) -> Client:
        return await self.deployment.web(email, keyring=KEYRING)

    async def verify(self, *, repair: bool = False, **settings: Any) -> Verified:
        return await verify(replace(self.settings, **settings), repair=repair)

    async def sql(self, query: str, *args: Any) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.database_url)
        try:
            return await connection.fetch(query, *args)
        finally:
            await connection.close()

    async def tables(self) -> dict[str, list[tuple[Any, ...]]]:
        """All that the sink has written, positions excepted; without `updated_at` of schedules, see there."""
        return {
            table: [
                tuple(value for name, value in row.items() if (table, name) != _FREE)
                for row in await self.sql(f"SELECT * FROM {table} ORDER BY {order}")
            ]
            for table, order in TABLES.items()
        }


_FREE = ("reconciliation_schedule", "updated_at")


@asynccontextmanager
async def a_site(kafka: KafkaSettings, database_url: str, *, policy: Policy = POLICY) -> AsyncIterator[Site]:
    await migrate(database_url)
    async with Deployment(kafka, policy=policy) as deployment:
        yield Site(deployment, database_url)


@dataclass(frozen=True)
class Traffic:
    """Ids of the clusters that `mixed_traffic` leaves behind, by what became of them."""

    fresh: str
    updated: str
    ready: str
    failing: str
    secret: str
    deleted: str
    reborn: str  # under the name of one that was deleted
    unborn: str  # that one

    @property
    def live(self) -> set[str]:
        return {self.fresh, self.updated, self.ready, self.failing, self.secret, self.reborn}

    @property
    def gone(self) -> set[str]:
        return {self.deleted, self.unborn}


async def mixed_traffic(api: Client) -> Traffic:
    """Each kind of write at least once."""

    async def created(name: str, **spec: Any) -> str:
        cluster_id: str = (await api.created(name, {**SPEC, **spec}))["id"]
        return cluster_id

    fresh = await created(
        "fresh", note="Größe ✓", numbers=[1.0, 1e22, -0.5, 10**20], nested={"b": 1, "a": []}
    )
    updated = await created("updated")
    for size in (2, 3):
        assert 200 == (await api.update(updated, {**SPEC, "size": size})).status
    ready = await created("ready")
    for controller in ("dns", "infra"):
        report = {"conditions": available(severity="Info"), "metadata": {"zone": {"z": 1, "a": 2}}}
        assert (await api.report(ready, controller_name=controller, **report))["applied"]
    failing = await created("failing")
    error = {"message": "no quota", "errorType": "Fatal", "retryAfter": "30s", "details": {"quota": 0}}
    await api.report(failing, conditions=available("False"), last_error=error)
    secret = await created("secret", serviceAccountSigningKey="LS0tLS1CRUdJTg==")
    deleted, unborn = await created("deleted"), await created("twice")
    for cluster_id in (deleted, unborn):
        await api.report(cluster_id, conditions=available())
        assert (await api.delete(cluster_id, force=True)).status in (200, 202, 204)
    return Traffic(fresh, updated, ready, failing, secret, deleted, await created("twice"), unborn)


async def stopped(*roles: Role) -> None:
    await asyncio.gather(*[role.end() for role in roles])
