"""When a cluster should have more droplets, or fewer, by its policies (operations contract, 1.5 and 7)."""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, time, timedelta, tzinfo
from functools import cache
from typing import Annotated, Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

from domain.errors import invalid
from domain.measures import MEASURED, Sample, fresh
from domain.values import Meta, Struct

Type = Literal["metrics", "time_of_day", "cost"]
TYPES: Final = ("metrics", "time_of_day", "cost")

Move = Literal["scale_up", "scale_down"]
Action = Literal["scale_up", "scale_down", "cost_limit_check", "hold"]

MAX_NAME: Final = 255
MAX_WORD: Final = 50
MAX_DROPLETS: Final = 1000
MAX_COST: Final = 1e9

LOW: Final = 0.6
"""Of the trigger: a value at or below this share of it asks for fewer droplets."""

MONTHLY: Final = 0.05 * 24 * 30
"""The estimated cost of a droplet a month; there are no providers that name another price an hour."""

_WINDOW: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")

Replicas = Annotated[int, Meta(ge=0, le=MAX_DROPLETS)]


class ScalingPolicy(Struct, frozen=True, kw_only=True):
    """What operators want of the number of a cluster's droplets.

    Attributes:
        min_replicas, max_replicas: Droplets that it shall have at least and at most.
        metric_type, metric_trigger: Of type `metrics`: what is measured, and from which part of 100 on there
            shall be more droplets.
        time_window: Of type `time_of_day`: `HH:MM-HH:MM`, when there shall be as many as may be.
        cost_limit: Of type `cost`: a month, from which on there shall be no more of them.
    """

    id: str
    name: str
    cluster_id: str
    type: Type
    enabled: bool
    min_replicas: Replicas
    max_replicas: Replicas
    metric_type: str
    metric_trigger: float
    time_window: str
    cost_limit: float
    created_at: datetime
    updated_at: datetime


class Decision(Struct, frozen=True, kw_only=True):
    """What one policy has led to."""

    policy_id: str
    action: Action
    reason: str

    @property
    def said(self) -> str:
        """In the words of the contract."""
        return f"policy:{self.policy_id} -> {self.action} ({self.reason})"


class Window(NamedTuple):
    """A part of each day, without its end; it may wrap around midnight."""

    start: time
    end: time

    def holds(self, moment: time) -> bool:
        """Whether it is then."""
        if self.start < self.end:
            return self.start <= moment < self.end
        return moment >= self.start or moment < self.end


@cache
def zone_of(name: str) -> tzinfo:
    """A time zone by its name; UTC needs no database. Raises: KeyError, ValueError, OSError: none is so."""
    return UTC if name == "UTC" else ZoneInfo(name)


def window_of(text: str) -> Window | None:
    """The window that a text names; None if it names none."""
    if (found := _WINDOW.fullmatch(text)) is None:
        return None
    hours = list(map(int, found.groups()))
    start, end = time(hours[0], hours[1]), time(hours[2], hours[3])
    return None if start == end else Window(start, end)


def check(policy: ScalingPolicy) -> None:
    """Refuse a policy that can't be followed; what is not of its type is not looked at. Raises: Rejected."""
    if not 1 <= len(policy.name.strip()) <= MAX_NAME:
        raise invalid(f"name must have 1 to {MAX_NAME} characters", field="name", value=policy.name)
    if policy.max_replicas < 1:
        raise invalid("max_replicas must be at least 1", field="max_replicas")
    if policy.min_replicas > policy.max_replicas:
        raise invalid("min_replicas must be at most max_replicas", field="min_replicas")
    match policy.type:
        case "metrics":
            if policy.metric_type not in MEASURED:
                raise invalid(f"metric_type must be one of {', '.join(MEASURED)}", field="metric_type")
            if not 0 < policy.metric_trigger <= 1:
                raise invalid("metric_trigger must be above 0 and at most 1", field="metric_trigger")
        case "time_of_day":
            if window_of(policy.time_window) is None:
                text = "time_window must be HH:MM-HH:MM, and its end another time than its start"
                raise invalid(text, field="time_window", value=policy.time_window)
        case "cost":
            if policy.cost_limit <= 0:
                raise invalid("cost_limit must be above 0", field="cost_limit")


class Bounds(NamedTuple):
    """Droplets that a cluster shall have at least and at most; None where no policy says so."""

    least: int | None
    most: int | None


def bounds_of(policies: Iterable[ScalingPolicy]) -> Bounds:
    """What all enabled policies allow; where they contradict each other, the smallest maximum counts."""
    enabled = [policy for policy in policies if policy.enabled]
    if not enabled:
        return Bounds(None, None)
    most = min(policy.max_replicas for policy in enabled)
    return Bounds(min(most, max(policy.min_replicas for policy in enabled)), most)


class Situation(NamedTuple):
    """What policies are evaluated in.

    Attributes:
        samples: The newest of each type.
        acted_at: When the cluster was scaled last by a policy.
    """

    droplets: int
    samples: Sequence[Sample]
    at: datetime
    acted_at: datetime | None
    cooldown: timedelta
    zone: tzinfo


def evaluate(policies: Sequence[ScalingPolicy], now: Situation) -> tuple[Decision, ...]:
    """What each policy leads to, in their order; at most one of them makes the cluster larger or smaller.

    A limit of cost stops every growth first; then growing goes before shrinking.
    """
    enabled = [policy for policy in policies if policy.enabled]
    bounds = bounds_of(enabled)
    checks = [_cost(policy, now) for policy in enabled if policy.type == "cost"]
    too_dear = any(policy.cost_limit <= _cost_of(now) for policy in enabled if policy.type == "cost")
    wishes = [wish for policy in enabled for wish in _wishes(policy, now)]
    chosen, why = _chosen(wishes, bounds, now, too_dear=too_dear)
    moves = [wish if wish is chosen else _held(wish, why) for wish in wishes]
    return (*checks, *moves)


def _cost_of(now: Situation) -> float:
    return now.droplets * MONTHLY


def _cost(policy: ScalingPolicy, now: Situation) -> Decision:
    reason = f"estimated {_cost_of(now):.2f} a month, limit {policy.cost_limit:.2f}"
    return Decision(policy_id=policy.id, action="cost_limit_check", reason=reason)


def _wishes(policy: ScalingPolicy, now: Situation) -> Iterator[Decision]:
    """What a policy would have by itself."""
    if policy.type == "cost":
        return
    if now.droplets < policy.min_replicas:
        yield _wish(policy, "scale_up", f"{now.droplets} droplets, at least {policy.min_replicas}")
    elif now.droplets > policy.max_replicas:
        yield _wish(policy, "scale_down", f"{now.droplets} droplets, at most {policy.max_replicas}")
    elif (
        wanted := _by_metric(policy, now) if policy.type == "metrics" else _by_time(policy, now)
    ) is not None:
        move, reason = wanted
        full = move == "scale_up" and now.droplets >= policy.max_replicas
        low = move == "scale_down" and now.droplets <= policy.min_replicas
        if full or low:
            bound = f"at most {policy.max_replicas}" if full else f"at least {policy.min_replicas}"
            yield Decision(policy_id=policy.id, action="hold", reason=f"{reason}, but {bound} droplets")
        else:
            yield _wish(policy, move, reason)


def _wish(policy: ScalingPolicy, move: Move, reason: str) -> Decision:
    return Decision(policy_id=policy.id, action=move, reason=reason)


def _by_metric(policy: ScalingPolicy, now: Situation) -> tuple[Move, str] | None:
    """By the newest sample, unless that is too old."""
    value = next((each.value for each in fresh(now.samples, now.at) if each.type == policy.metric_type), None)
    trigger = policy.metric_trigger * 100
    if value is None or LOW * trigger < value < trigger:
        return None
    reason = f"{policy.metric_type} {value:g}, trigger {trigger:g}"
    return ("scale_up" if value >= trigger else "scale_down"), reason


def _by_time(policy: ScalingPolicy, now: Situation) -> tuple[Move, str] | None:
    window = window_of(policy.time_window)
    assert window is not None
    inside = window.holds(now.at.astimezone(now.zone).time())
    reason = f"{'within' if inside else 'outside'} {policy.time_window}"
    return ("scale_up" if inside else "scale_down"), reason


_BY_TYPE: Final = {"metrics": _by_metric, "time_of_day": _by_time}


def _chosen(
    wishes: Sequence[Decision], bounds: Bounds, now: Situation, *, too_dear: bool
) -> tuple[Decision | None, str]:
    """The one wish that is followed, if any, and why the others are not."""
    ups = [wish for wish in wishes if wish.action == "scale_up"]
    downs = [wish for wish in wishes if wish.action == "scale_down"]
    if now.acted_at is not None and now.at - now.acted_at < now.cooldown:
        return None, "scaled not long ago"
    if bounds.most is not None and now.droplets >= bounds.most:
        ups = []
    if bounds.least is not None and now.droplets <= bounds.least:
        downs = []
    if ups and not too_dear:
        return ups[0], "another policy goes first"
    return (
        downs[0] if downs else None
    ), "the limit of cost" if too_dear and ups else "another policy goes first"


def _held(wish: Decision, why: str) -> Decision:
    if wish.action == "hold":
        return wish
    return Decision(policy_id=wish.policy_id, action="hold", reason=f"{wish.reason}; {why}")
