"""Samples that are made up for demonstrations (operations contract, section 8)."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from domain.measures import MEASURED
from executors.synthetic import EVERY, RANGES, made_up, make_up
from streams.samples import FLOW
from tests.conftest import until

ONE, OTHER = "4fe1157b-ebd4-4ece-9f79-dd52c6504f4e", "5fe1157b-ebd4-4ece-9f79-dd52c6504f4e"


class Fleet:
    """Views of two clusters."""

    async def clusters(self) -> AsyncIterator[Sequence[str]]:
        yield [ONE]
        yield [OTHER]


class Kafka:
    """Keeps what is published."""

    def __init__(self) -> None:
        self.outputs = []

    async def publish(self, outputs):
        self.outputs += outputs


@pytest.mark.parametrize("moment", [0, EVERY, 1_700_000_000])
def test_what_is_made_up_follows_from_the_cluster_and_the_moment(moment):
    add = made_up(ONE, moment)
    assert add == made_up(ONE, moment)
    assert add.command_id != made_up(OTHER, moment).command_id
    assert [*MEASURED] == [sample.type for sample in add.samples]
    assert {moment} == {sample.timestamp.timestamp() for sample in add.samples}
    assert all(RANGES[each.type][0] <= each.value <= RANGES[each.type][1] for each in add.samples)
    assert "synthetic" == add.source


async def test_all_clusters_get_samples():
    kafka = Kafka()
    making = asyncio.create_task(make_up(Fleet(), FLOW, kafka))

    async def both() -> bool:
        return {output.key for output in kafka.outputs} == {ONE.encode(), OTHER.encode()}

    try:
        await until(both, within=5, what="samples of both clusters")
    finally:
        making.cancel()
        await asyncio.wait({making})
