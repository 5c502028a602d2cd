"""Prepared requests that write, for `bench.load`: different each time, and of the usual size.

They go to clusters of `bench.fleet`, so nothing has to be created first.
"""

from typing import Final, Literal

from bench.fleet import PLATFORMS, cluster_id, owner
from bench.load import MOMENT, NUMBER
from bench.wire import request_bytes

Kind = Literal["PUT cluster", "PUT status", "POST cluster"]
KINDS: Final[tuple[Kind, ...]] = ("PUT cluster", "PUT status", "POST cluster")

CONTROLLER: Final = "bench@system.local"
OWNER: Final = "bench@example.com"


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


def requests(kind: Kind, clusters: int, *, prefix: str = "bench") -> list[bytes]:
    """Requests of a kind to the fleet's clusters on the first platform, which are every third."""
    numbers = range(0, clusters, len(PLATFORMS))
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
            body = {"name": f"{prefix}-{NUMBER}", "spec": spec()}
            return [request_bytes("POST", "/api/v1/clusters", email=OWNER, body=body)]
