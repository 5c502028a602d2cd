"""Roles: a port that is taken ends one, and two workers are one clock (sections 6 and 11)."""

import asyncio
import json
from collections import Counter
from datetime import timedelta

import pytest

from domain.policy import Policy
from tests.conftest import until
from tests.e2e.product import Deployment, an_owner, free_port


async def test_a_taken_port_ends_the_role(product):
    """Defect 32: the original logs a failed bind and lives on."""
    port = free_port()
    async with await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", port):
        with pytest.raises(OSError, match=str(port)):
            await product.web(port=port)


async def test_two_workers_announce_each_cluster_once(servers):
    """Defect 24: the original's replicas each schedule, so every event comes once per replica."""
    hour = timedelta(hours=1)
    policy = Policy(attention_interval=hour, stable_interval=hour)
    async with Deployment(await servers.new_topics(), policy=policy) as deployment:
        for _ in range(2):
            await deployment.worker(tick_interval=timedelta(seconds=0.2))
        api = await deployment.web(an_owner())
        ids = {(await api.created(f"c{n}"))["id"] for n in range(12)}
        events, ticks = deployment.log("cluster-events"), deployment.log("reconcile-ticks")

        async def told():
            bodies = [json.loads(record.value) for record in await events.read()]
            return Counter(body["cluster_id"] for body in bodies if body["type"] == "cluster.reconcile")

        async def all_told():
            return ids == (await told()).keys()

        await until(all_told, what="a reconcile of every cluster")
        seen = Counter(record.partition for record in await ticks.read())

        async def ten_ticks_later():
            now = Counter(record.partition for record in await ticks.read())
            return all(now[partition] >= seen[partition] + 10 for partition in range(4))

        await until(ten_ticks_later, what="ten more ticks of each partition")
        assert dict.fromkeys(ids, 1) == await told()
