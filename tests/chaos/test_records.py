"""Bad records: each kind for each topic once, under keys of their own, the same from the same draws."""

import random

from streams.flows import SIMPLE_FLOWS
from streams.topic import MAX_INPUT_BYTES
from streams.topics import Topics
from tests.chaos.records import POISON, bad_records

TOPICS = Topics()


def records(seed: int = 1) -> list:
    return list(bad_records(random.Random(seed), TOPICS))


def test_every_topic_with_readers_of_foreign_records_gets_some() -> None:
    topics = {record.topic for record in records()}

    changelogs = {TOPICS.state, TOPICS.names, *(TOPICS.of(flow.state) for flow in SIMPLE_FLOWS)}
    assert topics == {spec.name for spec in TOPICS.all() if spec.dead_letters} - changelogs


def test_each_can_be_told_from_good_ones_and_from_the_others_by_its_key() -> None:
    keys = [record.key for record in records()]

    assert all(key.startswith(POISON) for key in keys)
    assert len(set(keys)) == len(keys)


def test_the_same_draws_give_the_same_records() -> None:
    assert records(1) == records(1)
    assert records(1) != records(2)


def test_what_is_as_large_as_the_bound_is_so_with_its_key_or_by_its_headers() -> None:
    bound = [record for record in records() if record.key.startswith(f"{POISON}bound")]
    headers = [record for record in records() if record.headers]

    assert len(bound) == len(headers) == sum(spec.from_outside for spec in TOPICS.all())
    assert {len(record.key) + len(record.value or b"") for record in bound} == {MAX_INPUT_BYTES}
    assert all(len(record.headers[0][1]) > MAX_INPUT_BYTES for record in headers)


def test_a_large_one_is_beyond_what_is_taken_from_outside() -> None:
    large = [record for record in records() if record.key.startswith(f"{POISON}large")]

    assert large
    assert all(len(record.value) > MAX_INPUT_BYTES for record in large)
