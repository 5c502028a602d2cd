"""Which records of a changelog count is asked apart from the product: none behind a later claim."""

from dataclasses import dataclass, field

import pytest

from streams.json import encode
from tests.chaos.observe import CLAIM, Observed, counts, note_state

CLUSTER = {"generation": 1, "resource_version": "v", "created_by": "a@b.cd", "name": "n", "spec": {}}


@dataclass
class Record:
    offset: int
    key: bytes
    headers: list[tuple[str, bytes]] = field(default_factory=list)
    partition: int = 0
    value: bytes | None = None


def claim(offset: int, partition: int = 0, *, meant: int | None = None) -> Record:
    return Record(offset, CLAIM, partition=partition, value=encode({"worker": "w", "offset": meant}))


def state(offset: int, under: int | None) -> Record:
    return Record(offset, b"cluster", [] if under is None else [("claim", str(under).encode())])


@pytest.mark.parametrize(
    ("records", "counted"),
    [
        pytest.param([state(0, None), state(1, None)], [0, 1], id="where nobody claims, all do"),
        pytest.param([claim(0), state(1, 0), state(2, 0)], [1, 2], id="those of the owner do"),
        pytest.param(
            [claim(0), state(1, 0), claim(2), state(3, 0), state(4, 2)],
            [1, 4],
            id="those of an owner that was replaced do not",
        ),
        pytest.param(
            [claim(0, meant=0), claim(1, meant=0), state(2, 0)],
            [2],
            id="a claim that came late claims nothing",
        ),
        pytest.param(
            [state(0, None), claim(1), state(2, None)], [0], id="those without a claim do until one"
        ),
        pytest.param([claim(0), claim(5, partition=1), state(6, 0)], [6], id="each partition is its own"),
    ],
)
def test_records_count_under_the_last_claim(records: list[Record], counted: list[int]) -> None:
    standing: dict[int, int] = {}

    assert [record.offset for record in records if counts(record, standing)] == counted


@pytest.mark.parametrize(
    ("known", "faults"),
    [
        pytest.param({}, [], id="of a cluster nobody knows"),
        pytest.param(
            {"one": (1, b"{}")}, ["cluster one was purged, long before its time"], id="of a cluster there is"
        ),
    ],
)
def test_a_tombstone(known: dict[str, tuple[int, bytes]], faults: list[str]) -> None:
    observed = Observed()

    note_state(Record(0, b"one"), observed, known)

    assert faults == observed.faults


def test_a_command_is_answered_by_one_state() -> None:
    observed, revisions = Observed(), {}
    for revision, answers in ((1, ["a", "b"]), (2, []), (3, ["b"])):
        value = encode({"revision": revision, "cluster": CLUSTER, "deleted_at": None, "reports": {}})
        headers = [("answers", answer.encode()) for answer in answers]
        note_state(Record(revision, b"one", headers, value=value), observed, revisions)

    assert {"a", "b"} == observed.answered
    assert ["two states answer b"] == observed.faults
