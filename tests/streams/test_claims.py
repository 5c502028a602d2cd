"""Claims: which records of a changelog count, whoever reads from wherever."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.claims import CLAIM_HEADER, CLAIM_KEY, NO_CLAIM, PASSED_OVER, Claims, claim_output, under


@dataclass(frozen=True)
class Record:
    offset: int
    key: bytes
    headers: tuple[tuple[str, bytes | None], ...] = ()
    partition: int = 0
    value: bytes | None = b"{}"
    topic: str = "state"


def claim(offset, partition=0):
    return Record(offset, CLAIM_KEY, partition=partition)


def data(offset, under=None, partition=0):
    headers = () if under is None else ((CLAIM_HEADER, b"%d" % under),)
    return Record(offset, b"key", headers, partition)


def admitted(*records, standing=None):
    claims = Claims(standing)
    return [record.offset for record in records if claims.admits(record)]


@pytest.mark.parametrize(
    ("given", "counts"),
    [
        pytest.param([data(0), data(1)], [0, 1], id="without any claim everything counts"),
        pytest.param([claim(0), data(1, under=0)], [1], id="a claim itself is no data"),
        pytest.param(
            [claim(0), data(1, 0), claim(2), data(3, 0), data(4, 2)], [1, 4], id="a zombie's is not"
        ),
        pytest.param([claim(0), data(1)], [], id="nor is one under no claim, once there is one"),
        pytest.param([data(5, 3), data(6, 1)], [5], id="a claim that was compacted away holds too"),
        pytest.param([claim(0), data(1, 0), claim(2, 1), data(3, 0)], [1, 3], id="partitions are apart"),
        pytest.param([Record(0, b"key", ((CLAIM_HEADER, b"x"),))], [0], id="a claim of nonsense is none"),
    ],
)
def test_what_counts(given, counts):
    assert counts == admitted(*given)


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(None, id="null"),
        pytest.param(b"", id="empty"),
        pytest.param(b"9" * 5000, id="5,000 digits"),
        pytest.param(b"9" * 20, id="a digit more than an offset can have"),
        pytest.param("\u00b2".encode(), id="a digit of another kind"),
        pytest.param(b"-1", id="a sign"),
    ],
)
def test_what_cannot_be_a_claim_is_none_and_is_counted(header):
    before = counted("malformed")
    odd = Record(2, b"key", ((CLAIM_HEADER, header),))
    assert [1, 3] == admitted(claim(0), data(1, under=0), odd, data(3, under=0))
    assert before + 1 == counted("malformed")


@pytest.mark.parametrize("named", [5, 6, 10**18, 10**19 - 1])
def test_a_claim_that_its_owner_cannot_have_made_is_refused_with_its_offset(named, caplog):
    before = counted("ahead")
    log = [claim(0), data(1, under=0), data(5, under=named), data(6, under=0)]
    claims = Claims()
    assert [1, 6] == [record.offset for record in log if claims.admits(record)]
    assert (0, before + 1) == (claims.standing(0), counted("ahead"))
    (line,) = [line for line in caplog.records if line.levelname == "ERROR"]
    assert ("state", 0, 5, named) == (line.topic, line.partition, line.offset, line.claim)
    assert "docs/recovery.md" in line.way_out


def test_a_flood_of_impossible_claims_is_counted_and_does_not_flood_the_log(caplog):
    before = counted("ahead")
    assert [] == admitted(*(data(n, under=10**18) for n in range(1000)))
    assert before + 1000 == counted("ahead")
    assert 10 == len(caplog.records)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(None, id="a tombstone"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff\xfe", id="no text"),
        pytest.param(b"[1]", id="no object"),
        pytest.param(b'{"worker":"host/1","offset":1}', id="a copy, which lies elsewhere"),
        pytest.param(b'{"worker":"host/1","offset":"2"}', id="an offset that is no number"),
    ],
)
def test_a_record_under_the_claims_key_that_is_no_claim_takes_nothing_over(value):
    before = counted("malformed")
    odd = Record(2, CLAIM_KEY, value=value)
    assert [3] == admitted(claim(1), odd, data(3, under=1))
    assert before + 1 == counted("malformed")


def test_a_claim_stands_where_it_says_that_it_lies():
    claims = Claims()
    assert not claims.admits(Record(7, CLAIM_KEY, value=b'{"worker":"host/1","offset":7}'))
    assert 7 == claims.standing(0)


def test_records_under_another_claim_and_under_none_are_counted():
    before = counted("replaced"), counted("unclaimed")
    assert [] == admitted(claim(0), claim(1), data(2, under=0), data(3))
    assert (before[0] + 1, before[1] + 1) == (counted("replaced"), counted("unclaimed"))


def counted(reason):
    return PASSED_OVER.labels("state", reason)._value.get()


def test_a_reader_in_the_middle_is_told_what_stood_there():
    zombie = data(9, under=1)
    assert ([9], []) == (admitted(zombie), admitted(zombie, standing={0: 4}))


def test_a_partition_that_was_forgotten_begins_anew():
    claims = Claims()
    claims.admits(claim(7))
    claims.forget(0)
    assert NO_CLAIM == claims.standing(0)
    assert claims.admits(data(0))


@given(
    st.lists(st.sampled_from(["take over", "owner writes", "zombie writes"]), max_size=30), st.integers(0, 30)
)
def test_every_reader_comes_to_the_same_whatever_came_late(story, start):
    """Workers take over from each other, and any former one may still write."""
    log, claims_made = [], []
    for number, what in enumerate(story):
        if what == "take over":
            log.append(claim(number))
            claims_made.append(number)
        elif claims_made:
            log.append(data(number, under=claims_made[-1 if what == "owner writes" else 0]))
    truth = [
        record.offset
        for record in log
        if record.key != CLAIM_KEY
        and int(record.headers[0][1]) == max(c for c in claims_made if c < record.offset)
    ]
    assert truth == admitted(*log)
    middle = Claims()
    for record in log[:start]:
        middle.admits(record)
    later = [offset for offset in truth if offset in {record.offset for record in log[start:]}]
    assert later == admitted(*log[start:], standing={0: middle.standing(0)})


def test_what_a_claim_and_a_record_under_it_look_like():
    output = claim_output("state", 3, "host/1")
    assert (CLAIM_KEY, 3, b'{"worker":"host/1"}') == (output.key, output.partition, output.value)
    assert b'{"worker":"host/1","offset":7}' == claim_output("state", 3, "host/1", offset=7).value
    assert {CLAIM_HEADER: "17"} == under(17)
