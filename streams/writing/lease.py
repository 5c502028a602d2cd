"""How long a worker may still write for its group: the session that its heartbeats keep, less a margin.

Kafka fences a silent member out of its group, but not out of the topics it writes. A worker that was paused
for longer than its session does not know that others have taken over, and its records would follow theirs. So
it may write only while the broker cannot have given its partitions away: for one session from the moment the
last accepted heartbeat was *sent*. All times are of this machine's monotonic clock.
"""

from time import monotonic
from typing import Any, Final

from aiokafka.errors import NodeNotReadyError
from aiokafka.protocol.group import HeartbeatRequest, SyncGroupRequest
from aiokafka.protocol.produce import ProduceRequest

# The share of the session in which a worker writes; the rest is for records on their way to the broker.
SHARE: Final = 0.8

_ACCEPTED: Final = (0, 27)  # no error; a rebalance has begun, and the group waits for this member


class Lease:
    """The lease of one worker, renewed in the consumer's thread and read in the producer's."""

    def __init__(self, session_timeout: float) -> None:
        self._seconds = session_timeout * SHARE
        self._until = 0.0

    @property
    def left(self) -> float:
        """Seconds from now for which this worker may write; negative once the lease has run out."""
        return self._until - monotonic()

    @property
    def held(self) -> bool:
        """Whether this worker may write now."""
        return self.left > 0

    def renew_by(self, coordinator: Any) -> None:
        """Let accepted heartbeats and joins of a group coordinator extend the lease."""
        send = coordinator._send_req

        async def send_and_note(request: Any) -> Any:
            sent = monotonic()
            response = await send(request)
            if isinstance(request, HeartbeatRequest | SyncGroupRequest) and response.error_code in _ACCEPTED:
                self._until = sent + self._seconds
            return response

        coordinator._send_req = send_and_note

    def bind(self, client: Any) -> None:
        """Refuse a producer's records while the lease is not held; the producer retries them in order."""
        send = client.send

        async def send_if_held(node_id: Any, request: Any, **options: Any) -> Any:
            if isinstance(request, ProduceRequest) and not self.held:
                raise NodeNotReadyError("this worker may not write until its group has confirmed it")
            return await send(node_id, request, **options)

        client.send = send_if_held
