"""What is told of jobs: all of it in one trace, whoever asks for them and however often they are begun."""

from datetime import UTC, datetime
from functools import reduce

import pytest

from domain.errors import Rejected
from domain.job import Claim, Create, Fail
from domain.policy import Policy
from streams.cause import Cause
from streams.job import announce, job_flow
from streams.json import encode
from streams.trace import trace_id

T0 = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
FLOW = job_flow(Policy())
TRACE = "0af76519-16cd-43dd-8448-eb211c80319c"
CREATE = Create(id="j", command_id="c", job_type="scale", cluster_id="k", trace_id=TRACE)


def told(*commands, headers=()):
    """The records that commands lead to, and at last the wake that follows them."""
    kind, state, outputs = FLOW.kind, None, []
    for command in (*commands, None):
        if command is None and kind.due_at(state) is None:
            break
        at = T0 if command is not None else kind.due_at(state)
        events = kind.wake(state, at) if command is None else kind.decide(state, command, at)
        state = reduce(kind.evolve, events, state)
        cause = Cause("w" if command is None else command.command_id, at, dict(headers))
        outputs += [output for event in events for output in announce(event, state, cause)]
    return outputs


def test_the_trace_of_the_request_is_carried_on():
    headers = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
    assert {"4bf92f3577b34da6a3ce929d0e0e4736"} == {
        trace_id(output.headers) for output in told(CREATE, headers=headers)
    }


def test_what_comes_without_a_trace_is_in_that_of_the_job():
    fail = Fail(id="j", command_id="f", claim="k", error="no luck")
    outputs = told(CREATE, Claim(id="j", command_id="k"), fail)
    assert ["job.queue", "cluster-events", "cluster-events", "job.queue"] == [each.topic for each in outputs]
    assert {TRACE.replace("-", "")} == {trace_id(output.headers) for output in outputs}
    assert outputs == told(CREATE, Claim(id="j", command_id="k"), fail)


@pytest.mark.parametrize("trace", ["what", TRACE.upper(), "a\0b", f"{TRACE}0"])
def test_a_trace_is_named_by_a_uuid(trace):
    body = encode(CREATE).replace(TRACE.encode(), encode(trace)[1:-1])
    with pytest.raises(Rejected, match="trace_id"):
        FLOW.read_command(body)
