"""Whether what the system says agrees with what its clients were told.

Pure: a history and what was observed in, findings out. What is asked:

- An applied write is there exactly once: one event, and the generation that its answer named.
- A refused write left no trace; one of unknown outcome is done once or not at all.
- Generations have no gaps and no doubles, and the final one counts the updates.
- What clients saw has one order that agrees with the clock (`order`).
- State, the workers' tables, answers of every web process and rows agree with the events.
- Every command got one result, every bad record its dead letter, and nothing else was parked.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tests.chaos.history import Attempt, History
from tests.chaos.observe import EventFact, Observed, ResultFact
from tests.chaos.order import disorders

CREATED, UPDATED, DELETED = "cluster.created", "cluster.updated", "cluster.deleted"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it must be."""

    kind: Literal["lost", "doubled", "wrong", "unanswered", "disordered"]
    text: str


def check(
    history: History, observed: Observed, *, poison: Collection[str] = (), bombs: int = 0
) -> list[Finding]:
    """Everything that is wrong; empty when all is well.

    Args:
        poison: Keys of the bad records that were published.
        bombs: How many records were published that unpack to more than anybody would.
    """
    take_results(history, observed)
    events = list(observed.events.values())
    return [
        *(Finding("wrong", text) for text in observed.faults),
        *(Finding("unanswered", text) for text in history.unanswered),
        *_results(history, observed),
        *_verdicts(history),
        *_writes(history, events),
        *_deletes(history, events),
        *_generations(events),
        *(Finding("disordered", text) for text in disorders(history, events)),
        *_states(observed, events),
        *_tables(observed),
        *_names(observed),
        *_reports(history, observed),
        *_answers(observed),
        *_rows(observed),
        *_parked(observed, poison, bombs),
    ]


def take_results(history: History, observed: Observed) -> None:
    """Give the commands that were sent over Kafka the verdict their results name."""
    for attempt in history.attempts:
        if attempt.command_id is None:
            continue
        facts = observed.results.get(attempt.command_id, [])
        if len(facts) == 1:
            (fact,) = facts
            attempt.code = fact.code
            attempt.status = 200 if fact.code is None else 409
            attempt.generation, attempt.resource_version = fact.generation, fact.resource_version


def _results(history: History, observed: Observed) -> Iterator[Finding]:
    for attempt in history.attempts:
        if attempt.command_id is not None and attempt.command_id not in observed.results:
            yield Finding("unanswered", f"no result for {_told(attempt)}")
    for command_id, facts in observed.results.items():
        by_state = command_id in observed.answered
        if (len(facts) > 1 or by_state) and not _harmless(facts, by_state=by_state):
            beside = " beside a state" if by_state else ""
            yield Finding("doubled", f"{len(facts)} results{beside} for command {command_id}: {facts}")


def _harmless(facts: Iterable[ResultFact], *, by_state: bool) -> bool:
    """A repeat of a remembered command names the cluster as it is by then, and says `duplicate`.

    A state answers one that was applied, so a result that says so is no other outcome: a worker that died has
    published it, and its successor has decided alike, in other turns.
    """
    first = [fact.outcome for fact in facts if fact.outcome != "duplicate"]
    return first in ([], ["applied"]) if by_state else len(first) == 1


def _verdicts(history: History) -> Iterator[Finding]:
    for attempt in history.attempts:
        if attempt.outcome == "broken":
            yield Finding("wrong", f"{attempt.status} for {_told(attempt)}")
        elif attempt.outcome != "unknown" and attempt.verdict not in attempt.expected:
            yield Finding("wrong", f"{attempt.verdict} for {_told(attempt)}")


def _writes(history: History, events: Iterable[EventFact]) -> Iterator[Finding]:
    """Creates and updates against the events that carry their marks."""
    traces: dict[str | None, list[EventFact]] = defaultdict(list)
    for event in events:
        if event.type in (CREATED, UPDATED):
            traces[event.mark].append(event)
    for mark, attempts in history.writes().items():
        yield from _write(attempts, traces.pop(mark, []))
    for unknown, found in traces.items():
        yield Finding("wrong", f"events with a mark that nobody wrote: {unknown} {[e.id for e in found]}")


def _write(attempts: Sequence[Attempt], found: Sequence[EventFact]) -> Iterator[Finding]:
    """One write, with all the attempts that were made at it under one key, and the events it led to."""
    outcomes = {attempt.outcome for attempt in attempts}
    told = _told(attempts[-1])
    if len(found) > 1:
        yield Finding("doubled", f"{len(found)} events for {told}: {[e.id for e in found]}")
    elif not found and "applied" in outcomes:
        yield Finding("lost", f"no event for {told}")
    elif found and outcomes == {"rejected"}:
        yield Finding("wrong", f"an event for the refused {told}")
    elif found:
        for attempt in attempts:
            if attempt.outcome == "applied" and not _agrees(attempt, found[0]):
                yield Finding("wrong", f"{_told(attempt)} was told otherwise than event {found[0].data!r}")


def _agrees(attempt: Attempt, event: EventFact) -> bool:
    if attempt.repeat and attempt.generation is not None:
        return attempt.cluster_id == event.cluster_id and attempt.generation >= event.generation
    told = (attempt.cluster_id, attempt.generation, attempt.resource_version)
    return told == (event.cluster_id, event.generation, event.resource_version)


def _deletes(history: History, events: Iterable[EventFact]) -> Iterator[Finding]:
    found = Counter(event.cluster_id for event in events if event.type == DELETED)
    asked = {attempt.cluster_id for attempt in history.of("delete") if attempt.outcome != "rejected"}
    for attempt in history.of("delete"):
        if attempt.outcome == "applied" and not found[attempt.cluster_id or ""]:
            yield Finding("lost", f"no event for {_told(attempt)}")
    for cluster_id, count in found.items():
        if count > 1:
            yield Finding("doubled", f"cluster {cluster_id} was deleted {count} times")
        if cluster_id not in asked:
            yield Finding("wrong", f"cluster {cluster_id} was deleted, and nobody asked for it")


def _generations(events: Iterable[EventFact]) -> Iterator[Finding]:
    written: dict[str, list[EventFact]] = defaultdict(list)
    deleted: set[str] = set()
    for event in events:
        if event.cluster_id in deleted:
            yield Finding("wrong", f"{event.type} {event.id} after cluster {event.cluster_id} was deleted")
        if event.type in (CREATED, UPDATED):
            written[event.cluster_id].append(event)
        elif event.type == DELETED:
            deleted.add(event.cluster_id)
    for cluster_id, found in written.items():
        generations = [event.generation for event in found]
        if generations == list(range(1, len(found) + 1)) and found[0].type == CREATED:
            continue
        doubled = sorted(g for g, count in Counter(generations).items() if count > 1)
        missing = sorted(set(range(1, max(generations) + 1)) - set(generations))
        if doubled:
            yield Finding("doubled", f"cluster {cluster_id} has generations twice: {doubled}")
        if missing:
            yield Finding("lost", f"cluster {cluster_id} has no event for generations {missing}")
        if not doubled and not missing:
            yield Finding("wrong", f"cluster {cluster_id} has generations in the order {generations}")


def _states(observed: Observed, events: Iterable[EventFact]) -> Iterator[Finding]:
    last: dict[str, EventFact] = {}
    deleted = {event.cluster_id for event in events if event.type == DELETED}
    for event in events:
        if event.type in (CREATED, UPDATED):
            last[event.cluster_id] = event
    for cluster_id in last.keys() - observed.states.keys():
        yield Finding("lost", f"cluster {cluster_id} has events and no state")
    for cluster_id, state in observed.states.items():
        announced = last.get(cluster_id)
        if announced is None:
            yield Finding("lost", f"cluster {cluster_id} has a state and no event")
            continue
        told = (announced.generation, announced.resource_version, announced.mark, cluster_id in deleted)
        if told != (state.generation, state.resource_version, state.mark, state.deleted):
            yield Finding("wrong", f"state of {cluster_id} is {state}, its last event {announced.data!r}")


def _names(observed: Observed) -> Iterator[Finding]:
    holders = Counter((s.owner, s.name) for s in observed.states.values() if not s.deleted)
    for (owner, name), count in holders.items():
        if count > 1:
            yield Finding("doubled", f"{count} live clusters of {owner} are named {name}")


def _reports(history: History, observed: Observed) -> Iterator[Finding]:
    """A controller's last word is its last acknowledged report, or one of unknown outcome, however late."""
    last: dict[tuple[str, str], str | None] = {}
    late: dict[tuple[str, str], set[str | None]] = defaultdict(set)
    for attempt in history.of("report"):
        place = (attempt.cluster_id or "", attempt.client)
        if attempt.outcome == "applied":
            last[place] = attempt.mark
        elif attempt.outcome == "unknown":
            last.setdefault(place, None)
            late[place].add(attempt.mark)
    for (cluster_id, controller), mark in last.items():
        marks = {mark, *late[cluster_id, controller]}
        state = observed.states.get(cluster_id)
        if state is not None and state.reports.get(controller) not in marks:
            found = state.reports.get(controller)
            yield Finding("lost", f"the report of {controller} on {cluster_id} is {found}, not of {marks}")


def _answers(observed: Observed) -> Iterator[Finding]:
    live = {id: state for id, state in observed.states.items() if not state.deleted}
    for name, documents in observed.answers.items():
        for cluster_id in live.keys() - documents.keys():
            yield Finding("lost", f"{name} does not show cluster {cluster_id}")
        for cluster_id in documents.keys() - live.keys():
            yield Finding("wrong", f"{name} shows cluster {cluster_id}, which is not there")
        for cluster_id in documents.keys() & live.keys():
            shown, state = documents[cluster_id], live[cluster_id]
            if (shown["generation"], shown["resource_version"]) != (state.generation, state.resource_version):
                yield Finding("wrong", f"{name} shows {shown}, the state is {state}")


def _tables(observed: Observed) -> Iterator[Finding]:
    for cluster_id, held in observed.tables.items():
        state = observed.states.get(cluster_id)
        stored = None if state is None or state.deleted else (state.generation, state.resource_version)
        if stored != (None if held is None else (held.generation, held.resource_version)):
            yield Finding("wrong", f"a worker holds {held} of {cluster_id}, its changelog {state}")


def _rows(observed: Observed) -> Iterator[Finding]:
    if observed.rows is None or observed.event_rows is None:
        return
    for cluster_id, state in observed.states.items():
        row = observed.rows.get(cluster_id)
        if row is None:
            yield Finding("lost", f"PostgreSQL has no row of cluster {cluster_id}")
            continue
        stored = (row.generation, row.resource_version, row.mark, row.deleted, row.reports)
        if stored != (state.generation, state.resource_version, state.mark, state.deleted, state.reports):
            yield Finding("wrong", f"PostgreSQL has {row} of cluster {cluster_id}, the state is {state}")
    for cluster_id in observed.rows.keys() - observed.states.keys():
        yield Finding("wrong", f"PostgreSQL has a row of cluster {cluster_id}, which has no state")
    yield from _event_rows(observed.event_rows, observed.events)


def _event_rows(rows: Mapping[str, tuple[str, int]], events: Mapping[str, EventFact]) -> Iterator[Finding]:
    for event in events.values():
        if rows.get(event.id) != (event.type, event.generation):
            yield Finding("lost", f"PostgreSQL has {rows.get(event.id)} for event {event.id} {event.type}")
    for event_id in rows.keys() - events.keys():
        yield Finding("wrong", f"PostgreSQL has event {event_id}, which was never published")


def _parked(observed: Observed, poison: Collection[str], bombs: int) -> Iterator[Finding]:
    """A bad record is parked, maybe twice after a crash; a good one only if its cluster is gone."""
    for letter in observed.parked:
        state = observed.states.get(letter.key)
        late = letter.reason == "unknown_cluster" and state is not None and state.deleted
        bomb = bombs > 0 and (letter.reason, letter.key) == ("unreadable", "")
        if letter.key not in poison and not late and not bomb:
            yield Finding("wrong", f"parked although it was good: {letter}")
    unpacked = bombs - sum(letter.reason == "unreadable" for letter in observed.parked)
    if unpacked > 0:
        yield Finding("lost", f"no dead letters for {unpacked} records that unpack to too much")
    for key in set(poison) - {letter.key for letter in observed.parked}:
        yield Finding("lost", f"no dead letter for {key}")


def _told(attempt: Attempt) -> str:
    return (
        f"{attempt.kind} {attempt.mark} by {attempt.client} on {attempt.cluster_id}"
        f" ({attempt.status} {attempt.verdict}, generation {attempt.generation}, at {attempt.started:.3f} s)"
    )
