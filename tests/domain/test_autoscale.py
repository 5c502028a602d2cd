"""What policies lead to (operations contract, sections 1.5, 7 and 17)."""

from datetime import UTC, time, timedelta

import pytest

from domain.autoscale import (
    Bounds,
    Decision,
    ScalingPolicy,
    Situation,
    bounds_of,
    check,
    evaluate,
    window_of,
    zone_of,
)
from domain.errors import Rejected
from domain.measures import FRESH, Sample
from domain.values import replace
from tests.domain.given import T0

UP, DOWN, HOLD, CHECKED = "scale_up", "scale_down", "hold", "cost_limit_check"


def policy(type_="metrics", id="p", **members):
    given = {
        "enabled": True,
        "min_replicas": 1,
        "max_replicas": 5,
        "metric_type": "cpu",
        "metric_trigger": 0.8,
        "time_window": "09:00-17:00",
        "cost_limit": 1000.0,
    }
    return ScalingPolicy(
        **{**given, **members}, id=id, name=id, cluster_id="c", type=type_, created_at=T0, updated_at=T0
    )


def now(droplets=3, *, cpu=None, network=None, age=timedelta(0), hour=12, acted=None, zone="UTC"):
    values = {"cpu": cpu, "network": network}
    samples = [
        Sample(type=type_, value=value, unit="%", timestamp=T0.replace(hour=hour) - age)
        for type_, value in values.items()
        if value is not None
    ]
    return Situation(
        droplets=droplets,
        samples=samples,
        at=T0.replace(hour=hour),
        acted_at=None if acted is None else T0.replace(hour=hour) - timedelta(seconds=acted),
        cooldown=timedelta(seconds=60),
        zone=zone_of(zone),
    )


def actions(policies, situation):
    return [decision.action for decision in evaluate(policies, situation)]


@pytest.mark.parametrize(
    ("droplets", "given", "expected"),
    [
        pytest.param(3, {"cpu": 95.0}, [UP], id="above the trigger"),
        pytest.param(3, {"cpu": 80.0}, [UP], id="at the trigger"),
        pytest.param(3, {"cpu": 60.0}, [], id="between"),
        pytest.param(3, {"cpu": 48.0}, [DOWN], id="at six tenths of it"),
        pytest.param(3, {"cpu": 40.0}, [DOWN], id="below"),
        pytest.param(5, {"cpu": 95.0}, [HOLD], id="as many as may be"),
        pytest.param(1, {"cpu": 40.0}, [HOLD], id="as few as may be"),
        pytest.param(0, {"cpu": 40.0}, [UP], id="too few"),
        pytest.param(0, {}, [UP], id="too few, and nothing is measured"),
        pytest.param(6, {"cpu": 95.0}, [DOWN], id="too many"),
        pytest.param(3, {}, [], id="nothing is measured"),
        pytest.param(3, {"cpu": 95.0, "age": FRESH}, [UP], id="just fresh"),
        pytest.param(3, {"cpu": 95.0, "age": FRESH * 1.01}, [], id="too old"),
        pytest.param(3, {"network": 95.0}, [], id="another type"),
        pytest.param(3, {"cpu": 95.0, "acted": 59}, [HOLD], id="not long ago"),
        pytest.param(3, {"cpu": 95.0, "acted": 60}, [UP], id="long enough ago"),
    ],
)
def test_a_policy_of_metrics(droplets, given, expected):
    assert expected == actions([policy()], now(droplets, **given))


@pytest.mark.parametrize(
    ("window", "hour", "zone", "droplets", "expected"),
    [
        ("09:00-17:00", 12, "UTC", 3, [UP]),
        ("09:00-17:00", 9, "UTC", 3, [UP]),
        ("09:00-17:00", 17, "UTC", 3, [DOWN]),
        ("22:00-06:00", 23, "UTC", 3, [UP]),
        ("22:00-06:00", 5, "UTC", 3, [UP]),
        ("22:00-06:00", 6, "UTC", 3, [DOWN]),
        ("09:00-17:00", 12, "UTC", 5, [HOLD]),
        ("09:00-17:00", 20, "UTC", 1, [HOLD]),
        ("09:00-10:00", 8, "Europe/Berlin", 3, [UP]),
    ],
)
def test_a_policy_of_the_time_of_day(window, hour, zone, droplets, expected):
    timed = policy("time_of_day", time_window=window)
    assert expected == actions([timed], now(droplets, hour=hour, zone=zone))


@pytest.mark.parametrize(
    ("limit", "expected"), [(108.01, [CHECKED, UP]), (108.0, [CHECKED, HOLD]), (1.0, [CHECKED, HOLD])]
)
def test_a_limit_of_cost_stops_growth(limit, expected):
    dear = policy("cost", "c", cost_limit=limit)
    assert expected == actions([policy(), dear], now(3, cpu=95.0))


def test_a_limit_of_cost_lets_shrink():
    assert [CHECKED, DOWN] == actions([policy(), policy("cost", "c", cost_limit=1.0)], now(3, cpu=40.0))


@pytest.mark.parametrize(
    ("cpu", "hour", "expected"),
    [
        pytest.param(40.0, 12, [HOLD, UP], id="up goes first"),
        pytest.param(95.0, 12, [UP, HOLD], id="the first of two"),
        pytest.param(40.0, 20, [DOWN, HOLD], id="the first of two that shrink"),
        pytest.param(60.0, 20, [DOWN], id="one has nothing to say"),
    ],
)
def test_at_most_one_policy_acts(cpu, hour, expected):
    both = [policy(id="a"), policy("time_of_day", "b")]
    assert expected == actions(both, now(3, cpu=cpu, hour=hour))


def test_policies_hold_within_what_all_allow():
    both = [policy(id="a", max_replicas=9), policy(id="b", max_replicas=3, metric_trigger=1.0)]
    assert [HOLD] == actions(both, now(3, cpu=95.0))


def test_disabled_policies_say_nothing():
    assert [] == actions([policy(enabled=False)], now(3, cpu=95.0))


def test_a_decision_is_told_in_the_words_of_the_contract():
    (decision,) = evaluate([policy(id="policy-1")], now(3, cpu=95.0))
    assert "policy:policy-1 -> scale_up (cpu 95, trigger 80)" == decision.said
    assert Decision(policy_id="policy-1", action="scale_up", reason="cpu 95, trigger 80") == decision


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ([], Bounds(None, None)),
        ([(1, 3)], Bounds(1, 3)),
        ([(1, 5), (2, 3)], Bounds(2, 3)),
        ([(4, 5), (1, 3)], Bounds(3, 3)),
    ],
)
def test_bounds_are_what_all_enabled_policies_allow(bounds, expected):
    policies = [policy(min_replicas=least, max_replicas=most) for least, most in bounds]
    off = policy(enabled=False, min_replicas=0, max_replicas=1)
    assert expected == bounds_of([*policies, off])


@pytest.mark.parametrize(
    ("type_", "members", "field"),
    [
        ("metrics", {"name": " "}, "name"),
        ("metrics", {"max_replicas": 0, "min_replicas": 0}, "max_replicas"),
        ("metrics", {"min_replicas": 4, "max_replicas": 3}, "min_replicas"),
        ("metrics", {"metric_type": ""}, "metric_type"),
        ("metrics", {"metric_type": "load"}, "metric_type"),
        ("metrics", {"metric_trigger": 0.0}, "metric_trigger"),
        ("metrics", {"metric_trigger": 1.1}, "metric_trigger"),
        ("time_of_day", {"time_window": ""}, "time_window"),
        ("time_of_day", {"time_window": "09:00-09:00"}, "time_window"),
        ("time_of_day", {"time_window": "24:00-09:00"}, "time_window"),
        ("time_of_day", {"time_window": "9:00-10:00"}, "time_window"),
        ("cost", {"cost_limit": 0.0}, "cost_limit"),
    ],
)
def test_what_cannot_be_followed_is_refused(type_, members, field):
    wrong = replace(policy(type_), **members)
    with pytest.raises(Rejected) as refusal:
        check(wrong)
    assert field == refusal.value.details["field"]


@pytest.mark.parametrize("type_", ["metrics", "time_of_day", "cost"])
def test_what_is_not_of_its_type_is_not_looked_at(type_):
    others = {"metric_type": "?", "metric_trigger": 0.0, "time_window": "?", "cost_limit": 0.0}
    own = {
        "metrics": {"metric_type": "cpu", "metric_trigger": 0.5},
        "time_of_day": {"time_window": "10:00-11:00"},
        "cost": {"cost_limit": 5.0},
    }
    check(policy(type_, **{**others, **own[type_]}))


def test_a_window_is_without_its_end():
    window = window_of("09:00-17:00")
    assert [True, True, False] == [window.holds(time(hour)) for hour in (9, 16, 17)]


def test_zones_have_names():
    assert UTC == zone_of("UTC")
    with pytest.raises(KeyError):
        zone_of("Nowhere/Nothing")
