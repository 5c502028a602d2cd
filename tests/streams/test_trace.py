"""A valid trace is kept as it is; anything else is replaced by a new trace (W3C Trace Context)."""

import pytest

from streams.trace import trace_id, trace_named, trace_of

ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{ID}-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    "parent", [PARENT, f"00-{ID}-00f067aa0ba902b7-00", f"cc-{ID}-00f067aa0ba902b7-01-what"]
)
def test_a_valid_one_is_carried_on(parent):
    assert {"traceparent": parent, "tracestate": "a=1, b=2"} == trace_of(parent, "a=1, b=2")
    assert ID == trace_id(trace_of(parent))


@pytest.mark.parametrize(
    "parent",
    [
        None,
        "",
        "what",
        PARENT.upper(),
        f"{PARENT}-more",
        f"{PARENT}, {PARENT}",
        f"ff{PARENT[2:]}",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{ID}-{'0' * 16}-01",
        f"{PARENT}\n",
        f"cc-{ID}-00f067aa0ba902b7-01-{'x' * 65}",
    ],
)
def test_any_other_begins_anew_without_its_state(parent):
    new, other = trace_of(parent, "a=1"), trace_of(parent, "a=1")
    assert new.keys() == {"traceparent"}
    assert len(trace_id(new)) == 32
    assert len({ID, trace_id(new), trace_id(other)}) == 3


@pytest.mark.parametrize("state", ["", None, "ä=1", "a=\x00", "x" * 513])
def test_a_state_that_is_no_text_or_too_long_is_dropped(state):
    assert {"traceparent": PARENT} == trace_of(PARENT, state)


def test_a_record_without_a_trace_has_no_id():
    assert "" == trace_id({}) == trace_id({"traceparent": "what"})


def test_a_trace_is_named_by_a_uuid():
    name = "4bf92f35-77b3-4da6-a3ce-929d0e0e4736"
    assert name.replace("-", "") == trace_id(trace_named(name))


@pytest.mark.parametrize("name", ["", "what", "0" * 32, "00000000-0000-0000-0000-000000000000", "a" * 99])
def test_what_is_no_uuid_names_none(name):
    given = trace_id(trace_named(name))
    assert 32 == len(given)
    assert {"0"} != {*given}
