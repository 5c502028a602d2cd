"""gcp-network: gives every cluster on GCP a VPC network. The place to see how a controller is written.

    KAFKA_BOOTSTRAP_SERVERS=localhost:9092 python -m examples.controllers.gcp_network

A controller says which events it wants and makes reality match one cluster's spec; everything else is in
`framework`.
"""

import re

from examples.controllers.cloud import Cloud
from examples.controllers.contract import Cluster, Done, Misconfigured, Outcome
from examples.controllers.framework import ClusterflowApi, Controller, run
from examples.controllers.settings import Settings

DEFAULT_REGION = "us-central1"
REGION = re.compile(r"[a-z]+-[a-z]+\d+")


class GcpNetwork(Controller):
    """One VPC network per cluster."""

    name = "gcp-network"  # also its consumer group, and how its reports are signed
    platforms = frozenset({"gcp"})  # events of other platforms are skipped by their header, unparsed

    def __init__(self, settings: Settings, clusterflow: ClusterflowApi) -> None:
        super().__init__(settings, clusterflow)
        self._cloud = Cloud(settings)  # in real life: the Compute Engine client

    async def reconcile(self, cluster: Cluster) -> Outcome:
        """Called for creates, updates and every few minutes between: asks for the whole state each time.

        Raising Transient has the framework try again later; Misconfigured tells the user to change the spec.
        """
        gcp = cluster.spec["platform"].get("gcp") or {}
        region = gcp.get("region") or DEFAULT_REGION
        if not REGION.fullmatch(region):
            raise Misconfigured("UnknownRegion", f"spec.platform.gcp.region: {region!r} is no region of GCP")
        network = {"network": gcp.get("network") or f"clusterflow-{cluster.id[:8]}", "region": region}
        changed = await self._cloud.ensure(cluster, network)
        return Done("VPC network created" if changed else "VPC network in place", metadata=network)

    async def tear_down(self, cluster: Cluster) -> None:
        """Called once the cluster is deleted. Gone already is fine: deletes come twice as well."""
        await self._cloud.remove(cluster.id)


if __name__ == "__main__":
    run(GcpNetwork)
