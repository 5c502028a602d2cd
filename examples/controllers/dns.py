"""dns: gives every cluster, whatever its platform, its DNS zone, once the cluster has a network.

    export KAFKA_BOOTSTRAP_SERVERS=localhost:9092 CLUSTERFLOW_API_URL=http://localhost:8080
    python -m examples.controllers.dns

Shows how one controller builds on another: it reads the other's report through the API and, where it isn't
ready yet, says so and goes on with other clusters. Nobody waits: Clusterflow announces a cluster again
until it is settled.
"""

from examples.controllers.cloud import Cloud
from examples.controllers.contract import Cluster, Done, Outcome, Skipped, Waiting
from examples.controllers.framework import ClusterflowApi, Controller, run
from examples.controllers.settings import Settings

BASE_DOMAIN = "clusters.example.com"


class Dns(Controller):
    """One zone per cluster."""

    name = "dns"
    platforms = None  # all of them, also those that don't exist yet

    def __init__(self, settings: Settings, clusterflow: ClusterflowApi) -> None:
        super().__init__(settings, clusterflow)
        self._cloud = Cloud(settings)

    async def reconcile(self, cluster: Cluster) -> Outcome:
        """Have the zone, after the platform's network controller is done with this very generation."""
        status = await self.clusterflow.status(cluster.id)
        if status is None:  # deleted meanwhile, or created so lately that the API doesn't know yet
            return Skipped("the API doesn't know the cluster")
        network = f"{cluster.platform}-network"
        if not status.ready(network, generation=cluster.generation):
            return Waiting("NetworkNotReady", f"waiting for {network} at generation {cluster.generation}")
        domain = (cluster.spec.get("dns") or {}).get("baseDomain") or BASE_DOMAIN
        zone = {"zone": f"{cluster.name}.{domain}"}
        changed = await self._cloud.ensure(cluster, zone)
        return Done("DNS zone created" if changed else "DNS zone in place", metadata=zone)

    async def tear_down(self, cluster: Cluster) -> None:
        """Have it gone; the network may be gone before."""
        await self._cloud.remove(cluster.id)


if __name__ == "__main__":
    run(Dns)
