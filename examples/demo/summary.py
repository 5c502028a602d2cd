"""What PostgreSQL says in the end, and whether it is what the API says."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import asyncpg

from examples.demo.errors import DemoFailure
from examples.demo.fleet import Fleet
from examples.demo.progress import Progress, SeenCluster

AGREE_WITHIN: Final = 20.0  # seconds; the sink writes behind Kafka, not behind the API
POLL: Final = 0.3
SHOWN: Final = 5  # differences named in a failure

CLUSTERS: Final = """
SELECT id::text, name, spec->'platform'->>'type' AS platform, generation, status->>'phase' AS phase,
       status->>'message' AS message
FROM clusters WHERE deleted_at IS NULL
"""
REPORTS: Final = """
SELECT cluster_id::text, controller_name, observed_generation,
       conditions @> '[{"type": "Available", "status": "True"}]' AS available
FROM controller_status
"""
EVENTS: Final = """
SELECT id::text, event_type FROM cluster_events UNION ALL SELECT event_id::text, type FROM events
"""

ReportKey = tuple[str, str, int, bool]  # cluster, controller, observed generation, available


@dataclass(frozen=True, slots=True)
class Account:
    """Clusters, reports and events as one side tells them."""

    clusters: frozenset[SeenCluster]
    reports: frozenset[ReportKey]
    events: dict[str, str]  # id → type

    def by_platform_and_phase(self) -> Counter[tuple[str, str]]:
        """How many clusters of a platform are in a phase."""
        return Counter((seen.platform, seen.phase) for seen in self.clusters)

    def by_type(self) -> Counter[str]:
        """How many events of a type there were."""
        return Counter(self.events.values())

    def by_controller(self) -> Counter[tuple[str, bool]]:
        """How many clusters a controller has made available, and how many not."""
        return Counter((controller, available) for _, controller, _, available in self.reports)


def differences(postgres: Account, told: Account, writes: Mapping[str, int]) -> list[str]:
    """What the two sides don't tell alike.

    Events are compared one way: PostgreSQL must have each that Kafka has shown us; it may know newer ones.
    Of those that writes lead to (`writes`: how many, by type) it must have neither less nor more.
    """
    lost = told.events.items() - postgres.events.items()
    by_type = postgres.by_type()
    return [
        *_unequal("cluster", postgres.clusters, told.clusters),
        *_unequal("report", postgres.reports, told.reports),
        *(f"event {event_id} ({kind}) is not in PostgreSQL" for event_id, kind in sorted(lost)),
        *(
            f"{by_type[kind]} {kind} events in PostgreSQL for {count} writes"
            for kind, count in writes.items()
            if by_type[kind] != count
        ),
    ]


async def agreed(database_url: str, fleet: Fleet, progress: Progress) -> Account:
    """PostgreSQL's account, once it is the API's and Kafka's.

    Raises: DemoFailure: it still isn't after AGREE_WITHIN.
    """
    connection = await asyncpg.connect(database_url)
    deadline = time.monotonic() + AGREE_WITHIN
    try:
        while True:
            events = dict(progress.events)  # seen before PostgreSQL is read: all of them have to be there
            clusters = await fleet.clusters()
            reports = await fleet.reports(clusters)
            told = Account(frozenset(clusters), frozenset(reports), events)
            account = await _account(connection)
            found = differences(account, told, progress.writes)
            if not found:
                return account
            if time.monotonic() > deadline:
                raise DemoFailure(_disagreement(found))
            await asyncio.sleep(POLL)
    finally:
        await connection.close()


async def _account(connection: "asyncpg.Connection[asyncpg.Record]") -> Account:
    return Account(
        clusters=frozenset(SeenCluster(**dict(row)) for row in await connection.fetch(CLUSTERS)),
        reports=frozenset(tuple(row) for row in await connection.fetch(REPORTS)),
        events=dict([tuple(row) for row in await connection.fetch(EVENTS)]),
    )


def _unequal(what: str, postgres: frozenset[object], told: frozenset[object]) -> Iterable[str]:
    for each in sorted(map(repr, postgres - told)):
        yield f"{what} only in PostgreSQL: {each}"
    for each in sorted(map(repr, told - postgres)):
        yield f"{what} only in the API: {each}"


def _disagreement(found: list[str]) -> str:
    more = f"\n  … and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return (
        f"PostgreSQL and the API still disagree after {AGREE_WITHIN:.0f} s; is the sink running?\n  "
        + "\n  ".join(found[:SHOWN])
        + more
    )
