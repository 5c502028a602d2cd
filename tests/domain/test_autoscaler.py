"""The policies of a cluster, as its autoscaler has them (operations contract, section 7)."""

from datetime import timedelta

from domain.autoscale import ScalingPolicy
from domain.autoscaler import (
    LOOKED_AFTER,
    MAX_POLICIES,
    Close,
    Count,
    Drop,
    Evaluate,
    Open,
    Put,
    autoscaler_kind,
)
from domain.measures import KnownSample
from domain.policy import Policy
from tests.domain.given import CLUSTER_ID, T0

KIND = autoscaler_kind(Policy())
INTERVAL = Policy().autoscale_interval


def policy(id="p", cluster_id=CLUSTER_ID, **members):
    given = {"enabled": True, "min_replicas": 0, "max_replicas": 3, **members}
    return ScalingPolicy(
        id=id,
        name=id,
        cluster_id=cluster_id,
        type="metrics",
        metric_type="cpu",
        metric_trigger=0.8,
        time_window="",
        cost_limit=0.0,
        created_at=T0,
        updated_at=T0,
        **given,
    )


def put(id="p", **members):
    given = policy(id, **members)
    return Put(id=given.cluster_id, command_id="c", policy=given)


def told(*commands, kind=KIND, step=timedelta(seconds=10)):
    """The state after commands, one after the other, and what they have led to."""
    state, said = None, []
    for number, command in enumerate(commands):
        for event in kind.decide(state, command, T0 + number * step):
            state = kind.evolve(state, event)
            said.append(event)
    return state, said


def command(type_, **members):
    return type_(id=CLUSTER_ID, command_id="c", **members)


def high():
    return command(Evaluate, samples=(KnownSample(type="cpu", value=95.0, unit="%", timestamp=T0),))


def test_the_first_policy_asks_whether_there_is_such_a_cluster():
    state, said = told(put("a"), put("b"), put("a", max_replicas=9))
    assert ["put", "asked", "put", "put"] == [event.how for event in said]
    assert [("a", 9), ("b", 3)] == [(each.id, each.max_replicas) for each in state.autoscaler.policies]


def test_without_policies_it_is_forgotten_and_begins_anew():
    state, _ = told(put(), command(Drop, policy_id="p"))
    assert state.deleted_at is not None
    state, said = told(put(), command(Drop, policy_id="p"), put("q"))
    assert ["put", "asked", "dropped", "put", "asked"] == [event.how for event in said]
    assert state.deleted_at is None


def test_policies_too_many_and_of_what_is_no_cluster_are_unwanted():
    _, said = told(*(put(f"p{number}") for number in range(MAX_POLICIES + 1)), put("p0", max_replicas=2))
    assert [f"p{MAX_POLICIES}"] == [event.policy_id for event in said if event.how == "unwanted"]
    state, (event,) = told(put(cluster_id="no-cluster"))
    assert ("unwanted", "p", True) == (event.how, event.policy_id, state.deleted_at is not None)


def test_it_goes_with_its_cluster():
    state, said = told(put(), command(Open, region="nyc3"), command(Close, deleted=True))
    assert ("closed", "nyc3", ["p"]) == (
        said[-1].how,
        said[-1].autoscaler.region,
        [each.id for each in said[-1].autoscaler.policies],
    )
    assert state.deleted_at is not None
    assert () == KIND.decide(state, command(Count, droplets=3), T0)


def test_an_action_is_remembered_for_its_cooldown():
    state, said = told(put(), command(Count, droplets=1), high(), command(Count, droplets=2), high())
    assert ["scale_up"] == [event.decision.action for event in said if event.how == "acted"]
    assert (2, T0 + timedelta(seconds=20)) == (state.autoscaler.droplets, state.autoscaler.acted_at)
    assert ((), "hold") == (state.autoscaler.actions, state.autoscaler.decisions[0].action)


def test_the_same_number_of_droplets_is_no_news():
    _, said = told(put(), command(Count, droplets=1), command(Count, droplets=1))
    assert ["put", "asked", "counted"] == [event.how for event in said]


def test_nobody_else_has_anything_to_evaluate():
    assert (None, []) == told(high())


def woken(state, kind=KIND):
    moment = kind.due_at(state)
    events = kind.wake(state, moment)
    for event in events:
        state = kind.evolve(state, event)
    return state, moment, [event.how for event in events]


def test_policies_are_due_in_intervals_and_from_time_to_time_it_asks_again():
    state, _ = told(put())
    state, moment, said = woken(state)
    assert (T0 + INTERVAL, ["due"]) == (moment, said)
    while (ends := woken(state))[2] == ["due"]:
        state = ends[0]
    assert (T0 + LOOKED_AFTER, ["due", "asked"]) == ends[1:]


def test_without_an_interval_it_only_asks():
    kind = autoscaler_kind(Policy(autoscale_interval=timedelta(0)))
    state, _ = told(put(), kind=kind)
    _, moment, said = woken(state, kind)
    assert (T0 + LOOKED_AFTER, ["asked"]) == (moment, said)
