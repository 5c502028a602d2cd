"""Nothing lost, nothing doubled while a worker joins and another is killed: `bench.failover`, shortened."""

import pytest

from bench.failover import Plan, describe, run
from bench.stage import Stage
from streams.topics import Topics


@pytest.mark.timeout(180)
async def test_every_write_is_there_once_after_a_worker_joined_and_another_was_killed(
    stage: Stage, topics: Topics
) -> None:
    outcome = await run(stage, Plan(clients=8, seconds=20.0), topics=topics)

    assert outcome.findings == [], describe(outcome)
    assert outcome.history.count("applied") > 100
    assert outcome.observed.rows is not None
