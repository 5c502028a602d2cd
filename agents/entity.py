"""The agent of one kind of entity: it turns commands and wakes into states, events and results.

It is the only writer of its table. The kind's rules (`domain/entity.py`) say what follows from a command, its
flow (`streams/flow.py`) which public records announce it, and the turn (`streams/turns/commit.py`) in which
order everything becomes durable. One record is handled at a time, and the turn is changed only once
everything about that record is known: a record that fails is parked and leaves no half effect.

A record can be delivered again, after a crash or a rebalance. If the state reflects it already there is
nothing to do, as outputs are published before states are stored. A command that is sent again is another
record under the same id: it gets the outcome that is remembered.

`EntityAgent` is what all agents of entities share; `KindAgent` is one driven by a flow alone. A kind that
needs more overrides a step, as clusters do (`agents/clusters.py`).
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import reduce
from hashlib import blake2b
from typing import Any, Final, Generic

from agents.guard import guarded
from agents.placement import Placement
from agents.results import Results
from agents.wakes import PUT_OFF, Wakes
from domain.entity import KEPT_FOR, C, E, Kind, Outcome, S, V
from domain.errors import Rejected
from domain.ids import deterministic_id
from domain.offsets import Seen
from domain.values import UNSET, replace
from streams.cause import Cause, Woken
from streams.flow import WAKE_KEY, Flow
from streams.json import encode
from streams.messages import SOURCE
from streams.turns.commit import Lane
from streams.turns.turn import Here, take_turns
from streams.writing.outputs import Output
from streams.writing.producer import Producer
from tables.typed import TypedTable

log = logging.getLogger("clusterflow.agents")

WAKE_SLICE: Final = 100
"""The most entities that one wake changes, so that a command never waits for more than a turn or two."""

Reaction = Callable[[Any, Any, Cause], Iterable[Output]]
"""What an event sends to other kinds; it is given the event, the state after it, and its cause."""


class EntityAgent(Generic[S, C, E]):
    """Decides commands for every entity of one table.

    Args:
        later: A second table, whose states are stored after those of `table`.

    Attributes:
        inputs: The handler of each input topic.
    """

    inputs: Mapping[str, Callable[[Here[S]], None]]

    def __init__(
        self,
        name: str,
        kind: Kind[S, C, E],
        *,
        table: TypedTable[S],
        producer: Producer,
        partitions: int,
        results: Results,
        later: TypedTable[Any] | None = None,
    ) -> None:
        self.name = name
        self._later = later
        self._kind = kind
        self._table = table
        self._producer = producer
        self._placement = Placement(partitions, table)
        self._results = results

    async def run(self, stream: Any) -> None:
        """Take turns until the app stops."""
        turns = take_turns(self.name, stream, self._table, self._producer, later=self._later)
        async for turn in turns:
            for record in turn.records():
                guarded(here := Here(turn, record), self.inputs[record.topic])
                self._handled(here)
            await turn.commit(self._committed)

    def _handled(self, here: Here[S]) -> None:
        """Take note of a record that was handled or parked."""

    def _committed(self, lane: Lane[S]) -> None:
        """Take note of the states of a partition that are stored now."""
        raise NotImplementedError

    def _misplaced(self, here: Here[S]) -> bool:
        """Whether the record lies in another partition than its key says; it is then sent to its place."""
        if (correction := self._placement.correction(here.record)) is None:
            return False
        here.publish(correction)
        return True

    def _command(self, here: Here[S], command: C, cause: Cause, seen: Seen) -> None:
        before = here.get()
        if before is None:
            self._decide(here, command, cause, seen, None)
        elif seen.held_by(before.offsets):
            self._redelivered(here, command, before)
        elif (known := before.outcome_of(cause.id, self._caller(command, before))) is not None:
            self._repeated(here, command, known, before)
            if before.deleted_at is not None:
                # Its purge must wait until this record cannot come again: it would be decided on nothing.
                here.put(before.sealed(seen=seen, at=cause.at))
        else:
            self._decide(here, command, cause, seen, before)

    def _caller(self, command: C, state: S) -> str:
        """Who sent a command, as outcomes remember it; empty where entities have no callers."""
        return ""

    def _redelivered(self, here: Here[S], command: C, state: S) -> None:
        """Nothing to do: what this record led to was published before it was stored."""

    def _repeated(self, here: Here[S], command: C, known: Outcome, state: S) -> None:
        """Answer a repeated command with its first outcome, after the first if that is in this turn, too."""
        here.answer_by_results()
        here.publish(self._results.of(here, command, known, state, repeated=True))

    def _decide(self, here: Here[S], command: C, cause: Cause, seen: Seen, before: S | None) -> None:
        outcome = self._applied(command, cause, before)
        after, outputs = before, list[Output]()
        try:
            events = self._kind.decide(before, command, cause.at)
        except Rejected as refusal:
            outcome = outcome.refused(refusal)
            outputs += self._refused(here, command)
        else:
            after, outputs = self._followed(here, before, events, command, cause)
            if details := self._kind.details(events):
                outcome = replace(outcome, details=details)
        # A caller who may not see the entity must not be able to evict others' outcomes from its state.
        if (stored := after is not None and outcome.code != "RESOURCE_NOT_FOUND") and after is not None:
            remembered = outcome if self._kind.remembers else None
            after = after.sealed(seen=seen, at=cause.at, outcome=remembered)
        answer = None
        if cause.answered_by_state and outcome.applied and after is not None:
            answer = self._results.answer(here, command, outcome, after)
        else:
            outputs += self._results.told(here, command, outcome, after)
        for output in outputs:
            here.publish(output)
        if stored:
            here.put(after, answer=answer)

    def _applied(self, command: C, cause: Cause, before: S | None) -> Outcome:
        """The outcome of a command if nothing refuses it."""
        caller = "" if before is None else self._caller(command, before)
        until = cause.at + KEPT_FOR if cause.keyed else None
        return Outcome(command_id=cause.id, caller=caller, until=until)

    def _refused(self, here: Here[S], command: C) -> Sequence[Output]:
        """What a refusal publishes beside its result."""
        return ()

    def _followed(
        self, here: Here[S], before: S | None, events: Sequence[E], command: C | None, cause: Cause
    ) -> tuple[S | None, list[Output]]:
        """The state after events, and what they publish. `command` is None where time has caused them."""
        after = reduce(self._kind.evolve, events, before)
        if after is None:
            return None, []
        if events:
            after = after.counted()
        return after, [*self._announced(here, events, after, command, cause)]

    def _announced(
        self, here: Here[S], events: Sequence[E], after: S, command: C | None, cause: Cause
    ) -> Sequence[Output]:
        """The public records that events lead to."""
        raise NotImplementedError


class KindAgent(EntityAgent[V, C, E]):
    """The agent of a kind that is described by its flow alone.

    Args:
        source: The name of the service, which its announcements bear as their `producer`.
        reactions: What its events lead to in other kinds (`agents/reactions.py`).

    Attributes:
        flow: What describes the kind, on the topics of this deployment.
        wakes: The timers of its entities.
    """

    def __init__(
        self,
        flow: Flow[V, C, E],
        *,
        table: TypedTable[V],
        producer: Producer,
        partitions: int,
        source: str = SOURCE,
        reactions: Sequence[Reaction] = (),
    ) -> None:
        results = Results(flow.results, kind=flow.kind.name, shown=flow.shown)
        super().__init__(
            flow.kind.name, flow.kind, table=table, producer=producer, partitions=partitions, results=results
        )
        self.inputs = {flow.commands: self._message}
        self.wakes = Wakes[V](table, flow.kind.due_at, kind=flow.kind.name)
        self.flow = flow
        self._source = source
        self._reactions = reactions

    def _committed(self, lane: Lane[V]) -> None:
        for key, state in lane.states.items():
            self.wakes.note(lane.partition, key, state)

    def _message(self, here: Here[V]) -> None:
        if here.key == WAKE_KEY:
            self._woken(here)
        elif not self._misplaced(here):
            command, cause = self.flow.read(here.record)
            self._command(here, command, cause, here.seen)

    # --- commands ---------------------------------------------------------------------------------

    def _repeated(self, here: Here[V], command: C, known: Outcome, state: V) -> None:
        """Answer with the first outcome, unless the same key was used to ask for something else."""
        if isinstance(known.digest, str) and known.digest != _digest(command):
            known = Outcome(command_id=known.command_id).refused(
                Rejected("IDEMPOTENCY_CONFLICT", "The Idempotency-Key was used for another request")
            )
        super()._repeated(here, command, known, state)

    def _applied(self, command: C, cause: Cause, before: V | None) -> Outcome:
        until, digest = (cause.at + KEPT_FOR, _digest(command)) if cause.keyed else (None, UNSET)
        return Outcome(command_id=cause.id, until=until, digest=digest)

    def _announced(
        self, here: Here[V], events: Sequence[E], after: V, command: C | None, cause: Cause
    ) -> Sequence[Output]:
        announced = self.flow.announced(events, after, cause, producer=self._source)
        commands = [
            output for event in events for react in self._reactions for output in react(event, after, cause)
        ]
        return [*announced, *commands]

    # --- time -------------------------------------------------------------------------------------

    def _woken(self, here: Here[V]) -> None:
        """Wake the entities whose moment has come, at most a slice of them at once."""
        woken = self.flow.read_wake(here.record)
        due, left = self._due(here, woken.at)
        now = datetime.now(UTC)
        for moment, key in due:
            self.wakes.woken(moment, now)
            try:
                self._wake(here, key, moment, woken)
            except Exception as error:  # one entity that cannot be woken must not stop the others
                about = {
                    "kind": self.name,
                    "key": key.decode(errors="replace"),
                    "error": type(error).__name__,
                }
                log.error("entity could not be woken", extra=about)
                self.wakes.put_off(here.partition, key, None)
        self.wakes.leave(here.partition, left)

    def _due(self, here: Here[V], now: datetime) -> tuple[list[tuple[datetime, bytes]], int]:
        """The first due keys in order, and how many others are due.

        What this turn has changed counts as it is, as a replay would find it.
        """
        touched = here.touched()
        due = self.wakes.due(here.partition, now, WAKE_SLICE + len(touched))
        due = [(moment, key) for moment, key in due if key not in touched]
        for key, state in touched.items():
            moment = None if state is None else self._kind.due_at(state)
            if moment is not None and moment <= now:
                due.append((moment, key))
        if len(due) < WAKE_SLICE:
            return sorted(due), 0
        changed = sum(key in touched for _, key in due)
        count = changed + self.wakes.count_due(here.partition, without=touched)
        return sorted(due)[:WAKE_SLICE], max(0, count - WAKE_SLICE)

    def _wake(self, here: Here[V], key: bytes, moment: datetime, woken: Woken) -> None:
        before = here.get(key)
        if before is None or before.reflects(here.log, here.record.offset):
            return
        if before.deleted_at is not None:
            self._purge(here, key, before, woken)
            return
        # Named after the moment, not the wake: whichever wake comes after a crash, the event is the same.
        cause = Cause(deterministic_id(self.name, key.decode(), moment), moment)
        after, outputs = self._followed(here, before, self._kind.wake(before, moment), None, cause)
        if after is None or self._kind.due_at(after) == moment:
            raise RuntimeError("waking must change wake_at, or the entity would be woken for ever")
        for output in outputs:
            here.publish(output)
        here.put(after.sealed(seen=here.seen, at=woken.at), key)

    def _purge(self, here: Here[V], key: bytes, deleted: V, woken: Woken) -> None:
        """Remove a deleted state, unless a record that it reflects may come again.

        Without the state, a command that was refused since its id is taken would be decided on nothing. What
        lies behind this wake may have been decided by a worker that died, so that this one must purge where
        that one did, and nowhere else. Therefore the wake itself says what will not come again. And a purge
        cannot be undone, so the clock of the worker that asks must agree to it.
        """
        moment = self._kind.due_at(deleted)
        settled = deleted.offsets.get(here.log, -1) < woken.committed and here.committed(deleted.offsets)
        if moment is not None and moment <= woken.published_at and settled:
            here.put(None, key)
        else:
            self.wakes.put_off(here.partition, key, max(woken.published_at, woken.at) + PUT_OFF)


def _digest(command: Any) -> str:
    """What tells two requests under one key apart."""
    return blake2b(encode(command.request()), digest_size=12).hexdigest()
