"""What the three controllers do for a cluster."""

from dataclasses import replace

import pytest

from examples.controllers.api import ClusterflowApi, ClusterStatus, Condition, ControllerReport
from examples.controllers.aws_network import AwsNetwork
from examples.controllers.contract import Cluster, Done, Misconfigured, Outcome, Skipped, Transient, Waiting
from examples.controllers.dns import Dns
from examples.controllers.gcp_network import GcpNetwork
from examples.controllers.handler import Controller
from tests.examples.given import SETTINGS, cluster

QUICK = replace(SETTINGS, simulated_work=0.0)


class Api(ClusterflowApi):
    """Answers every question alike."""

    def __init__(self, answer: ClusterStatus | None = None) -> None:
        self.answer = answer

    async def status(self, cluster_id: str) -> ClusterStatus | None:
        return self.answer


def network_report(available: str, generation: int, name: str = "gcp-network") -> ClusterStatus:
    return ClusterStatus([ControllerReport(name, generation, [Condition("Available", available)])])


async def reconciled(controller: Controller, *clusters: Cluster) -> list[Outcome]:
    return [await controller.reconcile(each) for each in clusters]


def message(outcome: Outcome) -> str:
    assert isinstance(outcome, Done)
    return outcome.message


async def test_the_same_spec_again_finds_the_network_in_place() -> None:
    outcomes = await reconciled(GcpNetwork(QUICK, Api()), cluster(), cluster())
    assert [message(outcome) for outcome in outcomes] == ["VPC network created", "VPC network in place"]


async def test_a_new_region_moves_the_network() -> None:
    moved = cluster(2)
    moved.spec["platform"]["gcp"] = {"region": "europe-west1"}
    first, second = await reconciled(GcpNetwork(QUICK, Api()), cluster(), moved)
    assert isinstance(second, Done)
    assert (message(first), second.metadata["region"]) == ("VPC network created", "europe-west1")


async def test_a_region_that_gcp_does_not_have_is_the_users_to_change() -> None:
    elsewhere = cluster()
    elsewhere.spec["platform"]["gcp"] = {"region": "Atlantis"}
    with pytest.raises(Misconfigured, match=r"spec\.platform\.gcp\.region"):
        await reconciled(GcpNetwork(QUICK, Api()), elsewhere)


async def test_simulated_failures_refuse_the_first_attempts_of_the_named_clusters_only() -> None:
    controller = AwsNetwork(replace(QUICK, simulated_failures=("o*",), simulated_failed_attempts=2), Api())
    other = Cluster(id="other", name="two", generation=1, spec={"platform": {"type": "aws"}})
    for _ in range(2):
        with pytest.raises(Transient, match="busy"):
            await reconciled(controller, cluster(platform="aws"))
    outcomes = await reconciled(controller, cluster(platform="aws"), other)
    assert [message(outcome) for outcome in outcomes] == ["VPC created", "VPC created"]


@pytest.mark.parametrize(
    ("given", "then"),
    [
        pytest.param(None, Skipped, id="the API doesn't know the cluster"),
        pytest.param(ClusterStatus([]), Waiting, id="no network yet"),
        pytest.param(network_report("False", 2), Waiting, id="network not ready"),
        pytest.param(network_report("True", 1), Waiting, id="network ready at an older generation"),
        pytest.param(network_report("True", 2, "aws-network"), Waiting, id="another platform's network"),
        pytest.param(network_report("True", 2), Done, id="network ready at this generation"),
    ],
)
async def test_dns_waits_for_the_network_of_its_platform(given: ClusterStatus | None, then: type) -> None:
    [outcome] = await reconciled(Dns(QUICK, Api(given)), cluster(2))
    assert isinstance(outcome, then)
