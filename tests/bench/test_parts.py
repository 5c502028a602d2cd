import mmap
import os
import sys
import time

import msgspec
import pytest

from bench.events import _TAIL, stamps
from bench.load import MOMENT
from bench.peer import Peer, PeerFailed
from bench.records import outputs
from bench.resources import SENT
from bench.usage import usage
from bench.writes import CLUSTER_KINDS, RESOURCE_KINDS, requests, resource
from domain.policy import Policy
from domain.resource import Create, Update
from streams.cause import Cause
from streams.cluster.codec import read_command
from streams.resource import resource_flow
from tests.domain.given import T0

FLOW = resource_flow(Policy())


def test_a_stamp_is_found_wherever_pieces_are_cut():
    text = b'{"spec":{"sentAt":"1700000000123456"},"x":1}{"spec":{"sentAt":"1700000001000000"}}'
    for cut in range(len(text)):
        pieces, rest, found = (text[:cut], text[cut:]), b"", []
        for piece in pieces:
            found += stamps(rest + piece)
            rest = (rest + piece)[-_TAIL:]

        assert [1700000000.123456, 1700000001.0] == found, cut


def test_processor_time_grows_with_work():
    before = usage(os.getpid()).cpu_seconds
    until = time.process_time() + 0.1
    while time.process_time() < until:
        sum(range(1000))

    assert usage(os.getpid()).cpu_seconds - before >= 0.05


def test_memory_grows_with_what_is_kept():
    # given memory that nothing has used and given back before
    before = usage(os.getpid()).memory
    with mmap.mmap(-1, 32_000_000) as kept:
        # when it is written to
        kept.write(b"x" * len(kept))

        # then all of it is this process's own; the text that was written may or may not be
        assert usage(os.getpid()).memory - before > len(kept) * 0.9


def test_a_process_that_has_ended_has_no_usage():
    with pytest.raises(FileNotFoundError):
        usage(2**22 + 1)


def test_a_peer_that_ends_before_it_is_ready_is_told_of():
    with pytest.raises(PeerFailed, match="ended with"), Peer("bench.null", python=sys.executable):
        pass


def test_the_records_of_a_burst_are_those_the_worker_reads():
    commands, reports = (outputs(kind, 5, clusters=100, burst=1) for kind in ("commands", "reports"))

    read = [read_command(output.value, {}) for output in commands]
    assert [command.cluster_id.encode() for command in read] == [output.key for output in commands]
    assert len({command.command_id for command in read}) == 5
    assert all(output.key.decode() in output.value.decode() for output in reports)


def test_no_two_bursts_have_a_command_in_common():
    first, second = (
        {read_command(output.value, {}).command_id for output in outputs("commands", 9, clusters=90, burst=n)}
        for n in (0, 1)
    )

    assert not first & second


def test_the_first_burst_of_resources_creates_them_and_the_others_update_each():
    states, changes = {}, []
    for burst in range(3):
        for output in outputs("resource updates", 5, clusters=1, burst=burst):
            command = msgspec.json.decode(output.value, type=FLOW.messages)
            (event,) = FLOW.kind.decide(states.get(output.key), command, T0)
            states[output.key] = FLOW.kind.evolve(states.get(output.key), event)
            changes.append(event.how)

    assert ["created"] * 5 + ["updated"] * 10 == changes
    assert {"active", "inactive"} == {state.resource.status for state in states.values()}


def test_the_event_of_an_update_tells_when_its_write_was_due():
    # given the body of a PUT, in which the load has filled in the moment
    body = {**resource(), "description": resource()["description"].replace(MOMENT, "1700000000123456")}

    # when it is decided
    (created,) = FLOW.kind.decide(None, Create(id="r", command_id="c", name="one"), T0)
    state = FLOW.kind.evolve(None, created)
    (event,) = FLOW.kind.decide(state, Update(id="r", command_id="u", **body), T0)
    (output,) = FLOW.announce(event, state, Cause("u", T0))

    # then a consumer finds it in the event
    assert [1700000000.123456] == stamps(output.value, SENT)


@pytest.mark.parametrize("kind", [*CLUSTER_KINDS, *RESOURCE_KINDS])
def test_every_prepared_request_differs_at_each_sending(kind):
    assert all(b"#" * 10 in request for request in requests(kind, 30))
