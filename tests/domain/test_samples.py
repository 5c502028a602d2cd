"""The newest samples of a cluster (operations contract, sections 1.4 and 8)."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.samples import KEPT_FOR, SAMPLES, Add, Given, Tell, id_of, taken
from tests.domain.given import CLUSTER_ID, after

MOMENTS = st.lists(st.tuples(st.integers(0, 100), st.floats(0, 100)), min_size=1, max_size=30)


def add(*samples, source=None):
    return Add(id=CLUSTER_ID, command_id="x", samples=samples, source=source)


def cpu(value, seconds=None):
    return Given(type="cpu", value=value, timestamp=None if seconds is None else after(seconds=seconds))


def told(*steps):
    """The state after commands at these seconds, and what they have led to."""
    state, events = None, []
    for seconds, command in steps:
        for event in SAMPLES.decide(state, command, after(seconds=seconds)):
            state = SAMPLES.evolve(state, event)
            events.append(event)
    return state, events


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (Given(type="cpu", value=1.0), ("cpu", "%")),
        (Given(type="network", value=1.0), ("network", "Mbps")),
        (Given(type="cpu_usage", value=1.0, unit="percent"), ("cpu", "%")),
        (Given(type="memory_usage", value=1.0), ("memory", "%")),
        (Given(type="network", value=1.0, unit="Gbps"), ("network", "Gbps")),
    ],
)
def test_types_and_units_have_one_name(given, expected):
    (sample,) = taken(add(given), after())
    assert expected == (sample.type, sample.unit)


def test_without_a_time_or_ahead_of_it_a_sample_is_of_now():
    samples = taken(add(cpu(1.0), cpu(2.0, seconds=60), cpu(3.0, seconds=-60)), after())
    assert [after(), after(), after(seconds=-60)] == [sample.timestamp for sample in samples]


def test_the_id_of_a_sample_is_that_of_its_moment():
    first, again, other = taken(add(cpu(1.0, -5), cpu(2.0, -5), cpu(1.0, -6)), after())
    assert id_of(CLUSTER_ID, first) == id_of(CLUSTER_ID, again) != id_of(CLUSTER_ID, other)
    assert f"{CLUSTER_ID}-cpu-{round(after(seconds=-5).timestamp() * 1000)}" == id_of(CLUSTER_ID, first)


@given(moments=MOMENTS)
def test_the_newest_counts_in_whatever_order_they_come(moments):
    state, _ = told(*((200, add(cpu(value, seconds))) for seconds, value in moments))
    newest = max(seconds for seconds, _ in moments)
    last = [value for seconds, value in moments if seconds == newest][-1]
    assert (after(seconds=newest), last) == (
        state.samples.latest["cpu"].timestamp,
        state.samples.latest["cpu"].value,
    )


def test_a_threshold_is_told_once_each_time_it_is_crossed_upward():
    values = (80.0, 81.0, 95.0, 80.0, 85.0)
    _, events = told(*((number, add(cpu(value))) for number, value in enumerate(values)))
    assert [81.0, 85.0] == [event.sample.value for event in events if event.how == "crossed"]


def test_an_old_sample_crosses_nothing():
    _, events = told((10, add(cpu(10.0, 9))), (11, add(cpu(99.0, 8))))
    assert [] == [event for event in events if event.how == "crossed"]


def test_two_types_cross_together():
    both = add(cpu(99.0), Given(type="disk", value=99.0))
    _, events = told((0, both))
    assert ["cpu", "disk"] == [event.sample.type for event in events if event.how == "crossed"]


def test_whoever_asks_is_told_also_of_a_cluster_without_samples():
    _, (event,) = told((0, Tell(id=CLUSTER_ID, command_id="x")))
    assert ("told", {}) == (event.how, event.samples.latest)
    _, events = told((0, add(cpu(5.0))), (1, Tell(id=CLUSTER_ID, command_id="x")))
    assert 5.0 == events[-1].samples.latest["cpu"].value


def test_a_cluster_that_sends_no_more_is_forgotten():
    state, _ = told((0, add(cpu(5.0))), (60, add(cpu(6.0))))
    moment = SAMPLES.due_at(state)
    assert after(seconds=60) + KEPT_FOR == moment
    (event,) = SAMPLES.wake(state, moment)
    state = SAMPLES.evolve(state, event)
    assert moment == state.deleted_at
    state, _ = told((0, add(cpu(7.0))))
    assert (7.0, None) == (state.samples.latest["cpu"].value, state.deleted_at)


@pytest.mark.parametrize(
    "body",
    [
        {"samples": []},
        {"samples": [{"type": "load", "value": 1}]},
        {"samples": [{"type": "cpu", "value": "1"}]},
        {"samples": [{"type": "cpu", "value": 1e16}]},
        {"samples": [{"type": "cpu", "value": 1, "timestamp": "2026-01-01T00:00:00"}]},
        {"samples": [{"type": "cpu", "value": 1, "unit": "a\0b"}]},
        {"samples": [{"type": "cpu", "value": 1}] * 101},
    ],
)
def test_what_is_no_sample_is_not_read(body):
    whole = {"type": "samples.add", "id": CLUSTER_ID, "command_id": "x", **body}
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(whole, Add)
