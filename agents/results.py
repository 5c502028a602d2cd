"""What the agents say to each other and to whoever waits for a command."""

from functools import cache
from typing import Final

from prometheus_client import Counter

from streams.cluster.messages import ResultMessage
from streams.headers import BY_REST, TRIGGERED_BY
from streams.json import encode
from streams.writing.outputs import Output

COMMANDS: Final = Counter("clusterflow_commands_total", "Commands decided", ["type", "outcome"])


@cache  # asking for labels takes as long as a cluster's encoding
def decided(kind: str, outcome: str) -> Counter:
    """The counter of commands of a kind that end so."""
    return COMMANDS.labels(kind, outcome)


def result_output(
    topic: str, key: bytes, result: ResultMessage, partition: int | None = None, *, by_rest: bool = False
) -> Output:
    """The record of a result; its id is a header too, so that nobody decodes the results of others.

    Args:
        by_rest: Whether what it answers came by REST, which no client's record can claim.
    """
    headers = {"command_id": result.command_id}
    if by_rest:
        headers[TRIGGERED_BY] = BY_REST
    return Output(topic, key, encode(result), headers, partition=partition)
