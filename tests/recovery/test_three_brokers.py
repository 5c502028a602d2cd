"""Recovery and its commands on three brokers of which one is away."""

from dataclasses import replace

import pytest

from database import DatabaseSettings
from deploy.embedded.kafka import Kafka
from recovery import RecoverySettings, rebuild
from tests.conftest import Brokers, Servers, until
from tests.e2e.product import SPEC, an_owner
from tests.recovery.site import a_site, mixed_traffic, stopped


@pytest.mark.parametrize("fails", [Kafka.pause, Kafka.kill])
async def test_workers_recover_and_commands_work_without_one(
    brokers: Brokers, servers: Servers, fails
) -> None:
    kafka, restored = await brokers.new_topics(), await brokers.new_topics()
    async with a_site(kafka, await servers.new_database()) as site:
        # given clusters that are written, and a broker that is away from then on
        roles = [await site.deployment.worker(), await site.sink()]
        owner = an_owner()
        api = await site.web(owner)
        traffic = await mixed_traffic(api)
        fails(brokers.node(2))

        # when workers, sinks and web processes begin anew, then they have recovered all, and write on
        await stopped(*roles)
        roles = [await site.deployment.worker(), await site.sink()]
        api = await site.web(owner)
        for cluster_id in traffic.live:

            async def written(cluster_id: str = cluster_id) -> bool:
                return (await api.update(cluster_id, {**SPEC, "size": 9})).status == 200

            await until(written, what="a write")  # its partition may still wait for a leader

        # and Kafka and PostgreSQL are found to be equal
        assert (await site.verify()).equal
        await stopped(*roles)

        # and what was stored is restored
        settings = RecoverySettings(kafka=restored, database=DatabaseSettings(url=site.database_url))
        rebuilt = await rebuild(replace(settings, page=3))
        assert (8, 6) == (rebuilt.clusters, rebuilt.live)
