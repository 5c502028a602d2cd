"""The cluster agent: the only writer of clusters.

`cluster-commands`, `cluster-accepted-commands`, `cluster-status-reports`, `reconcile-ticks` → cluster table →
`cluster-events`, `cluster-command-results`, and `cluster-state` as the table's changelog. Clients may write
the first and the third, so what is said there is checked, and nothing is believed because it is there.
"""

import logging
from contextlib import nullcontext
from datetime import datetime
from functools import cache
from typing import Any

import msgspec
from aiokafka import ConsumerRecord
from prometheus_client import Counter

from agents.announcer import Announcer
from agents.clock import Clock
from agents.guard import guarded, pass_on
from agents.placement import Placement
from agents.results import decided, result_output
from domain.cluster.commands import Command, Create, Delete, Report
from domain.cluster.decide import decide, decide_report, evolve, repeats
from domain.cluster.events import Deleted, Ignored, Reconciled, Refused
from domain.cluster.names import name_key
from domain.cluster.reactive import announce
from domain.cluster.state import ClusterState
from domain.entity import KEPT_FOR, Outcome
from domain.errors import MalformedRecord, Rejected
from domain.offsets import Seen
from domain.policy import Policy
from domain.values import replace
from streams.cluster.codec import read_command, read_report
from streams.cluster.events import PublicEvent
from streams.cluster.messages import ReleaseMessage, ResultMessage
from streams.headers import BY_REST, ORIGIN, headers_of
from streams.json import encode, from_millis
from streams.messages import SOURCE, ResultKind
from streams.settings import KafkaSettings
from streams.turns.app import BatchApp, add_agent
from streams.turns.commit import Lane
from streams.turns.turn import Turn, take_turns
from streams.writing.outputs import Output
from streams.writing.producer import Producer
from tables.typed import TypedTable

log = logging.getLogger("clusterflow.cluster_service")
report_log = logging.getLogger("clusterflow.status_aggregator")

REPORTS = Counter("clusterflow_status_reports_total", "Status reports decided", ["result"])

MAX_CONTROLLERS = 64
"""Controllers that may report on one cluster: with the bound of a report this keeps a record below 8 MiB."""


class ClusterAgent:
    """Decides commands, reports and ticks over the cluster table.

    Args:
        source: The name of the service, for its events.
    """

    def __init__(
        self,
        *,
        kafka: KafkaSettings,
        clusters: TypedTable[ClusterState],
        producer: Producer,
        policy: Policy,
        source: str = SOURCE,
    ) -> None:
        self._topics = kafka.topics
        self._clusters = clusters
        self._producer = producer
        self._policy = policy
        self._placement = Placement(kafka.partitions, clusters)
        self._announcer = Announcer(self._topics.events, source=source)
        self.clock = Clock(clusters, self._announcer, policy)
        self._handlers = {
            self._topics.commands: self._pass_on,
            self._topics.accepted_commands: self._command,
            self._topics.reports: self._report,
            self._topics.ticks: self.clock.tick,
        }

    async def run(self, stream: Any) -> None:
        """The agent's loop: turns until the app stops."""
        async for turn in take_turns("clusters", stream, self._clusters, self._producer):
            for record in turn.records():
                guarded(turn, record, self._handlers[record.topic])
            await turn.commit(self._committed)

    def _committed(self, lane: Lane[ClusterState]) -> None:
        for key, cluster in lane.states.items():
            self.clock.index(lane.partition, key, cluster)
        self.clock.note_times(lane.partition, lane.records())

    # --- commands ---------------------------------------------------------------------------------

    def _pass_on(self, turn: Turn[ClusterState], record: ConsumerRecord) -> None:
        """Pass a client's command on to where all commands to its cluster are in one order.

        A replay must decide in the order of the first time, or one event's generation would be another's; two
        topics have no common order.
        """
        if (misplaced := self._placement.correction(record)) is not None:
            turn.publish(misplaced)
            return
        command = read_command(record.value, headers_of(record))
        require_key(record, command.cluster_id)
        if isinstance(command, Create):
            raise MalformedRecord("wrong_topic", f"creates go to {self._topics.create_requests}")
        pass_on(turn, record, self._topics.accepted_commands)

    def _command(self, turn: Turn[ClusterState], record: ConsumerRecord) -> None:
        headers = headers_of(record)
        command = read_command(record.value, headers, accepted=True)
        require_key(record, command.cluster_id)
        before = turn.get(record.partition, record.key)
        seen = Seen.of(turn.log_of(record), record.offset, headers.get(ORIGIN))
        if before is not None and seen.held_by(before.offsets):
            self._tell_again(turn, record, command, before)
            return
        if before is not None and (known := _known(before, command)) is not None:
            if isinstance(command, Create) and not _live_under(before, command):
                # On its way here again it has taken a name that no live cluster answers to.
                self._release(turn, command.user_email, command.name, command.cluster_id)
            self._answer(turn, record, command, known, before, repeated=True)
            return
        with turn.stored_first() if _needs_reports(command) else nullcontext():
            self._decided(turn, record, command, before, seen)

    def _tell_again(
        self,
        turn: Turn[ClusterState],
        record: ConsumerRecord,
        command: Command,
        stored: ClusterState | None,
    ) -> None:
        """What was stored first and may not have been told before a crash."""
        known = _known(stored, command) if stored is not None else None
        if stored is None or known is None or not _needs_reports(command):
            return
        if known.applied and stored.deleted_at is not None:
            event = Deleted(force=False, at=stored.deleted_at)
            self._announcer.tell(turn, record, event, before=stored, after=stored, cause=command)
            self._release(turn, stored.cluster.created_by, stored.cluster.name, command.cluster_id)
        self._answer(turn, record, command, known, stored, repeated=False)

    def _decided(
        self,
        turn: Turn[ClusterState],
        record: ConsumerRecord,
        command: Command,
        before: ClusterState | None,
        seen: Seen,
    ) -> None:
        at = from_millis(record.timestamp)
        event = decide(before, command, at=at, policy=self._policy)
        until = at + KEPT_FOR if command.keyed else None
        caller = "" if before is None else command.caller(before.cluster.created_by)
        outcome = Outcome(command_id=command.command_id, caller=caller, until=until)
        if isinstance(event, Refused):
            outcome = replace(outcome, code=event.code, error=event.error, details=event.details)
        after = before if isinstance(event, Refused) else evolve(before, event, self._policy)
        # Who may not see a cluster must not be able to push others' outcomes out of its record either.
        stored = after is not None and outcome.code != "RESOURCE_NOT_FOUND"
        announced: tuple[Reconciled, ...] = ()
        if after is not None and stored:
            after, announced = announce(before, after, event, at=at, policy=self._policy)
            after = after.sealed(seen=seen, at=at, outcome=outcome)
        if isinstance(event, PublicEvent):
            assert after is not None
            self._announcer.tell(turn, record, event, before=before, after=after, cause=command)
            self._announcer.changes(turn, record, announced, after=after, cause=command.command_id)
        if isinstance(event, Deleted) and after is not None:
            self._release(turn, after.cluster.created_by, after.cluster.name, command.cluster_id)
        if isinstance(event, Refused) and isinstance(command, Create):
            self._release(turn, command.user_email, command.name, command.cluster_id)
        self._answer(turn, record, command, outcome, after, repeated=False)
        if stored:
            turn.put(record.partition, record.key, after)

    def _answer(
        self,
        turn: Turn[ClusterState],
        record: ConsumerRecord,
        command: Command,
        outcome: Outcome,
        cluster: ClusterState | None,
        *,
        repeated: bool,
    ) -> None:
        applied = outcome.applied
        kind: ResultKind = "rejected" if not applied else "duplicate" if repeated else "applied"
        result = ResultMessage(
            command_id=command.command_id,
            outcome=kind,
            revision=cluster.revision if cluster else 0,
            code=outcome.code,
            error=outcome.error,
            details=dict(outcome.details) or None,
        )
        if applied and cluster is not None:
            result.cluster = msgspec.Raw(encode(cluster.cluster))
        by_rest = command.triggered_by == BY_REST
        output = result_output(self._topics.results, record.key, result, record.partition, by_rest=by_rest)
        turn.publish(output)
        decided(type(command).__name__.lower(), kind).inc()
        if log.isEnabledFor(logging.DEBUG):
            said = {"command": type(command).__name__, "outcome": kind, "code": outcome.code}
            ids = {"cluster_id": command.cluster_id, "request_id": command.request_id}
            log.debug("command decided", extra={**said, **ids, "command_id": command.command_id})

    def _release(self, turn: Turn[ClusterState], owner: str, name: str, cluster_id: str) -> None:
        """Free the name before the result is out, so that a create which follows the answer finds it free."""
        release = encode(ReleaseMessage(cluster_id=cluster_id))
        key = name_key(owner, name).encode()
        turn.publish(Output(self._topics.name_requests, key, release), beforehand=True)

    # --- reports ----------------------------------------------------------------------------------

    def _report(self, turn: Turn[ClusterState], record: ConsumerRecord) -> None:
        if (misplaced := self._placement.correction(record)) is not None:
            turn.publish(misplaced)
            return
        at = from_millis(record.timestamp)
        try:
            report = read_report(record.value, headers_of(record), at)
        except MalformedRecord:
            _reports_counted("rejected").inc()
            raise
        require_key(record, report.cluster_id)
        before = turn.get(record.partition, record.key)
        if before is not None and before.reflects(turn.log_of(record), record.offset):
            return
        if before is None or (before.deleted_at and not repeats(before, report)):
            self._unknown(turn, record, report)
            return
        self._reported(turn, record, report, before, at)

    def _reported(
        self,
        turn: Turn[ClusterState],
        record: ConsumerRecord,
        report: Report,
        before: ClusterState,
        at: datetime,
    ) -> None:
        if report.controller_name not in before.reports and len(before.reports) >= MAX_CONTROLLERS:
            text = f"a cluster holds reports of at most {MAX_CONTROLLERS} controllers"
            self._refuse(turn, record, report, Rejected("PAYLOAD_TOO_LARGE", text), "too_many_controllers")
            return
        event = decide_report(before, report, at=at)
        after = before
        if not isinstance(event, Ignored):
            after = evolve(before, event, self._policy)
            after, announced = announce(before, after, event, at=at, policy=self._policy)
            after = after.sealed(seen=Seen(turn.log_of(record), record.offset), at=at)
            cause = report.report_id or f"{record.topic}/{record.partition}/{record.offset}"
            self._announcer.changes(turn, record, announced, after=after, cause=cause)
            turn.put(record.partition, record.key, after)
        kind: ResultKind = event.result if isinstance(event, Ignored) else "applied"
        ahead = report.observed_generation > before.cluster.generation
        _reports_counted("future" if ahead and kind == "applied" else kind).inc()
        if ahead:
            report_log.warning(
                "report is ahead of its cluster",
                extra={
                    "cluster_id": report.cluster_id,
                    "controller_name": report.controller_name,
                    "generation": before.cluster.generation,
                    "observed_generation": report.observed_generation,
                },
            )
        if report.answer:
            assert report.report_id is not None
            result = ResultMessage(command_id=report.report_id, outcome=kind, revision=after.revision)
            turn.publish(result_output(self._topics.results, record.key, result, record.partition))

    def _unknown(self, turn: Turn[ClusterState], record: ConsumerRecord, report: Report) -> None:
        refusal = Rejected("RESOURCE_NOT_FOUND", "Cluster not found")
        self._refuse(turn, record, report, refusal, "unknown_cluster")

    def _refuse(
        self,
        turn: Turn[ClusterState],
        record: ConsumerRecord,
        report: Report,
        refusal: Rejected,
        reason: str,
    ) -> None:
        """Tell whoever waits; a report that nobody waits for is parked instead."""
        _reports_counted("rejected").inc()
        if not report.answer:
            raise MalformedRecord(reason, refusal.text)
        assert report.report_id is not None
        result = ResultMessage(
            command_id=report.report_id, outcome="rejected", code=refusal.code, error=refusal.text
        )
        turn.publish(result_output(self._topics.results, record.key, result, record.partition))


def attach(
    app: BatchApp,
    *,
    kafka: KafkaSettings,
    clusters: TypedTable[ClusterState],
    producer: Producer,
    policy: Policy,
    source: str,
) -> Clock:
    """Add the agent to the app; returns its clock, for whoever ticks."""
    agent = ClusterAgent(kafka=kafka, clusters=clusters, producer=producer, policy=policy, source=source)
    topics = kafka.topics
    inputs = (topics.commands, topics.accepted_commands, topics.reports, topics.ticks)
    add_agent(app, "clusters", inputs, agent.run)
    return agent.clock


@cache
def _reports_counted(result: str) -> Counter:
    return REPORTS.labels(result)


def _known(record: ClusterState, command: Command) -> Outcome | None:
    """The outcome of a command that its caller has sent before."""
    return record.outcome_of(command.command_id, command.caller(record.cluster.created_by))


def _needs_reports(command: Command) -> bool:
    """Whether its outcome depends on reports, which come over another topic and so in no fixed order."""
    return isinstance(command, Delete) and not command.force


def _live_under(record: ClusterState, command: Create) -> bool:
    """Whether the cluster is live and bears the name that this create has asked for."""
    named = (record.cluster.created_by, record.cluster.name) == (command.user_email, command.name)
    return named and record.deleted_at is None


def require_key(record: ConsumerRecord, cluster_id: str) -> None:
    """Raises: MalformedRecord: `bad_key`, the key is not the body's cluster id in lower case."""
    if record.key != cluster_id.encode():
        raise MalformedRecord("bad_key", "the key must be the cluster_id in lower case")
