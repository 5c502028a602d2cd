"""Roles that wait for Kafka: what it answers in the end counts, and what waiting does not cure is raised."""

import asyncio
import logging

import pytest
from aiokafka.errors import KafkaConnectionError

from domain.errors import NotPermitted, Unavailable
from streams.kafka import patience
from streams.kafka.patience import once_it_answers

log = logging.getLogger("test")


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr(patience, "INTERVAL", 0.001)


def answers(*given):
    """A question that is answered by these one after the other; errors are raised."""
    left = [*given]

    async def ask():
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return ask


async def test_it_is_asked_until_it_answers_and_that_is_told_once(caplog):
    ask = answers(KafkaConnectionError("away"), Unavailable("away"), "here")
    assert "here" == await once_it_answers(ask, stop=asyncio.Event(), log=log)
    assert ["waiting for Kafka"] == [record.message for record in caplog.records if record.name == "test"]


async def test_who_is_told_to_stop_waits_no_longer():
    stop = asyncio.Event()

    async def ask():
        stop.set()
        raise Unavailable("away")

    assert await once_it_answers(ask, stop=stop, log=log) is None


@pytest.mark.parametrize("error", [NotPermitted("no right"), ValueError("another form")])
async def test_what_waiting_does_not_cure_is_raised(error):
    with pytest.raises(type(error)):
        await once_it_answers(answers(error, "here"), stop=asyncio.Event(), log=log)
