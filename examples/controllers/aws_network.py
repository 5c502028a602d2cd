"""aws-network: gives every cluster on AWS a VPC.

    KAFKA_BOOTSTRAP_SERVERS=localhost:9092 python -m examples.controllers.aws_network

The same shape as `gcp_network`, for another platform: nobody had to change Clusterflow for either of them.
`SIMULATED_FAILURES='*-03'` has its provider throttle the first attempts, which the framework reports and
tries again.
"""

from examples.controllers.cloud import Cloud
from examples.controllers.contract import Cluster, Done, Outcome
from examples.controllers.framework import ClusterflowApi, Controller, run
from examples.controllers.settings import Settings

DEFAULT_REGION = "us-east-1"


class AwsNetwork(Controller):
    """One VPC per cluster, unless the spec brings one along."""

    name = "aws-network"
    platforms = frozenset({"aws"})

    def __init__(self, settings: Settings, clusterflow: ClusterflowApi) -> None:
        super().__init__(settings, clusterflow)
        self._cloud = Cloud(settings)

    async def reconcile(self, cluster: Cluster) -> Outcome:
        """Have the VPC."""
        aws = cluster.spec["platform"].get("aws") or {}
        vpc = {
            "vpcId": aws.get("vpcId") or f"vpc-{cluster.id[:8]}",
            "region": aws.get("region") or DEFAULT_REGION,
        }
        changed = await self._cloud.ensure(cluster, vpc)
        return Done("VPC created" if changed else "VPC in place", metadata=vpc)

    async def tear_down(self, cluster: Cluster) -> None:
        """Have it gone."""
        await self._cloud.remove(cluster.id)


if __name__ == "__main__":
    run(AwsNetwork)
