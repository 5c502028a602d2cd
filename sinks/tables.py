"""The mappings of a deployment."""

from sinks.cluster.mapping import ClusterRows, EventRows
from sinks.mapping import Mappings
from streams.topics import Topics


def mappings(topics: Topics) -> Mappings:
    """Every mapping of a deployment."""
    return Mappings(changelogs=[ClusterRows(topics.state)], others=[EventRows(topics.events)])
