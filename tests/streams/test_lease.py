"""The lease: who may write, and until when."""

from types import SimpleNamespace

import pytest
from aiokafka.errors import NodeNotReadyError
from aiokafka.protocol.group import HeartbeatRequest, LeaveGroupRequest, SyncGroupRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.produce import ProduceRequest

from streams.writing import lease as module
from streams.writing.lease import SHARE, Lease
from tests.clock import Clock

SESSION = 10.0
NO_ERROR, REBALANCE_IN_PROGRESS, UNKNOWN_MEMBER = 0, 27, 25


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "monotonic", clock)
    return clock


def coordinator(clock, *, error_code, takes=0.0):
    """A group coordinator whose broker answers alike, after so many seconds."""

    async def send(request):
        clock.now += takes
        return SimpleNamespace(error_code=error_code)

    return SimpleNamespace(_send_req=send)


def request_of(kind):
    return kind.__new__(kind)


@pytest.mark.parametrize(
    ("request_kind", "error_code", "held"),
    [
        pytest.param(HeartbeatRequest, NO_ERROR, True, id="an accepted heartbeat gives it"),
        pytest.param(
            HeartbeatRequest, REBALANCE_IN_PROGRESS, True, id="a member is waited for in a rebalance"
        ),
        pytest.param(SyncGroupRequest, NO_ERROR, True, id="an assignment gives it"),
        pytest.param(HeartbeatRequest, UNKNOWN_MEMBER, False, id="a member that was put out gets none"),
        pytest.param(LeaveGroupRequest, NO_ERROR, False, id="leaving is no sign of life"),
    ],
)
async def test_what_gives_the_lease(clock, request_kind, error_code, held):
    lease, group = Lease(SESSION), coordinator(clock, error_code=error_code)
    lease.renew_by(group)
    await group._send_req(request_of(request_kind))
    assert held == lease.held


async def test_it_runs_from_the_moment_the_heartbeat_was_sent(clock):
    lease, group = Lease(SESSION), coordinator(clock, error_code=NO_ERROR, takes=3.0)
    lease.renew_by(group)
    await group._send_req(request_of(HeartbeatRequest))
    clock.now += SESSION * SHARE - 3.0 - 0.01
    assert lease.held
    clock.now += 0.02
    assert not lease.held


async def test_without_it_no_record_reaches_the_wire(clock):
    sent = []

    async def send(node_id, request, **options):
        sent.append(type(request))

    lease, group, client = Lease(SESSION), coordinator(clock, error_code=NO_ERROR), SimpleNamespace(send=send)
    lease.renew_by(group)
    lease.bind(client)
    with pytest.raises(NodeNotReadyError):
        await client.send(0, request_of(ProduceRequest))
    await client.send(0, request_of(MetadataRequest))
    await group._send_req(request_of(HeartbeatRequest))
    await client.send(0, request_of(ProduceRequest))
    clock.now += SESSION
    with pytest.raises(NodeNotReadyError):
        await client.send(0, request_of(ProduceRequest))
    assert [MetadataRequest, ProduceRequest] == sent
