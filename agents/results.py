"""What became of commands, as it is published for their senders."""

from collections.abc import Sequence
from functools import cache
from typing import Any, Final, Literal

from msgspec import Raw
from prometheus_client import Counter

from domain.entity import Entity, Outcome
from streams.headers import BY_REST, TRIGGERED_BY
from streams.json import encode
from streams.messages import EntityResult, ResultBase
from streams.turns.commit import Answer
from streams.turns.turn import Here
from streams.writing.outputs import Output

COMMANDS: Final = Counter("clusterflow_commands_total", "Commands decided", ["kind", "type", "outcome"])


@cache  # asking for labels takes as long as a cluster's encoding
def decided(kind: str, command: str, outcome: str) -> Counter:
    """The counter of commands to a kind that end so."""
    return COMMANDS.labels(kind, command, outcome)


Word = Literal["applied", "duplicate", "rejected"]


def result_kind(outcome: Outcome, *, repeated: bool) -> Word:
    """The word for an outcome."""
    if not outcome.applied:
        return "rejected"
    return "duplicate" if repeated else "applied"


class Results:
    """Makes the results of one kind.

    Args:
        topic: Where they go; empty where nobody waits for them.
        shown: The member of a state that readers see.
    """

    def __init__(self, topic: str, *, kind: str, shown: str) -> None:
        self._topic = topic
        self._kind = kind
        self._shown = shown

    def told(self, here: Here[Any], command: Any, outcome: Outcome, state: Entity | None) -> Sequence[Output]:
        """The result of a command, if its kind publishes results. Counts the command in any case."""
        if self._topic:
            return (self.of(here, command, outcome, state),)
        self._count(command, outcome, result_kind(outcome, repeated=False))
        return ()

    def of(
        self,
        here: Here[Any],
        command: Any,
        outcome: Outcome,
        state: Entity | None,
        *,
        repeated: bool = False,
    ) -> Output:
        """The result of a command, with the state as it is after it; counts it."""
        word = result_kind(outcome, repeated=repeated)
        self._count(command, outcome, word)
        return self._output(here, command, outcome, word, state)

    def answer(self, here: Here[Any], command: Any, outcome: Outcome, state: Entity) -> Answer:
        """The answer to a command that was applied and whose sender follows the changelog; counts it."""
        self._count(command, outcome, "applied")
        return Answer(outcome.command_id, lambda: self._output(here, command, outcome, "applied", state))

    def _count(self, command: Any, outcome: Outcome, word: Word) -> None:
        decided(self._kind, type(command).__name__.lower(), word).inc()

    def _output(
        self, here: Here[Any], command: Any, outcome: Outcome, word: Word, state: Entity | None
    ) -> Output:
        result = self._result(outcome, word, state if outcome.applied else None)
        if state is not None:
            result.revision = state.revision
        result.code, result.error = outcome.code, outcome.error
        result.details = dict(outcome.details) or None
        by_rest = self._by_rest(command)
        return result_output(self._topic, here.key, result, here.partition, by_rest=by_rest)

    def _result(self, outcome: Outcome, word: Word, state: Any) -> ResultBase:
        """The message, with the state's document; `state` is None where the command was refused."""
        result = EntityResult(command_id=outcome.command_id, kind=self._kind, outcome=word)
        if state is not None:
            result.version = state.version
            result.document = Raw(encode(getattr(state, self._shown)))
        return result

    def _by_rest(self, command: Any) -> bool:
        """Whether a command came by REST, where its kind can tell."""
        return False


def result_output(
    topic: str,
    key: bytes,
    result: ResultBase,
    partition: int | None = None,
    *,
    by_rest: bool = False,
) -> Output:
    """The record of a result; its id is a header too, so that nobody decodes the results of others.

    Args:
        by_rest: Whether what it answers came by REST, which no client's record can claim.
    """
    headers = {"command_id": result.command_id}
    if by_rest:
        headers[TRIGGERED_BY] = BY_REST
    return Output(topic, key, encode(result), headers, partition=partition)
