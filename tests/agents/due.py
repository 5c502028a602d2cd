"""A worker with much to do at once, and how much of that one turn may take."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from domain.cluster.commands import Report
from domain.cluster.state import Reactive
from domain.policy import Policy
from domain.values import replace
from streams.claims import CLAIM_KEY
from streams.json import encode
from streams.writing.outputs import Output
from tests.domain.given import T0, create, story, uuid
from tests.memory import TOPICS, Log, Worker

CLUSTERS = 20  # due in each of two partitions
SLICE, LEAST = 6, 2


class Due:
    """A worker that has recovered clusters which are all due."""

    def __init__(
        self,
        *,
        cap: int = 0,
        steps: Sequence[tuple[Report, datetime]] = (),
        waiting: Reactive | None = None,
        **policy: Any,
    ) -> None:
        """`steps`: what has happened to each since its creation; `waiting`: what of it is to be announced."""
        self.log = Log(now=T0 + timedelta(hours=3))
        cluster = replace(story((create(), T0), *steps), reactive=waiting)
        for number in range(2 * CLUSTERS):
            state = replace(cluster, cluster=replace(cluster.cluster, id=uuid(number)))
            self.log.append(Output(TOPICS.state, uuid(number).encode(), encode(state), {}, number % 2))
        self.policy = Policy(reconcile_cap=cap, **policy)
        self.worker = Worker(self.log, {}, self.policy)

    def tick(self, *partitions: int, **asked: Any) -> None:
        for partition in partitions:
            body = {"tick_id": uuid(partition), "at": self.log.now.isoformat(), **asked}
            self.log.append(Output(TOPICS.ticks, b"t", json.dumps(body).encode(), {}, partition))

    def turn(self) -> int:
        """How many reconciles the next turn announces."""
        known = len(self.announced())
        self.worker.take_turn("clusters", at_most=100)
        return len(self.announced()) - known

    def moved(self) -> int:
        """How many states the next turn writes."""
        known = len(self.log.since({}, TOPICS.state))
        self.worker.take_turn("clusters", at_most=100)
        return len(self.log.since({}, TOPICS.state)) - known

    def failed(self) -> int:
        """How many clusters of partition 0 have failed by now."""
        records = [r for r in self.log.since({}, TOPICS.state) if r.partition == 0 and r.key != CLAIM_KEY]
        last = {record.key: json.loads(record.value) for record in records}
        return sum(state["cluster"]["status"]["phase"] == "Failed" for state in last.values())

    def event_ids(self) -> list[str]:
        return [json.loads(record.value)["id"] for record in self.log.since({}, TOPICS.events)]

    def announced(self) -> list[str]:
        return [json.loads(record.value)["cluster_id"] for record in self.log.since({}, TOPICS.events)]
