"""Whether what the system says agrees with what its clients were told.

Pure: a history and what was observed in, findings out. What is asked:

- An applied write is there exactly once: one event, and the generation that its answer named.
- A refused write left no trace; one of unknown outcome is done once or not at all.
- Generations have no gaps and no doubles, and the final one counts the updates.
- State, answers of every web process and rows agree with the events.
- Every command got one result.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from bench.history import Attempt, History
from bench.observe import EventFact, Observed, ResultFact

CREATED, UPDATED, DELETED = "cluster.created", "cluster.updated", "cluster.deleted"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it must be."""

    kind: Literal["lost", "doubled", "wrong", "unanswered"]
    text: str


def check(history: History, observed: Observed) -> list[Finding]:
    """Everything that is wrong; empty when all is well."""
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
        *_states(observed, events),
        *_names(observed),
        *_reports(history, observed),
        *_answers(observed),
        *_rows(observed),
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
        if len(facts) > 1 and not _harmless(facts):
            yield Finding("doubled", f"{len(facts)} results for command {command_id}: {facts}")


def _harmless(facts: Iterable[ResultFact]) -> bool:
    """A repeat of a remembered command names the cluster as it is by then, and says `duplicate`."""
    return sum(fact.outcome != "duplicate" for fact in facts) == 1


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
    for attempt in history.of("create", "update"):
        found = traces.pop(attempt.mark, [])
        if len(found) > 1:
            yield Finding("doubled", f"{len(found)} events for {_told(attempt)}: {[e.id for e in found]}")
        elif attempt.outcome == "applied" and not found:
            yield Finding("lost", f"no event for {_told(attempt)}")
        elif attempt.outcome == "rejected" and found:
            yield Finding("wrong", f"an event for the refused {_told(attempt)}")
        elif attempt.outcome == "applied" and not _agrees(attempt, found[0]):
            yield Finding("wrong", f"{_told(attempt)} was told otherwise than event {found[0].data!r}")
    for mark, found in traces.items():
        yield Finding("wrong", f"events with a mark that nobody wrote: {mark} {[e.id for e in found]}")


def _agrees(attempt: Attempt, event: EventFact) -> bool:
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
    """A controller's last word is its last acknowledged report, or a later one of unknown outcome."""
    possible: dict[tuple[str, str], set[str | None]] = {}
    for attempt in history.of("report"):
        place = (attempt.cluster_id or "", attempt.client)
        if attempt.outcome == "applied":
            possible[place] = {attempt.mark}
        elif attempt.outcome == "unknown":
            possible.setdefault(place, {None}).add(attempt.mark)
    for (cluster_id, controller), marks in possible.items():
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


def _told(attempt: Attempt) -> str:
    return (
        f"{attempt.kind} {attempt.mark} by {attempt.client} on {attempt.cluster_id}"
        f" ({attempt.status} {attempt.verdict}, generation {attempt.generation}, at {attempt.started:.3f} s)"
    )
