"""The cluster agent: the only writer of clusters and of their names.

`cluster-commands`, `cluster-accepted-commands`, `cluster-status-reports`, `reconcile-ticks` → cluster table →
`cluster-events`, `cluster-command-results`, and `cluster-state` as the table's changelog. Clients may write
the first and the third, so what is said there is checked, and nothing is believed because it is there.

The topics of names and their table belong to the same turns (`agents/names.py`). Web gives a new cluster an
id whose partition is that of its name, so that both are decided at once.
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import cache, partial
from typing import Any

import msgspec
from aiokafka import ConsumerRecord
from prometheus_client import Counter

from agents.announcer import Announcer
from agents.clock import Clock
from agents.companions import Companions, moved
from agents.entity import EntityAgent
from agents.guard import pass_on
from agents.names import NameDesk
from agents.results import Results, Word, result_output
from domain.cluster.commands import Attach, Command, Create, Delete, Report
from domain.cluster.decide import decide_report, repeats
from domain.cluster.events import Attached, Deleted, Event, HealthSet, Ignored
from domain.cluster.kind import cluster_kind
from domain.cluster.names import NameRecord, live_under, name_key
from domain.cluster.reactive import announce
from domain.cluster.state import ClusterState
from domain.entity import Outcome
from domain.errors import MalformedRecord, Rejected
from domain.offsets import Seen
from domain.policy import Policy
from streams.cause import Cause
from streams.cluster.codec import read_command, read_report
from streams.cluster.events import PublicEvent
from streams.cluster.messages import ReleaseMessage, ResultMessage
from streams.headers import BY_REST, ORIGIN, answered_by_state, headers_of
from streams.json import encode
from streams.messages import SOURCE, ResultBase, ResultKind
from streams.settings import KafkaSettings
from streams.turns.app import BatchApp, add_agent
from streams.turns.commit import Answer, Lane
from streams.turns.turn import Here
from streams.writing.outputs import Output
from streams.writing.producer import Producer
from tables.typed import TypedTable

log = logging.getLogger("clusterflow.cluster_service")
report_log = logging.getLogger("clusterflow.status_aggregator")

REPORTS = Counter("clusterflow_status_reports_total", "Status reports decided", ["result"])

MAX_CONTROLLERS = 64
"""Controllers that may report on one cluster: with the bound of a report this keeps a record below 8 MiB."""


class ClusterResults(Results):
    """Makes the results of commands to clusters, whose message is older than that of other kinds."""

    def _count(self, command: Any, outcome: Outcome, word: Word) -> None:
        if log.isEnabledFor(logging.DEBUG):
            said = {"command": type(command).__name__, "outcome": word, "code": outcome.code}
            ids = {"cluster_id": command.cluster_id, "request_id": command.request_id}
            log.debug("command decided", extra={**said, **ids, "command_id": command.command_id})
        super()._count(command, outcome, word)

    def _result(self, outcome: Outcome, word: Word, state: Any) -> ResultBase:
        result = ResultMessage(command_id=outcome.command_id, outcome=word)
        if state is not None:
            result.cluster = msgspec.Raw(encode(state.cluster))
        return result

    def _by_rest(self, command: Any) -> bool:
        return bool(command.triggered_by == BY_REST)


class ClusterAgent(EntityAgent[ClusterState, Command, Event]):
    """Decides commands, reports and ticks over the cluster table.

    Args:
        source: The name of the service, for its events.
    """

    def __init__(
        self,
        *,
        kafka: KafkaSettings,
        clusters: TypedTable[ClusterState],
        names: TypedTable[NameRecord],
        producer: Producer,
        policy: Policy,
        source: str = SOURCE,
    ) -> None:
        super().__init__(
            "clusters",
            cluster_kind(policy),
            table=clusters,
            producer=producer,
            partitions=kafka.partitions,
            results=ClusterResults(kafka.topics.results, kind="cluster", shown="cluster"),
            later=names,
        )
        self._topics = kafka.topics
        self._companions = Companions(kafka, policy)
        self._policy = policy
        self._announcer = Announcer(self._topics.events, source=source)
        self.clock = Clock(clusters, self._announcer, policy)
        self._names = NameDesk(kafka=kafka, names=names, policy=policy, create=self._create)
        self.inputs = {
            **self._names.inputs,
            self._topics.commands: self._pass_on,
            self._topics.accepted_commands: self._accepted,
            self._topics.reports: self._report,
            self._topics.ticks: self.clock.tick,
        }

    def _handled(self, here: Here[ClusterState]) -> None:
        self._names.forget(here)

    def _committed(self, lane: Lane[ClusterState]) -> None:
        for key, cluster in lane.states.items():
            self.clock.index(lane.partition, key, cluster)
        self.clock.note_times(lane.partition, lane.records())

    # --- commands ---------------------------------------------------------------------------------

    def _pass_on(self, here: Here[ClusterState]) -> None:
        """Pass a client's command on to where all commands to its cluster are in one order.

        A replay must decide in the order of the first time, or one event's generation would be another's; two
        topics have no common order.
        """
        if self._misplaced(here):
            return
        command = read_command(here.record.value, headers_of(here.record))
        require_key(here.record, command.cluster_id)
        if isinstance(command, Create):
            raise MalformedRecord("wrong_topic", f"creates go to {self._topics.create_requests}")
        pass_on(here, self._topics.accepted_commands)

    def _accepted(self, here: Here[ClusterState]) -> None:
        headers = headers_of(here.record)
        command = read_command(here.record.value, headers, accepted=True)
        require_key(here.record, command.cluster_id)
        seen = Seen.of(here.log, here.record.offset, headers.get(ORIGIN))
        self._ordered(here)
        self._command(here, command, _cause(here, command, headers), seen)

    def _create(self, here: Here[ClusterState], command: Create, seen: Seen) -> ClusterState | None:
        """Decide a create in the turn that takes its name; returns the cluster after it."""
        self._command(here, command, _cause(here, command, headers_of(here.record)), seen)
        return here.get()

    def _ordered(self, here: Here[ClusterState]) -> None:
        """Have a cluster stored before a command to it that is in another topic than its create.

        A replay may meet the two in the other order, and then finds the cluster as it is now.
        """
        if (state := here.get()) is not None and state.revision == 1:
            here.separate()

    def _caller(self, command: Command, state: ClusterState) -> str:
        return command.caller(state.cluster.created_by)

    def _redelivered(self, here: Here[ClusterState], command: Command, state: ClusterState) -> None:
        """Publish again what was stored first and may not have been published before a crash."""
        known = state.outcome_of(command.command_id, self._caller(command, state))
        if known is None or not _needs_reports(command):
            return
        if known.applied and state.deleted_at is not None:
            event = Deleted(force=False, at=state.deleted_at)
            here.publish(
                self._announcer.event(here.partition, event, before=state, after=state, cause=command)
            )
            here.publish(self._release(state.cluster.created_by, state.cluster.name, command.cluster_id))
            if state.attached is True:
                for told in self._companions.told_gone(command, deleted=True):
                    here.publish(told)
        here.publish(self._results.of(here, command, known, state))

    def _repeated(
        self, here: Here[ClusterState], command: Command, known: Outcome, state: ClusterState
    ) -> None:
        if isinstance(command, Create) and self._named_before(here) and not _bears_name(state, command):
            # On its way here again it has taken a name that no live cluster answers to.
            here.publish(self._release(command.user_email, command.name, command.cluster_id))
        super()._repeated(here, command, known, state)

    def _decide(
        self,
        here: Here[ClusterState],
        command: Command,
        cause: Cause,
        seen: Seen,
        before: ClusterState | None,
    ) -> None:
        with here.stored_first() if _needs_reports(command) else nullcontext():
            super()._decide(here, command, cause, seen, before)

    def _refused(self, here: Here[ClusterState], command: Command) -> Sequence[Output]:
        if isinstance(command, Attach):
            return self._companions.told_gone(command, deleted=here.get() is not None)
        if not isinstance(command, Create) or not self._named_before(here):
            return ()
        return (self._release(command.user_email, command.name, command.cluster_id),)

    def _followed(
        self,
        here: Here[ClusterState],
        before: ClusterState | None,
        events: Sequence[Event],
        command: Command | None,
        cause: Cause,
    ) -> tuple[ClusterState | None, list[Output]]:
        """The state after the event of a command; a change is announced to controllers at once."""
        (event,) = events
        assert command is not None
        after = self._kind.evolve(before, event)
        if isinstance(event, Attached):
            return after, self._companions.told_there(command, after)
        if isinstance(event, HealthSet):
            return after, []
        assert isinstance(event, PublicEvent)
        after, announced = announce(before, after, event, at=cause.at, policy=self._policy)
        outputs = [
            self._announcer.event(here.partition, event, before=before, after=after, cause=command),
            *self._announcer.changes(here.partition, announced, after=after, cause=cause.id),
        ]
        if isinstance(event, Deleted):
            outputs.append(self._release(after.cluster.created_by, after.cluster.name, command.cluster_id))
            if after.attached is True:
                outputs += self._companions.told_gone(command, deleted=True)
        elif after.attached is True and before is not None and moved(before, after):
            outputs += self._companions.told_there(command, after)
        return after, outputs

    def _named_before(self, here: Here[ClusterState]) -> bool:
        """Whether the name of a create was taken in an earlier turn, and not in this one."""
        return bool(here.record.topic == self._topics.accepted_commands)

    def _release(self, owner: str, name: str, cluster_id: str) -> Output:
        """Frees a name before the result is out, so that a create which follows the answer finds it free."""
        release = encode(ReleaseMessage(cluster_id=cluster_id))
        return Output(self._topics.name_requests, name_key(owner, name).encode(), release, beforehand=True)

    # --- reports ----------------------------------------------------------------------------------

    def _report(self, here: Here[ClusterState]) -> None:
        if self._misplaced(here):
            return
        at = here.at
        try:
            headers = headers_of(here.record)
            report = read_report(here.record.value, headers, at)
        except MalformedRecord:
            _reports_counted("rejected").inc()
            raise
        require_key(here.record, report.cluster_id)
        before = here.get()
        if before is not None and before.reflects(here.log, here.record.offset):
            return
        if before is None or (before.deleted_at and not repeats(before, report)):
            refusal = Rejected("RESOURCE_NOT_FOUND", "Cluster not found")
            self._refuse(here, report, refusal, "unknown_cluster")
        elif report.controller_name not in before.reports and len(before.reports) >= MAX_CONTROLLERS:
            text = f"a cluster holds reports of at most {MAX_CONTROLLERS} controllers"
            self._refuse(here, report, Rejected("PAYLOAD_TOO_LARGE", text), "too_many_controllers")
        else:
            self._reported(here, report, before, by_state=answered_by_state(headers))

    def _reported(
        self, here: Here[ClusterState], report: Report, before: ClusterState, *, by_state: bool
    ) -> None:
        at = here.at
        event = decide_report(before, report, at=at)
        after, outputs = before, list[Output]()
        if not isinstance(event, Ignored):
            after = self._kind.evolve(before, event)
            after, announced = announce(before, after, event, at=at, policy=self._policy)
            after = after.sealed(seen=here.seen, at=at)
            record = here.record
            cause = report.report_id or f"{record.topic}/{record.partition}/{record.offset}"
            outputs += self._announcer.changes(here.partition, announced, after=after, cause=cause)
        kind: ResultKind = event.result if isinstance(event, Ignored) else "applied"
        self._count_report(report, before, kind)
        answer = self._report_answer(here, report, kind, after.revision) if report.answer else None
        if answer is not None and (after is before or not by_state):
            outputs.append(answer.result())
            answer = None
        for output in outputs:
            here.publish(output)
        if after is not before:
            here.put(after, answer=answer)

    def _report_answer(
        self, here: Here[ClusterState], report: Report, kind: ResultKind, revision: int
    ) -> Answer:
        """The answer to a report, which shows no state, so that any later one may give it."""
        assert report.report_id is not None
        result = partial(self._report_result, here, report, kind, revision=revision)
        return Answer(report.report_id, result, own_state=False)

    def _count_report(self, report: Report, cluster: ClusterState, kind: ResultKind) -> None:
        ahead = report.observed_generation > cluster.cluster.generation
        _reports_counted("future" if ahead and kind == "applied" else kind).inc()
        if ahead:
            report_log.warning(
                "report is ahead of its cluster",
                extra={
                    "cluster_id": report.cluster_id,
                    "controller_name": report.controller_name,
                    "generation": cluster.cluster.generation,
                    "observed_generation": report.observed_generation,
                },
            )

    def _refuse(self, here: Here[ClusterState], report: Report, refusal: Rejected, reason: str) -> None:
        """Answer a sender that waits; a report that nobody waits for is parked instead."""
        _reports_counted("rejected").inc()
        if not report.answer:
            raise MalformedRecord(reason, refusal.text)
        here.publish(self._report_result(here, report, "rejected", refusal=refusal))

    def _report_result(
        self,
        here: Here[ClusterState],
        report: Report,
        kind: ResultKind,
        *,
        revision: int = 0,
        refusal: Rejected | None = None,
    ) -> Output:
        assert report.report_id is not None
        result = ResultMessage(command_id=report.report_id, outcome=kind, revision=revision)
        if refusal is not None:
            result.code, result.error = refusal.code, refusal.text
        return result_output(self._topics.results, here.key, result, here.partition)


def attach(
    app: BatchApp,
    *,
    kafka: KafkaSettings,
    clusters: TypedTable[ClusterState],
    names: TypedTable[NameRecord],
    producer: Producer,
    policy: Policy,
    source: str,
) -> Clock:
    """Add the agent to the app; returns its clock, for whoever ticks."""
    agent = ClusterAgent(
        kafka=kafka, clusters=clusters, names=names, producer=producer, policy=policy, source=source
    )
    add_agent(app, agent.name, (*agent.inputs,), agent.run)
    return agent.clock


@cache
def _reports_counted(result: str) -> Counter:
    return REPORTS.labels(result)


def _cause(here: Here[ClusterState], command: Command, headers: Mapping[str, str]) -> Cause:
    by_state = answered_by_state(headers)
    return Cause(command.command_id, here.at, keyed=command.keyed, answered_by_state=by_state)


def _bears_name(state: ClusterState, command: Create) -> bool:
    """Whether the cluster is live and bears the name that this create asks for."""
    return live_under(state, name_key(command.user_email, command.name))


def _needs_reports(command: Command) -> bool:
    """Whether its outcome depends on reports, which come over another topic and so in no fixed order."""
    return isinstance(command, Delete) and not command.force


def require_key(record: ConsumerRecord, cluster_id: str) -> None:
    """Raises: MalformedRecord: `bad_key`, the key is not the body's cluster id in lower case."""
    if record.key != cluster_id.encode():
        raise MalformedRecord("bad_key", "the key must be the cluster_id in lower case")
