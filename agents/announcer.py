"""What the cluster agent announces on `cluster-events`."""

from collections.abc import Iterable, Iterator

from prometheus_client import Counter

from domain.cluster.commands import Command
from domain.cluster.events import Reconciled
from domain.cluster.state import ClusterState
from streams.cluster.events import PublicEvent, event_output
from streams.writing.outputs import Output

RECONCILES = Counter("clusterflow_reconcile_events_total", "Reconcile events", ["reason", "result"])


class Announcer:
    """Makes the records of events.

    Args:
        source: The name of the service, which every event carries.
    """

    def __init__(self, topic: str, *, source: str) -> None:
        self._topic = topic
        self._source = source

    def event(
        self,
        partition: int,
        event: PublicEvent,
        *,
        before: ClusterState | None,
        after: ClusterState,
        cause: Command | str,
    ) -> Output:
        """The record of one event; its id follows from `cause`, so that a replay repeats it."""
        if isinstance(event, Reconciled):
            RECONCILES.labels(event.reason, "emitted").inc()
        return event_output(
            self._topic, partition, event, before=before, after=after, cause=cause, source=self._source
        )

    def changes(
        self, partition: int, announced: Iterable[Reconciled], *, after: ClusterState, cause: str
    ) -> Iterator[Output]:
        """The records of changes, each kind under an id of its own."""
        for event in announced:
            assert event.change is not None
            kind, _ = event.change
            yield self.event(partition, event, before=None, after=after, cause=f"{cause}/{kind}")
