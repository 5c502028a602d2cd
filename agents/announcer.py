"""What the cluster agent tells everyone on `cluster-events`."""

from collections.abc import Iterable

from aiokafka import ConsumerRecord
from prometheus_client import Counter

from domain.cluster.commands import Command
from domain.cluster.events import Reconciled
from domain.cluster.state import ClusterState
from streams.cluster.events import PublicEvent, event_output
from streams.turns.turn import Turn

RECONCILES = Counter("clusterflow_reconcile_events_total", "Reconcile events", ["reason", "result"])


class Announcer:
    """Publishes events with the turn that causes them.

    Args:
        source: The name of the service, which every event carries.
    """

    def __init__(self, topic: str, *, source: str) -> None:
        self._topic = topic
        self._source = source

    def tell(
        self,
        turn: Turn[ClusterState],
        record: ConsumerRecord,
        event: PublicEvent,
        *,
        before: ClusterState | None,
        after: ClusterState,
        cause: Command | str,
    ) -> None:
        """Tell of one event; its id follows from `cause`, so that a replay repeats it."""
        output = event_output(
            self._topic,
            record.partition,
            event,
            before=before,
            after=after,
            cause=cause,
            source=self._source,
        )
        turn.publish(output)
        if isinstance(event, Reconciled):
            RECONCILES.labels(event.reason, "emitted").inc()

    def changes(
        self,
        turn: Turn[ClusterState],
        record: ConsumerRecord,
        announced: Iterable[Reconciled],
        *,
        after: ClusterState,
        cause: str,
    ) -> None:
        """Tell of changes, each kind under an id of its own."""
        for event in announced:
            assert event.change is not None
            kind, _ = event.change
            self.tell(turn, record, event, before=None, after=after, cause=f"{cause}/{kind}")
