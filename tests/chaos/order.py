"""Whether what clients saw has one order per cluster that agrees with the clock (linearizability of writes).

Every accepted write has a generation, so the order is known and has only to be compared with the moments:

- A write that was known to be done before another began has the lower generation.
- A conditional write was accepted right after the version it named, or refused because another could have
  come in between.

Reads are answered by a view of each web process, which may be behind another's. So of them is asked what a
client of one process relies on: they show what was written, nothing from the future, and never go back behind
what this process has shown or confirmed before.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from tests.chaos.history import Attempt, History, Read
from tests.chaos.observe import EventFact

CREATED, UPDATED = "cluster.created", "cluster.updated"


@dataclass(frozen=True, slots=True)
class Write:
    """One accepted write: when it may have begun and when it was known to be done, in seconds."""

    mark: str
    generation: int
    resource_version: str
    begun: float
    known: float


def disorders(history: History, events: Iterable[EventFact]) -> list[str]:
    """Everything that no order explains."""
    found: list[str] = []
    versions: dict[str, Mapping[int, Write]] = {}
    for cluster_id, writes in accepted(history, events).items():
        versions[cluster_id] = {write.generation: write for write in writes}
        found += _against_the_clock(cluster_id, writes)
    for attempt in history.of("update"):
        if attempt.expected_version is not None:
            found += _condition(attempt, versions.get(attempt.cluster_id or "", {}))
    return found + list(_reads(history, versions))


def accepted(history: History, events: Iterable[EventFact]) -> Mapping[str, list[Write]]:
    """The accepted writes of each cluster by generation; of a mark that nobody wrote, nothing is known."""
    attempts = history.writes()
    writes: dict[str, list[Write]] = defaultdict(list)
    for event in events:
        tried = attempts.get(event.mark or "")
        if event.type in (CREATED, UPDATED) and tried:
            begun = min(attempt.started for attempt in tried)
            known = min(attempt.known_by for attempt in tried)
            writes[event.cluster_id].append(
                Write(event.mark or "", event.generation, event.resource_version, begun, known)
            )
    for found in writes.values():
        found.sort(key=lambda write: write.generation)
    return writes


def _against_the_clock(cluster_id: str, writes: Sequence[Write]) -> Iterator[str]:
    latest: Write | None = None  # of those so far, the one that began last
    for write in writes:
        if latest is not None and write.known < latest.begun:
            yield (
                f"{cluster_id}: {write.mark} has generation {write.generation} and was known at"
                f" {write.known:.3f} s, before {latest.mark} of generation {latest.generation} began"
                f" at {latest.begun:.3f} s"
            )
        if latest is None or write.begun > latest.begun:
            latest = write


def _condition(attempt: Attempt, writes: Mapping[int, Write]) -> Iterator[str]:
    """A conditional update: accepted next after its version, refused only if that was no longer the last."""
    named = next((w for w in writes.values() if w.resource_version == attempt.expected_version), None)
    if named is None:
        return  # of no version that there ever was; that it is refused is asked elsewhere
    following = writes.get(named.generation + 1)
    if attempt.outcome == "applied" and (following is None or following.mark != attempt.mark):
        yield f"{attempt.mark} was accepted on generation {named.generation}, which {following} followed"
    conflict = attempt.outcome == "rejected" and attempt.code == "GENERATION_CONFLICT"
    if conflict and (following is None or following.begun > attempt.ended):
        yield f"{attempt.mark} was refused, and nothing had followed generation {named.generation}"


def _reads(history: History, versions: Mapping[str, Mapping[int, Write]]) -> Iterator[str]:
    places: dict[tuple[int, str], list[Read]] = defaultdict(list)
    for read in history.reads:
        yield from _content(read, versions.get(read.cluster_id, {}))
        places[read.web, read.cluster_id].append(read)
    confirmed: dict[tuple[int, str], list[tuple[float, int]]] = defaultdict(list)
    deleting: dict[str, float] = defaultdict(lambda: inf)
    for attempt in history.attempts:
        place = (attempt.web if attempt.web is not None else -1, attempt.cluster_id or "")
        if attempt.outcome == "applied" and attempt.generation is not None:
            confirmed[place].append((attempt.ended, attempt.generation))
        if attempt.kind == "delete" and attempt.outcome != "rejected":
            deleting[place[1]] = min(deleting[place[1]], attempt.started)
        if attempt.kind == "delete" and attempt.outcome == "applied":
            confirmed[place].append((attempt.ended, GONE))
    for place, reads in places.items():
        yield from _never_back(place, reads, confirmed[place], deleting[place[1]])


GONE = 2**63  # beyond every generation: a cluster that has been deleted stays so


def _content(read: Read, writes: Mapping[int, Write]) -> Iterator[str]:
    if read.status != 200:
        return
    write = writes.get(read.generation)
    if write is None or (write.resource_version, write.mark) != (read.resource_version, read.mark):
        yield f"{read} shows what never was: generation {read.generation} is {write}"
    elif write.begun > read.ended:
        yield f"{read} shows {write}, which began later"


def _never_back(
    place: tuple[int, str], reads: Iterable[Read], confirmed: Iterable[tuple[float, int]], deleting: float
) -> Iterator[str]:
    """At one web process: no read shows less than was shown or confirmed there before it began.

    `deleting`: when somebody first asked to delete the cluster.
    """
    web, cluster_id = place
    # That a process shows nothing proves nothing: it may be behind, before the creation.
    shown = [(read.ended, read.generation) for read in reads if read.status == 200]
    known = sorted([*confirmed, *shown], key=lambda moment: moment[0])
    least, position = 0, 0
    for read in sorted(reads, key=lambda read: read.started):
        while position < len(known) and known[position][0] < read.started:
            least = max(least, known[position][1])
            position += 1
        if _shown(read, deleting) < least:
            what = "that it was deleted" if least == GONE else f"generation {least}"
            yield f"web-{web} went back on {cluster_id}: it had shown {what}, and then {read}"


def _shown(read: Read, deleting: float) -> int:
    """The generation a read shows; a 404 shows none, or all once somebody had asked to delete the cluster."""
    if read.status == 200:
        return read.generation
    return GONE if deleting < read.ended else 0
