"""The metric of live entities, by kind and status."""

from datetime import UTC, datetime

from prometheus_client import REGISTRY

from domain.policy import Policy
from domain.resource import Resource, ResourceState
from serving.kinds import kind_feeds
from streams.json import encode
from streams.topics import Topics
from tests.tables.given import Record
from web.counts import ENTITIES, show_counts
from web.routes import COLLECTIONS

NOW = datetime(2030, 1, 1, tzinfo=UTC)
POLICY = Policy(resource_statuses=("active", "inactive", "broken"))


class Shown:
    """A view of resources, and the metric as it is shown after each change."""

    def __init__(self) -> None:
        self.views = {kind: feed.view for kind, feed in kind_feeds(COLLECTIONS, Topics()).items()}
        self._offset = -1
        ENTITIES.clear()  # of what other tests have counted

    def put(self, id: str, status: str, *, deleted: bool = False) -> None:
        self._offset += 1
        resource = Resource(id=id, name=id, description="", status=status, created_at=NOW, updated_at=NOW)
        state = ResourceState(
            revision=self._offset + 1, version=1, resource=resource, deleted_at=NOW if deleted else None
        )
        self.views["resource"].apply(
            Record(id.encode(), encode(state), offset=self._offset, topic="resource-state")
        )

    def counts(self) -> dict[str, float]:
        show_counts(self.views, POLICY)
        [family] = [family for family in REGISTRY.collect() if family.name == "clusterflow_entities"]
        return {
            sample.labels["state"]: sample.value
            for sample in family.samples
            if sample.labels["kind"] == "resource"
        }


def test_each_status_is_shown_even_if_no_entity_has_it():
    assert {"active": 0, "inactive": 0, "broken": 0} == Shown().counts()


def test_entities_are_counted_under_the_status_they_have_now():
    shown = Shown()
    for id in ("a", "b", "c"):
        shown.put(id, "active")
    assert {"active": 3, "inactive": 0, "broken": 0} == shown.counts()
    shown.put("a", "broken")
    shown.put("b", "active", deleted=True)
    assert {"active": 1, "inactive": 0, "broken": 1} == shown.counts()
