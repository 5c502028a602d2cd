"""Which events a controller works on, and how long it waits between attempts."""

import pytest

from examples.controllers.contract import Backoff, Event, Filter, Generations, Unparseable, decode_event
from tests.examples.given import CLUSTER_ID, event

GCP_ONLY = Filter(platforms=frozenset({"gcp"}))


@pytest.mark.parametrize(
    ("when", "then"),
    [
        pytest.param({"event_type": "cluster.created", "platform": "gcp"}, True, id="wanted platform"),
        pytest.param({"event_type": "cluster.created", "platform": "aws"}, False, id="another platform"),
        pytest.param({"event_type": "cluster.audited", "platform": "gcp"}, False, id="unknown event type"),
        pytest.param({}, True, id="no headers decide nothing"),
    ],
)
def test_headers_rule_events_out(when: dict[str, str], then: bool) -> None:
    assert GCP_ONLY.admits_headers(when) is then


@pytest.mark.parametrize(
    ("given", "when", "then"),
    [
        pytest.param(GCP_ONLY, event(platform="GCP"), True, id="platform in any case"),
        pytest.param(GCP_ONLY, event(platform="aws"), False, id="the body has the last word on the platform"),
        pytest.param(Filter(), event(platform="azure"), True, id="no platforms named is all of them"),
        pytest.param(
            Filter(events=frozenset({"cluster.deleted"})),
            event(),
            False,
            id="an event type that isn't wanted",
        ),
    ],
)
def test_body_rules_events_out(given: Filter, when: Event, then: bool) -> None:
    assert given.admits(when) is then


@pytest.mark.parametrize(
    ("given", "when", "then"),
    [
        pytest.param([], event("cluster.created", 1), True, id="first event"),
        pytest.param([], event("cluster.reconcile", 7), True, id="first seen at a later generation"),
        pytest.param([event(generation=1)], event("cluster.created", 1), False, id="repeated create"),
        pytest.param([event(generation=2)], event("cluster.updated", 2), False, id="repeated update"),
        pytest.param([event(generation=1)], event("cluster.updated", 2), True, id="next generation"),
        pytest.param([event(generation=1)], event("cluster.reconcile", 1), True, id="reconcile heals drift"),
        pytest.param([event(generation=2)], event("cluster.reconcile", 1), False, id="reconcile of the past"),
        pytest.param([event(generation=2)], event("cluster.updated", 1), False, id="update of the past"),
        pytest.param([event(generation=2)], event("cluster.deleted", 2), True, id="delete keeps generation"),
        pytest.param(
            [event(generation=2), event("cluster.deleted", 2)], event(), True, id="a deleted one is forgotten"
        ),
    ],
)
def test_generation_rule(given: list[Event], when: Event, then: bool) -> None:
    generations = Generations()
    for done in given:
        generations.remember(done)
    assert generations.admits(when) is then


def test_generations_are_bounded_and_forget_the_cluster_seen_longest_ago() -> None:
    generations = Generations(capacity=2)
    first, second, third = (
        Event(id="e", type="cluster.created", cluster_id=name, generation=1, cluster=event().cluster)
        for name in ("first", "second", "third")
    )
    for done in (first, second, first, third):
        generations.remember(done)
    assert [generations.admits(each) for each in (first, second, third)] == [False, True, False]


def test_backoff_doubles_up_to_its_longest_wait_and_gives_up() -> None:
    backoff = Backoff(first=10.0, longest=60.0, attempts=5)
    assert [backoff.wait(attempt) for attempt in range(1, 6)] == [10.0, 20.0, 40.0, 60.0, None]


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(None, id="tombstone"),
        pytest.param(b"", id="empty"),
        pytest.param(b"{not json", id="no JSON"),
        pytest.param(b"\xff\xfe", id="no UTF-8"),
        pytest.param(b'{"id": "1", "type": "cluster.created"}', id="members missing"),
    ],
)
def test_what_is_no_event_is_unparseable(value: bytes | None) -> None:
    with pytest.raises(Unparseable):
        decode_event(value)


def test_event_members_without_use_are_ignored() -> None:
    value = b"""{
        "id": "e", "type": "cluster.reconcile", "cluster_id": "c", "generation": 2, "source": "clusterflow",
        "timestamp": "2026-01-01T00:00:00Z", "reason": "never_reconciled", "metadata": {"interval": "30s"},
        "cluster": {"id": "c", "name": "one", "spec": {"platform": {"type": "GCP"}}, "created_by": "a@b.c",
                    "target_project_id": "", "generation": 2, "resource_version": "r",
                    "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z"}
    }"""
    decoded = decode_event(value)
    assert (decoded.type, decoded.generation, decoded.cluster.platform) == ("cluster.reconcile", 2, "gcp")
    assert decoded.cluster_id != CLUSTER_ID


@pytest.mark.parametrize("type_", ["telemetry", "droplet.created", "cluster.health_changed", "job_completed"])
def test_events_of_others_are_passed_over(type_):
    assert decode_event(f'{{"type": "{type_}", "cluster_id": "c", "payload": {{}}}}'.encode()) is None
