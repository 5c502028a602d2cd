"""The checker of policies finds each thing that can be wrong, and nothing where all is well."""

from collections.abc import Callable

import pytest

from domain.rates import key_of
from tests.chaos.policies import Made, PolicyHistory, SeenPolicies, check_policies

CLUSTER, SCOPE = "4fe1157b-ebd4-4ece-9f79-dd52c6504f4e", "user:policies-0"


def told() -> PolicyHistory:
    """A policy that is there, one that was deleted, one of unknown outcome, and a limit."""
    return PolicyHistory(
        policies=[Made("policy-a", CLUSTER, {3, 4}), Made("policy-b", CLUSTER, {5}, deleted=True)],
        opened=["open"],
        limits={SCOPE: {7}},
    )


def seen() -> SeenPolicies:
    found = SeenPolicies()
    for id, name, most, deleted_at in (
        ("policy-a", "a", 4, None),
        ("policy-b", "b", 5, "2026-11-28T05:00:00Z"),
        ("policy-c", "open", 1, None),
    ):
        policy = {"id": id, "name": name, "cluster_id": CLUSTER, "max_replicas": most}
        found.policies[id] = {"policy": policy, "deleted_at": deleted_at}
    live = [state["policy"] for state in found.policies.values() if state["deleted_at"] is None]
    found.autoscalers[CLUSTER] = {"autoscaler": {"policies": [*live]}, "deleted_at": None}
    found.limits[key_of("jobs_create", SCOPE)] = {"limit": {"capacity": 7.0}}
    found.answers["web"] = {"policy-b": None, **{policy["id"]: {**policy} for policy in live}}
    return found


def kinds(history: PolicyHistory, found: SeenPolicies) -> set[str]:
    return {finding.kind for finding in check_policies(history, found)}


def test_nothing_where_all_is_well():
    assert set() == kinds(told(), seen())


def lost(history: PolicyHistory, found: SeenPolicies) -> None:
    del found.policies["policy-a"], found.answers["web"]["policy-a"]
    del found.autoscalers[CLUSTER]["autoscaler"]["policies"][0]


def deleted_by_nobody(history: PolicyHistory, found: SeenPolicies) -> None:
    history.policies[0].deleted = True


def a_write_lost(history: PolicyHistory, found: SeenPolicies) -> None:
    history.policies[0].maxima = {3}


def a_limit_lost(history: PolicyHistory, found: SeenPolicies) -> None:
    history.limits[SCOPE] = {8}


def made_by_nobody(history: PolicyHistory, found: SeenPolicies) -> None:
    history.opened.clear()


def made_twice(history: PolicyHistory, found: SeenPolicies) -> None:
    found.policies["policy-a"]["policy"]["name"] = found.policies["policy-c"]["policy"]["name"]  # type: ignore[index]
    found.answers["web"]["policy-a"]["name"] = "open"  # type: ignore[index]


def not_copied(history: PolicyHistory, found: SeenPolicies) -> None:
    del found.autoscalers[CLUSTER]["autoscaler"]["policies"][1]


def kept_too_long(history: PolicyHistory, found: SeenPolicies) -> None:
    found.autoscalers["other"] = {"autoscaler": {"policies": [{"id": "policy-b"}]}, "deleted_at": None}


def shown_otherwise(history: PolicyHistory, found: SeenPolicies) -> None:
    found.answers["web"]["policy-a"] = None


def refused(history: PolicyHistory, found: SeenPolicies) -> None:
    history.wrong.append("400 for a create")


def never_answered(history: PolicyHistory, found: SeenPolicies) -> None:
    history.unanswered.append("a create")


@pytest.mark.parametrize(
    ("harm", "kind"),
    [
        (lost, "lost"),
        (deleted_by_nobody, "lost"),
        (a_write_lost, "lost"),
        (a_limit_lost, "lost"),
        (made_by_nobody, "wrong"),
        (made_twice, "doubled"),
        (not_copied, "wrong"),
        (kept_too_long, "wrong"),
        (shown_otherwise, "wrong"),
        (refused, "wrong"),
        (never_answered, "unanswered"),
    ],
)
def test_each_harm_is_found(harm: Callable[[PolicyHistory, SeenPolicies], None], kind: str) -> None:
    history, found = told(), seen()
    harm(history, found)
    assert {kind} == kinds(history, found)
