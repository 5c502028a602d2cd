"""Workers that bring no results are seen on /health, and so is their return."""

from datetime import timedelta
from typing import Any

import pytest

from serving.outcomes import MAX_OVERDUE, Outcomes
from tests.conftest import until
from tests.e2e.product import Deployment, an_owner
from tests.web.answers import check, check_error
from tests.web.serving import serving


class Clock:
    """Seconds, as a test says."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def outcomes(clock: Clock) -> Outcomes:
    return Outcomes(15.0, clock)


def test_without_writes_silence_is_no_fault(outcomes, clock):
    clock.now += 10**6
    assert outcomes.fault is None


def test_writes_without_any_result_are_a_fault_once_they_had_their_time(outcomes, clock):
    outcomes.sent(1)
    clock.now += 10
    outcomes.sent(1)
    clock.now += 4.5
    assert outcomes.fault is None
    clock.now += 0.5
    assert outcomes.fault is not None
    assert outcomes.fault.startswith("no result has come for 15 s, though writes were sent (2)")


def test_one_write_alone_has_twice_the_time(outcomes, clock):
    outcomes.sent(1)
    clock.now += 29
    assert outcomes.fault is None
    clock.now += 1
    assert outcomes.fault is not None


def test_a_result_of_any_write_means_that_workers_live(outcomes, clock):
    for _ in range(100):  # one partition is slow, another is not
        outcomes.sent(2)
        clock.now += 10
        outcomes.came()
    clock.now += 10**6
    assert outcomes.fault is None


def test_a_result_that_comes_too_late_for_its_writer_counts(outcomes, clock):
    outcomes.sent(2)
    outcomes.missed("a")
    clock.now += 60
    assert outcomes.fault is not None
    outcomes.came_late("a")
    assert outcomes.fault is None


def test_results_of_others_and_repeated_ones_count_for_nothing(outcomes, clock):
    outcomes.sent(1)
    outcomes.missed("a")
    outcomes.came_late("a")
    outcomes.sent(2)
    clock.now += 60
    for command_id in ("a", "somebody else's", ""):
        outcomes.came_late(command_id)
    assert outcomes.fault is not None


def test_what_was_missed_is_remembered_within_bounds(outcomes, clock):
    for number in range(MAX_OVERDUE + 1):
        outcomes.missed(str(number))
    outcomes.sent(2)
    clock.now += 60
    outcomes.came_late("0")  # the one that is forgotten
    assert outcomes.fault is not None
    outcomes.came_late("1")
    assert outcomes.fault is None


@pytest.mark.parametrize("path", ["/health", "/api/v1/health"])
async def test_health_says_what_is_wrong_and_is_no_failure(clock, path):
    async with serving() as served:
        served.health.outcomes = Outcomes(15.0, clock)
        before = check(await served.client.get(path), 200).json
        assert {"kafka", "tables", "database"} == before["components"].keys()
        assert "reason" not in before
        served.health.outcomes.sent(2)
        clock.now += 20
        during = check(await served.client.get(path), 200).json
        assert ("degraded", "degraded") == (during["status"], during["components"]["worker"])
        assert "no result has come for 20 s" in during["reason"]
        served.health.kafka_healthy = False
        assert "unhealthy" == check(await served.client.get(path), 503)["status"]


async def test_a_worker_that_does_not_come_back_is_seen_and_so_is_one_that_does(servers):
    async with Deployment(await servers.new_topics()) as running:
        client = await running.web(an_owner(), command_timeout=timedelta(seconds=1))

        async def health() -> dict[str, Any]:
            body: dict[str, Any] = check(await client.get("/health"), 200).json
            return body

        for name in ("one", "two"):
            check_error(await client.create(name), 503, "UNAVAILABLE")
        assert "degraded" == (await health())["components"]["worker"]
        assert "(2)" in (await health())["reason"]
        await running.worker()

        async def recovered() -> bool:
            return "worker" not in (await health())["components"]

        await until(recovered, what="a result of what was sent")
        assert "reason" not in await health()
