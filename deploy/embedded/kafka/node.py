"""The embedded Apache Kafka: one KRaft node that is broker and controller, on the jars that `jars` brings.

It asks nobody for a password: who has an account on the machine is a Kafka client (docs/security.md).
"""

import os
import re
import shutil
import socket
import struct
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import BinaryIO

from deploy.embedded import process
from deploy.embedded.errors import EmbeddedError
from deploy.embedded.kafka import jars
from deploy.embedded.ports import HOST
from deploy.embedded.private import private_directory
from deploy.embedded.server import Server

OLDEST_JAVA = 17
PROPERTIES = "server.properties"  # in the server's directory, which is its working directory
JVM = [
    "-Xms256m",
    # Each collection of what is young stops all for 10 ms. In the 40 MB that the JVM would take by itself,
    # one client makes one every 0.6 s: one write in a hundred waits for it.
    "-Xmn128m",
    "-XX:+UseSerialGC",
    # The quick compiler only. On two cores: ready in 2.0 s instead of 2.5, 40 to 50 k instead of 30 to 40 k
    # acknowledged records/s in the first minute, the same afterwards.
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
]
ONE_NODE = {  # the internal topics want three brokers by default
    "offsets.topic.replication.factor": 1,
    "offsets.topic.num.partitions": 4,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "transaction.state.log.num.partitions": 4,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    "share.coordinator.state.topic.num.partitions": 4,
}
BEHAVIOUR = {
    "auto.create.topics.enable": "false",  # a misspelt topic is an error, not a topic
    "group.initial.rebalance.delay.ms": 0,
    # After kill -9 the broker's name stays taken until its session is over: 9 s by default, which a restart
    # would have to wait.
    "broker.session.timeout.ms": 2000,
    "broker.heartbeat.interval.ms": 500,
    "group.min.session.timeout.ms": 1000,  # lets tests see a fail-over within seconds
    "log.retention.hours": 168,
    "log.segment.bytes": 128 * 2**20,
    "log.cleaner.dedupe.buffer.size": 16 * 2**20,  # 128 MB by default, a quarter of this heap
}


class Kafka(Server):
    """One Kafka node. What it acknowledged outlives kill -9: unsynced, but in the machine's page cache."""

    name = "kafka"
    title = "Kafka"
    url_variable = "KAFKA_BOOTSTRAP_SERVERS"
    node = 1  # its number in its cluster
    heap = "-Xmx512m"

    @property
    def bootstrap_servers(self) -> str:
        """`host:port` for clients. Raises EmbeddedError before the first start."""
        return f"{HOST}:{self.port}"

    def _prepare(self) -> list[str]:
        java = _java()
        is_new = not (self.dir / "data" / "meta.properties").exists()  # written last
        if is_new:
            _refuse_old(java)
        class_path = f"{jars.resolve()}/*"
        (self.dir / PROPERTIES).write_text(
            "".join(f"{key}={value}\n" for key, value in self._settings().items())
        )
        private_directory(self.dir / "data")
        if is_new:
            self._format(java, class_path)
        logging = f"-Dlog4j2.configurationFile={(jars.KAFKA_FILES / 'log4j2.properties').as_uri()}"
        return [java, *JVM, self.heap, logging, "-cp", class_path, "kafka.Kafka", PROPERTIES]

    def _format(self, java: str, class_path: str) -> None:
        id_ = f"--cluster-id={self._cluster_id()}"
        tool = ["kafka.tools.StorageTool", "format", id_, f"--config={PROPERTIES}"]
        process.run(
            [java, *JVM, self.heap, "-cp", class_path, *tool],
            failure="cannot format Kafka's storage",
            doing="formatting Kafka's storage",
            env=self._environment(),
            cwd=self.dir,
        )

    def _settings(self) -> dict[str, object]:
        controller = self._controller_port()
        return {
            "process.roles": "broker,controller",
            "node.id": self.node,
            "controller.quorum.voters": f"{self.node}@{HOST}:{controller}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://{HOST}:{self.port},CONTROLLER://{HOST}:{controller}",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{self.port}",
            "log.dirs": "data",  # relative: Kafka would split at a comma, and read Latin-1
            **ONE_NODE,
            **BEHAVIOUR,
        }

    def _cluster_id(self) -> str:
        return urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()

    def _controller_port(self) -> int:
        return self._ports.choose("kafka-controller", None)

    def _environment(self) -> dict[str, str]:
        return super()._environment() | {"LC_ALL": "C.UTF-8"}  # or Java finds no path outside ASCII

    def _answers(self) -> bool:
        return self.node in live_brokers(self.port)


def live_brokers(port: int) -> set[int]:
    """The brokers that the node on this local port knows to be alive, by Kafka's metadata request, version 1.

    An open port would be too early: a node listens a while before it has joined its own cluster.

    Raises: OSError: nobody listens, or the answer was cut short. A connection to itself is nobody: its own
        request, read as an answer, would tell of one broker.
    """
    header = struct.pack(">hhih", 3, 1, 1, -1)  # metadata, version 1, correlation 1, no client id
    request = header + struct.pack(">i", 0)  # about no topics
    with (
        socket.create_connection((HOST, port), timeout=2.0) as connection,
        connection.makefile("rb") as answer,
    ):
        if connection.getsockname() == connection.getpeername():
            raise ConnectionError("nobody listens; the connection met itself")
        connection.sendall(struct.pack(">i", len(request)) + request)
        (count,) = struct.unpack(">8xi", _exactly(answer, 12))  # after size and correlation
        return {_broker(answer) for _ in range(count)}


def _broker(answer: BinaryIO) -> int:
    """The number of the next broker in the answer, which tells its host, port and rack, too."""
    (node, host) = struct.unpack(">ih", _exactly(answer, 6))
    _exactly(answer, host + 4)
    (rack,) = struct.unpack(">h", _exactly(answer, 2))
    _exactly(answer, max(0, rack))
    return int(node)


def _exactly(answer: BinaryIO, count: int) -> bytes:
    data = answer.read(count)
    if len(data) < count:
        raise ConnectionError("Kafka hung up")
    return data


def _java() -> str:
    home = os.environ.get("JAVA_HOME")
    if home and (java := Path(home) / "bin" / "java").exists():
        return str(java)
    found = shutil.which("java")
    if found is None:
        raise EmbeddedError(
            f"Kafka needs Java {OLDEST_JAVA} or newer, and there is no `java` on the PATH: {_remedy()}"
        )
    return found


def _refuse_old(java: str) -> None:
    output = process.run([java, "-version"], failure="cannot ask Java for its version")
    match = re.search(r'version "(?:1\.)?(\d+)', output)
    if match is not None and int(match[1]) < OLDEST_JAVA:
        raise EmbeddedError(
            f"Kafka needs Java {OLDEST_JAVA} or newer, and {java} is Java {match[1]}: {_remedy()}"
        )


def _remedy() -> str:
    return (
        f"install it (Debian, Ubuntu: apt-get install openjdk-{OLDEST_JAVA}-jre-headless), "
        "point JAVA_HOME at it, or set KAFKA_BOOTSTRAP_SERVERS to a running Kafka"
    )
