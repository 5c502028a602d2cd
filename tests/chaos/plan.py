"""Which faults a run injects: drawn from a seed, so that a run can be had again.

Two lanes run side by side, each one fault after the other with a calm between: `main` harms those a write
needs (web, worker, Kafka and the network between), `side` everything else. So two things are often wrong at
a time, and never both at one thing. The same seed gives the same faults in the same order with the same
targets and lengths; what else happens at that moment is the machine's.
"""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from tests.chaos.fleet import RELAYS, WEBS

Lane = Literal["main", "side"]
Need = Literal["disk", "clock"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault.

    Attributes:
        targets: How many there are to choose from.
        seconds: Least and greatest length; of those marked `session`, added to the session time-out, of those
            marked `silence` to how long a broker is to be silent.
        need: What the machine must offer for it.
    """

    name: str
    lane: Lane
    seconds: tuple[float, float]
    targets: int = 1
    session: bool = False
    silence: bool = False
    need: Need | None = None


KINDS: Final = (
    Kind("kill-web", "main", (0.5, 2.0), targets=WEBS),
    Kind("kill-worker", "main", (0.5, 5.0), targets=2),
    Kind("pause-worker", "main", (1.5, 4.0), targets=2, session=True),
    Kind("restart-web", "main", (0.0, 0.0), targets=WEBS),
    Kind("restart-worker", "main", (0.0, 0.0), targets=2),
    Kind("scale-workers", "main", (2.0, 3.0)),
    Kind("kill-kafka", "main", (1.0, 4.0)),
    Kind("cut-worker", "main", (3.0, 8.0), targets=2),
    Kind("delay-state", "main", (1.5, 4.0), targets=2, session=True),
    Kind("cut-web", "main", (3.0, 7.0), targets=WEBS),
    Kind("slow-worker", "main", (4.0, 6.0), targets=2),
    Kind("slow-web", "main", (4.0, 6.0), targets=WEBS),
    Kind("reset-worker", "main", (3.0, 5.0), targets=2),
    Kind("reset-web", "main", (3.0, 5.0), targets=WEBS),
    Kind("kill-sink", "side", (0.5, 2.0)),
    Kind("restart-sink", "side", (0.0, 0.0)),
    Kind("kill-executor", "side", (0.5, 2.0)),
    Kind("restart-executor", "side", (0.0, 0.0)),
    Kind("kill-recorder", "side", (0.5, 2.0)),
    Kind("restart-recorder", "side", (0.0, 0.0)),
    Kind("kill-relay", "side", (0.5, 2.0), targets=RELAYS),
    Kind("pause-relay", "side", (5.0, 12.0), targets=RELAYS),
    Kind("restart-relay", "side", (0.0, 0.0), targets=RELAYS),
    Kind("stop-postgres", "side", (3.0, 6.0)),
    Kind("kill-postgres", "side", (1.0, 3.0)),
    Kind("full-disk", "side", (4.0, 7.0), need="disk"),
    Kind("stop-valkey", "side", (2.0, 4.0)),
    Kind("cut-sink", "side", (3.0, 8.0)),
    Kind("cut-executor", "side", (3.0, 8.0)),
    Kind("cut-relay", "side", (3.0, 8.0), targets=RELAYS),
    Kind("cut-postgres", "side", (3.0, 6.0)),
    Kind("slow-postgres", "side", (4.0, 6.0)),
    Kind("drop-clients", "side", (2.0, 3.0), targets=WEBS),
    Kind("slow-clients", "side", (3.0, 5.0), targets=WEBS),
    Kind("repeat-records", "side", (4.0, 7.0)),
    Kind("poison", "side", (0.0, 0.0)),
    Kind("step-clock", "side", (5.0, 7.0), need="clock"),
)

BROKER_KINDS: Final = (  # where there are several
    Kind("kill-leader", "main", (1.0, 5.0)),
    Kind("kill-controller", "main", (1.0, 5.0)),
    Kind("kill-coordinator", "main", (1.0, 5.0)),
    Kind("pause-leader", "main", (0.0, 4.0), silence=True),
    Kind("pause-controller", "main", (0.0, 4.0), silence=True),
    Kind("pause-coordinator", "main", (0.0, 4.0), silence=True),
    Kind("roll-brokers", "main", (0.0, 0.0)),
    Kind("two-brokers-down", "main", (3.0, 6.0)),
    Kind("cut-broker-from-role", "main", (8.0, 12.0), targets=WEBS + 2),  # with two workers
    Kind("cut-broker-from-brokers", "main", (8.0, 12.0)),
    Kind("slow-broker", "main", (16.0, 20.0)),
    Kind("full-broker-disk", "main", (5.0, 8.0), need="disk"),
    Kind("skew-brokers", "main", (6.0, 10.0), need="clock"),
    Kind("elect-leaders", "main", (0.0, 0.0)),
    Kind("reassign", "main", (2.0, 4.0)),
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a plan: what, to which of its targets, for how long, and where its own draws come from."""

    kind: str
    target: int
    seconds: float
    seed: int

    def __str__(self) -> str:
        return f"{self.kind} {self.target} for {self.seconds:.1f} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run.

    Attributes:
        faults: Per lane, in their order.
        calm: Seconds between two faults of a lane, at least and at most.
        clients: HTTP clients, each with one request at a time, `per_second` of them a client at most.
        native_per_second: Commands over Kafka.
        floor: Operations a second below which the run counts as not run: it would prove nothing.
        left_out: Kinds this machine offers no means for.
    """

    seed: int
    session: float
    faults: dict[Lane, tuple[Fault, ...]]
    calm: tuple[float, float]
    clients: int = 12
    per_second: float = 8.0
    native_per_second: float = 15.0
    floor: float = 10.0
    left_out: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many faults."""
        return sum(map(len, self.faults.values()))


def draw(
    seed: int,
    *,
    rounds: int = 1,
    offers: Collection[Need] = ("disk", "clock"),
    session: float = 6.0,
    silence: float = 18.0,
    calm: tuple[float, float] = (1.0, 3.0),
    only: Collection[str] = (),
    brokers: int = 1,
) -> Plan:
    """A plan with every kind of fault once a round, in an order of its own.

    On several brokers it has every kind that only they can have, and half of the others, drawn each round.

    Args:
        offers: What the machine has.
        session: Kafka's session time-out, in seconds.
        silence: Seconds that a broker is paused at least: longer than every time-out of its clients.
        only: Names of kinds; empty for all.
    Raises: ValueError: a name in `only` is of no kind.
    """
    special = BROKER_KINDS if brokers > 1 else ()
    if unknown := set(only) - {kind.name for kind in (*KINDS, *special)}:
        raise ValueError(f"no such fault: {', '.join(sorted(unknown))}")
    draws = random.Random(seed)
    wanted = [kind for kind in (*KINDS, *special) if not only or kind.name in only]
    possible = [kind for kind in wanted if kind.need is None or kind.need in offers]
    lanes: dict[Lane, list[Fault]] = {"main": [], "side": []}
    for _ in range(rounds):
        kinds = possible if only or not special else _half_beside(special, possible, draws)
        for kind in draws.sample(kinds, len(kinds)):
            lanes[kind.lane].append(_fault(kind, draws, session, silence))
    return Plan(
        seed=seed,
        session=session,
        faults={lane: tuple(faults) for lane, faults in lanes.items()},
        calm=calm,
        left_out=tuple(kind.name for kind in wanted if kind not in possible),
    )


def _half_beside(special: Collection[Kind], possible: Sequence[Kind], draws: random.Random) -> list[Kind]:
    others = [kind for kind in possible if kind not in special]
    return [*(kind for kind in possible if kind in special), *draws.sample(others, len(others) // 2)]


def _fault(kind: Kind, draws: random.Random, session: float, silence: float) -> Fault:
    least = session * kind.session + silence * kind.silence
    seconds = draws.uniform(*kind.seconds) + least
    return Fault(kind.name, draws.randrange(kind.targets), round(seconds, 1), draws.getrandbits(32))
