"""How long a worker may still write for its group: the session it holds by its heartbeats, less a margin.

Kafka fences a member that fell silent out of its group, but not out of the topics it writes. A worker that
was paused for longer than its session does not know that others have taken over, and its records would come
after theirs. So it may write only while the broker cannot have given its partitions away: for a session from
the moment the last accepted heartbeat was *sent*. Everything is on this machine's monotonic clock.
"""

from time import monotonic
from typing import Any, Final

from aiokafka.errors import NodeNotReadyError
from aiokafka.protocol.group import HeartbeatRequest, SyncGroupRequest
from aiokafka.protocol.produce import ProduceRequest

# Of the session: what is left is for a record on its way to the broker.
SHARE: Final = 0.8

_ACCEPTED: Final = (0, 27)  # no error; a rebalance begins, for which the member is waited for


class Lease:
    """The lease of one worker; set in the consumer's thread, asked in the producer's."""

    def __init__(self, session_timeout: float) -> None:
        self._seconds = session_timeout * SHARE
        self._until = 0.0

    @property
    def left(self) -> float:
        """For how many seconds from now this worker may write; none if negative."""
        return self._until - monotonic()

    @property
    def held(self) -> bool:
        """Whether this worker may write now."""
        return self.left > 0

    def renew_by(self, coordinator: Any) -> None:
        """Let a group coordinator's accepted heartbeats and joins prolong the lease."""
        send = coordinator._send_req

        async def send_and_note(request: Any) -> Any:
            sent = monotonic()
            response = await send(request)
            if isinstance(request, HeartbeatRequest | SyncGroupRequest) and response.error_code in _ACCEPTED:
                self._until = sent + self._seconds
            return response

        coordinator._send_req = send_and_note

    def bind(self, client: Any) -> None:
        """Refuse a producer's records while the lease is not held; the producer tries again, in order."""
        send = client.send

        async def send_if_held(node_id: Any, request: Any, **options: Any) -> Any:
            if isinstance(request, ProduceRequest) and not self.held:
                raise NodeNotReadyError("this worker may not write until its group has confirmed it")
            return await send(node_id, request, **options)

        client.send = send_if_held
