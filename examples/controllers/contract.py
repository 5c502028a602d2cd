"""What Clusterflow and a controller have agreed on, as values and pure functions.

Which events concern a controller, which of them are out of date, how often to try, and what a report looks
like. No Kafka, no clock and no chance in here, so that tests check every rule with plain values.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

CREATED: Final = "cluster.created"
UPDATED: Final = "cluster.updated"
DELETED: Final = "cluster.deleted"
RECONCILE: Final = "cluster.reconcile"
EVERY_EVENT: Final = frozenset({CREATED, UPDATED, DELETED, RECONCILE})

REMEMBERED_CLUSTERS: Final = 100_000  # a forgotten one only means that a repeated event is worked on again


class Unparseable(Exception):
    """The record isn't an event, and never will be: no retry helps."""


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """The desired state, as every event carries it whole; `spec` is free-form below `platform.type`."""

    id: str
    name: str
    generation: int
    spec: dict[str, Any]
    created_by: str = ""
    target_project_id: str = ""

    @property
    def platform(self) -> str:
        """`spec.platform.type` in lower case; empty where there is none."""
        platform = self.spec.get("platform")
        kind = platform.get("type") if isinstance(platform, dict) else None
        return kind.lower() if isinstance(kind, str) else ""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One accepted change, or a request to look again (`cluster.reconcile`); unused members are left out."""

    id: str
    type: str
    cluster_id: str
    generation: int
    cluster: Cluster
    reason: str | None = None


class _Typed(msgspec.Struct, frozen=True):
    type: str


_event_decoder = msgspec.json.Decoder(Event)
_type_decoder = msgspec.json.Decoder(_Typed)


def decode_event(value: bytes | None) -> Event | None:
    """A record's value as an event; None for one of another type, such as the telemetry of a node.

    Raises: Unparseable.
    """
    try:
        if _type_decoder.decode(value or b"").type not in EVERY_EVENT:
            return None
        return _event_decoder.decode(value or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unparseable(str(error)) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which events concern a controller, decided first on headers, which cost no parsing.

    Attributes:
        events: Wanted event types.
        platforms: Wanted platforms in lower case; None for all of them.
    """

    events: frozenset[str] = EVERY_EVENT
    platforms: frozenset[str] | None = None

    def admits_headers(self, headers: Mapping[str, str]) -> bool:
        """False if the headers alone rule the event out; a header that is missing decides nothing."""
        return self._admits(headers.get("event_type"), headers.get("platform"))

    def admits(self, event: Event) -> bool:
        """The same question to the body, which has the last word: headers are hints."""
        return self._admits(event.type, event.cluster.platform)

    def _admits(self, event_type: str | None, platform: str | None) -> bool:
        wanted_type = event_type is None or event_type in self.events
        wanted_platform = platform is None or self.platforms is None or platform in self.platforms
        return wanted_type and wanted_platform


class Generations:
    """The highest generation worked on, per cluster: tells what is out of date from what has to be done.

    It lives in memory only. After a restart a repeated event is done once more, which the reconcile, being
    idempotent, can take.
    """

    def __init__(self, capacity: int = REMEMBERED_CLUSTERS) -> None:
        self._done: OrderedDict[str, int] = OrderedDict()
        self._capacity = capacity

    def admits(self, event: Event) -> bool:
        """Lower generations never; an equal one unless it only repeats a create or an update.

        A reconcile at a known generation is let through on purpose: it asks whether reality still is what
        we made of it.
        """
        done = self._done.get(event.cluster_id, 0)
        if event.generation == done:
            return event.type not in (CREATED, UPDATED)
        return event.generation > done

    def remember(self, event: Event) -> None:
        """The event is done; a deleted cluster is forgotten."""
        if event.type == DELETED:
            self._done.pop(event.cluster_id, None)
            return
        self._done[event.cluster_id] = event.generation
        self._done.move_to_end(event.cluster_id)
        if len(self._done) > self._capacity:
            self._done.popitem(last=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How often to try, and the seconds to wait in between: doubling from `first` up to `longest`."""

    first: float = 10.0
    longest: float = 600.0
    attempts: int = 5

    def wait(self, attempt: int) -> float | None:
        """The wait after a failed attempt (the first is 1), None when it was the last one."""
        if attempt >= self.attempts:
            return None
        return min(self.first * 2.0 ** (attempt - 1), self.longest)


@dataclass(frozen=True, slots=True)
class Done:
    """Reality is as the spec wants it. `metadata` is shown to whoever reads the cluster's status."""

    message: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something else has to come first. The next reconcile event asks again, so nobody sleeps meanwhile."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """There is nothing to do and nothing to say."""

    why: str


Outcome = Done | Waiting | Skipped


class Failure(Exception):
    """An attempt failed. `code` is a word for programs (`QuotaExceeded`), `message` a sentence for people."""

    error_type: Literal["Transient", "Configuration", "Fatal", "System"]

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Transient(Failure):
    """Worth another try: a time-out, a quota, a provider that is busy."""

    error_type = "Transient"


class Misconfigured(Failure):
    """Fails until the user changes the spec."""

    error_type = "Configuration"


class Fatal(Failure):
    """Fails for ever."""

    error_type = "Fatal"


class Defect(Failure):
    """The controller itself is wrong; tried again all the same, as a newer release may do better."""

    error_type = "System"


def report(
    controller: str,
    event: Event,
    result: Done | Waiting | Failure,
    *,
    report_id: str,
    retry_after: float | None = None,
) -> bytes:
    """The value of a record on `cluster-status-reports`: what became of an event, at the event's generation.

    Args:
        report_id: A UUID; the same report sent twice is taken once.
        retry_after: Seconds until the next attempt, shown with a failure.
    """
    status, reason = ("True", "Reconciled") if isinstance(result, Done) else ("False", _reason(result))
    return msgspec.json.encode(
        {
            "report_id": report_id,
            "cluster_id": event.cluster_id,
            "controller_name": controller,
            "observed_generation": event.generation,
            "conditions": [
                {"type": "Available", "status": status, "reason": reason, "message": result.message}
            ],
            "metadata": result.metadata if isinstance(result, Done) else {},
            "last_error": _last_error(result, retry_after) if isinstance(result, Failure) else None,
        }
    )


def _reason(result: Waiting | Failure) -> str:
    return result.reason if isinstance(result, Waiting) else result.code


def _last_error(failure: Failure, retry_after: float | None) -> dict[str, Any]:
    error: dict[str, Any] = {
        "errorType": failure.error_type,
        "errorCode": failure.code,
        "message": failure.message,
        "userActionable": isinstance(failure, Misconfigured),
    }
    if retry_after is not None:
        error["retryAfter"] = f"{round(retry_after * 1000)}ms"
    return error
