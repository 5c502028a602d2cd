"""Prepared requests that write, for `bench.load`: different each time, and of the usual size.

Those to clusters go to the fleet of `bench.fleet`, so nothing has to be created first; the resources that are
updated come from `bench.records`.
"""

from typing import Final, Literal

from bench.fleet import PLATFORMS, cluster_id, owner, resource_id
from bench.load import MOMENT, NUMBER
from bench.wire import request_bytes

Kind = Literal["PUT cluster", "PUT status", "POST cluster", "PUT resource", "POST resource", "POST droplet"]
CLUSTER_KINDS: Final[tuple[Kind, ...]] = ("PUT cluster", "PUT status", "POST cluster")
RESOURCE_KINDS: Final[tuple[Kind, ...]] = ("PUT resource", "POST resource")

CONTROLLER: Final = "bench@system.local"
OWNER: Final = "bench@example.com"
DESCRIPTION: Final = "what it is for, in a sentence or two " * 4


def spec() -> dict[str, object]:
    """A spec with the number of its sending and the moment it was due; on the first platform of the fleet."""
    return {
        "infraID": "bench",
        "platform": {
            "type": PLATFORMS[0],
            PLATFORMS[0]: {"projectID": "bench-project", "region": "us-central1", "network": "default"},
        },
        "release": {"image": "quay.io/release:4.17.0", "version": "4.17.0", "channelGroup": "stable"},
        "networking": {
            "clusterNetwork": [{"cidr": "10.128.0.0/14", "hostPrefix": 23}],
            "serviceNetwork": ["172.30.0.0/16"],
        },
        "dns": {"baseDomain": f"n{NUMBER}.example.com"},
        "sentAt": MOMENT,
    }


def report(number: int) -> dict[str, object]:
    """A controller's report on generation 1 that turns from true to false and back."""
    condition = {
        "type": "Available",
        "status": str(number % 2 == 0),
        "reason": "Measured",
        "message": f"number {NUMBER} at {MOMENT}",
    }
    return {"controller_name": "bench", "observed_generation": 1, "conditions": [condition]}


def resource() -> dict[str, object]:
    """What is written of a resource: about 200 bytes, with the number and the moment of its sending."""
    return {"name": f"resource {NUMBER}", "description": f"{DESCRIPTION}sent at {MOMENT}"}


def requests(kind: Kind, count: int) -> list[bytes]:
    """Requests of a kind: to those of `count` clusters on the first platform, or to `count` resources."""
    numbers = range(0, count, len(PLATFORMS))
    match kind:
        case "PUT cluster":
            body: dict[str, object] = {"spec": spec()}
            return [
                request_bytes("PUT", f"/api/v1/clusters/{cluster_id(n)}", email=owner(n), body=body)
                for n in numbers
            ]
        case "PUT status":
            return [
                request_bytes(
                    "PUT", f"/api/v1/clusters/{cluster_id(n)}/status", email=CONTROLLER, body=report(turn)
                )
                for turn in range(2)
                for n in numbers
            ]
        case "POST cluster":
            body = {"name": f"bench-{NUMBER}", "spec": spec()}
            return [request_bytes("POST", "/api/v1/clusters", email=OWNER, body=body)]
        case "PUT resource":
            paths = [f"/api/v1/resources/{resource_id(n)}" for n in range(count)]
            return [request_bytes("PUT", path, email=OWNER, body=resource()) for path in paths]
        case "POST resource":
            return [request_bytes("POST", "/api/v1/resources", email=OWNER, body=resource())]
        case "POST droplet":
            body = {"name": f"droplet {NUMBER}", "region": "nyc3", "size": "s-2vcpu-2gb"}
            return [request_bytes("POST", "/api/v1/droplets", email=OWNER, body=body)]
