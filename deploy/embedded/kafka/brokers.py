"""Several Kafka nodes that are one cluster: each is a broker and a controller, and keeps every record.

A node that dies is missed at once, because its connections end. A node that falls silent (SIGSTOP, a frozen
machine, a cut network) is missed by time-outs alone, and those decide how long its partitions are without a
leader. They add up where the silent node was the active controller, too: the other controllers must first
miss it and elect another, which then gives every broker a whole session to be heard from.
"""

import threading
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Final

from deploy.embedded.kafka.node import Kafka
from deploy.embedded.ports import HOST, Ports
from deploy.embedded.private import private_directory
from deploy.embedded.process import Guard

COPIES: Final = 3  # the replication of every topic
HEAP: Final = "-Xmx384m"  # three of them share a machine

IN_SYNC: Final = {
    # With three copies of which two must have a record, each broker may be lost, and no record with it.
    "default.replication.factor": COPIES,
    "min.insync.replicas": COPIES - 1,
    "unclean.leader.election.enable": "false",  # rather no leader than one that has missed records
    "offsets.topic.replication.factor": COPIES,
    "transaction.state.log.replication.factor": COPIES,
    "transaction.state.log.min.isr": COPIES - 1,
    "share.coordinator.state.topic.replication.factor": COPIES,
    "share.coordinator.state.topic.min.isr": COPIES - 1,
}

FAIL_OVER: Final = {
    # Milliseconds. A broker that was not heard from for a session is fenced: its partitions get other
    # leaders, and nobody waits for its copies. Five heartbeats fit into one session, so that a machine of two
    # cores, busy with three of these, may be late with four.
    "broker.session.timeout.ms": 1500,
    "broker.heartbeat.interval.ms": 300,
    # The other controllers elect one of them when the active one has not answered a fetch for so long (it
    # keeps a fetch for 500 ms when it has nothing new). A vote that was split is held again after a
    # random part of the back-off, 1 s by default.
    "controller.quorum.fetch.timeout.ms": 1200,
    "controller.quorum.election.timeout.ms": 600,
    "controller.quorum.election.backoff.max.ms": 300,
    "controller.quorum.request.timeout.ms": 1000,
    # A copy that has not caught up for so long no longer counts as in sync, although its broker is alive: one
    # that is cut off from its leader alone. Every write waits for it until then, or half as long again.
    "replica.lag.time.max.ms": 2000,
    # How long a node waits for the answer of another that has fallen silent, by default 30 s: a controller
    # about a change of the copies in sync, a leader about a fetch, a leader about the end of a transaction,
    # without which nobody reads on who reads what is committed.
    "controller.socket.timeout.ms": 2000,
    "replica.socket.timeout.ms": 2000,
    "request.timeout.ms": 2000,
}


class Quorum:
    """What the nodes of one cluster must agree on before the first of them starts."""

    def __init__(self, data_dir: Path, *, nodes: int, ports: Ports) -> None:
        self.nodes = range(1, nodes + 1)
        self._data_dir = data_dir
        self._ports = ports
        self._one_at_a_time = threading.Lock()  # the nodes start in parallel
        self._controllers: dict[int, int] = {}

    def controllers(self) -> dict[int, int]:
        """By node, the port of its controller; they stay, since a node that restarts cannot tell the others.

        Raises: EmbeddedError: no port is free.
        """
        with self._one_at_a_time:
            if not self._controllers:
                self._controllers = {
                    node: self._ports.choose(f"kafka-{node}-controller", None) for node in self.nodes
                }
            return dict(self._controllers)

    def cluster_id(self) -> str:
        """The id that every node's storage is formatted with."""
        path = self._data_dir / "kafka-cluster-id"
        with self._one_at_a_time:
            if not path.exists():
                private_directory(self._data_dir)
                path.write_text(urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode())
            return path.read_text()


class Broker(Kafka):
    """One node of several."""

    heap = HEAP

    def __init__(
        self, data_dir: Path, *, node: int, quorum: Quorum, ports: Ports, guard: Callable[[], Guard]
    ) -> None:
        """`node`: its number in the cluster, from 1."""
        self.name = f"kafka-{node}"
        self.title = f"Kafka's node {node}"
        self.node = node
        self.quorum = quorum
        super().__init__(data_dir, port=None, ports=ports, guard=guard)

    def _cluster_id(self) -> str:
        return self.quorum.cluster_id()

    def _settings(self) -> dict[str, object]:
        voters = self.quorum.controllers()
        return {
            **super()._settings(),
            "controller.quorum.voters": ",".join(f"{node}@{HOST}:{port}" for node, port in voters.items()),
            **IN_SYNC,
            **FAIL_OVER,
        }

    def _controller_port(self) -> int:
        return self.quorum.controllers()[self.node]
