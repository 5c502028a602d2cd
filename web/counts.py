"""The metric of live entities of simple kinds."""

from collections.abc import Mapping
from typing import Final

from prometheus_client import Gauge

from domain.policy import Policy
from serving.kinds import COUNTED_BY
from tables.entries import KindEntry
from tables.view import View
from web.routes import COLLECTIONS

ENTITIES: Final = Gauge("clusterflow_entities", "Live entities of simple kinds", ["kind", "state"])


def show_counts(views: Mapping[str, View[KindEntry]], policy: Policy) -> None:
    """Set the metric of live entities; a state that no entity has is 0.

    It costs the number of states, since views count at each change.
    """
    for collection in COLLECTIONS:
        known = collection.values_of(COUNTED_BY, policy) or ("",)
        counts = {**dict.fromkeys(known, 0), **views[collection.kind].counts()}
        for state, count in counts.items():
            ENTITIES.labels(collection.kind, state).set(count)
