"""The embedded servers of a chaos run: Kafka with a way for each of its users, over a link that can be cut.

A client is told by a broker where to connect to. So a role's link carries all of its traffic only if the
broker names that link to it, which takes a listener for each role. Brokers are clients of one another, twice
over: as copies, and as controllers. Each has listeners for each of the others, named by who comes that way,
and every node picks the ones with its own name.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from deploy.embedded import Stack
from deploy.embedded.kafka import Kafka
from deploy.embedded.kafka.brokers import Broker, Quorum
from deploy.embedded.ports import HOST, Ports
from deploy.embedded.private import private_directory
from deploy.embedded.process import Guard
from tests.chaos.links import Link
from tests.chaos.servers import Clock, Disk

BROKER: Final = "BROKER"  # with the number of a node, its way to another broker
CONTROLLER: Final = "CONTROLLER"  # likewise to another controller


@dataclass(slots=True)
class Way:
    """How one user reaches one broker: a listener of that broker, and the link in front of it.

    Attributes:
        user: The listener's name, of letters and digits, as in `WORKER1`.
        node: The broker's number.
        port: Of the listener; 0 until its broker has chosen it.
    """

    user: str
    node: int
    link: Link = field(init=False)
    port: int = 0

    def __post_init__(self) -> None:
        self.link = Link(f"{self.user}@{self.node}")

    def choose_port(self, ports: Ports) -> None:
        """Have the listener at a port that nobody has, for as long as its broker may be started again."""
        self.port = self.link.target = ports.choose(f"{self.user}@{self.node}", None)


def ways_between(nodes: Iterable[int]) -> list[Way]:
    """Of each node to each other."""
    numbers = list(nodes)
    return [
        Way(f"{kind}{source}", target)
        for kind in (BROKER, CONTROLLER)
        for source in numbers
        for target in numbers
        if source != target
    ]


class LinkedKafka(Kafka):
    """Kafka with one more listener per way, which it advertises as the link in front of it."""

    ways: Sequence[Way] = ()

    def _settings(self) -> dict[str, object]:
        return _linked(super()._settings(), self.ways)


class LinkedBroker(Broker):
    """One node of several, which reaches the others over links."""

    def __init__(self, data_dir: Path, *, ways: Sequence[Way], **whole: object) -> None:
        """`ways`: all there are, of every user to every node."""
        super().__init__(data_dir, **whole)  # type: ignore[arg-type]
        self.ways = [way for way in ways if way.node == self.node]
        self.clock = Clock(data_dir / "clocks" / self.name)
        self.disk = Disk(self.dir)
        self.has_clock = False
        self._own_port = self._ports.choose(f"{BROKER}{self.node}@{self.node}", None)
        self._voters = {way.node: way.link for way in ways if way.user == f"{CONTROLLER}{self.node}"}

    def _settings(self) -> dict[str, object]:
        settings = super()._settings()
        own = f"{BROKER}{self.node}://{HOST}:{self._own_port}"
        controllers = [f"{CONTROLLER}{node}" for node in self.quorum.nodes if node != self.node]
        first = f"{CONTROLLER}{self.node}"
        listeners = str(settings["listeners"]).replace(f"{CONTROLLER}://", f"{first}://")
        voters = {node: f"{HOST}:{port}" for node, port in self.quorum.controllers().items()}
        voters |= {node: link.address for node, link in self._voters.items()}
        return _linked(
            settings
            | {
                "listeners": f"{listeners},{own}",
                "advertised.listeners": f"{settings['advertised.listeners']},{own}",
                # A node speaks to the others by the first of them, and takes requests on all.
                "controller.listener.names": ",".join([first, *controllers]),
                "controller.quorum.voters": ",".join(f"{node}@{address}" for node, address in voters.items()),
                "inter.broker.listener.name": f"{BROKER}{self.node}",
                "num.network.threads": 1,  # of each of a dozen listeners
            },
            self.ways,
        )

    def _environment(self) -> dict[str, str]:
        return super()._environment() | (dict(self.clock.environment()) if self.has_clock else {})


def _linked(settings: dict[str, object], ways: Sequence[Way]) -> dict[str, object]:
    listeners = [str(settings["listeners"]), *(f"{way.user}://{HOST}:{way.port}" for way in ways)]
    advertised = [
        str(settings["advertised.listeners"]),
        *(f"{way.user}://{way.link.address}" for way in ways),
    ]
    names = {each.partition("://")[0] for each in ",".join(listeners).split(",")}
    return {
        **settings,
        "listeners": ",".join(listeners),
        "advertised.listeners": ",".join(advertised),
        "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in sorted(names)),
    }


class LinkedStack(Stack):
    """The embedded servers, Kafka with links.

    Args:
        ways: Of the roles to every broker, and of several brokers to one another. Their links must have their
            ports when it starts.
    """

    def __init__(self, data_dir: Path, ways: Sequence[Way], *, brokers: int = 1) -> None:
        self.ways = ways
        self.nodes: Sequence[LinkedBroker] = ()
        super().__init__(data_dir, brokers=brokers)

    def stop(self) -> None:
        """Kill several nodes, and stop the rest: together they would wait for a majority that has ended."""
        for node in self.nodes:
            node.kill()
        super().stop()

    def _single(self, port: int | None, ports: Ports, guard: Callable[[], Guard]) -> Kafka:
        self._choose_ports(ports)
        broker = LinkedKafka(self.data_dir, port=port, ports=ports, guard=guard)
        broker.ways = self.ways
        return broker

    def _cluster(self, quorum: Quorum, ports: Ports, guard: Callable[[], Guard]) -> Sequence[Kafka]:
        self._choose_ports(ports)
        self.nodes = [
            LinkedBroker(self.data_dir, ways=self.ways, node=node, quorum=quorum, ports=ports, guard=guard)
            for node in quorum.nodes
        ]
        return self.nodes

    def _choose_ports(self, ports: Ports) -> None:
        """Before the first start: the nodes connect to each other while they start."""
        private_directory(self.data_dir)
        for way in self.ways:
            way.choose_port(ports)
