"""What the agents say to each other and to whoever waits for a command."""

from functools import cache
from typing import Final

from prometheus_client import Counter

from streams.codec import encode
from streams.messages import ResultMessage
from streams.producer import Output

COMMANDS: Final = Counter("clusterflow_commands_total", "Commands decided", ["type", "outcome"])

# Header of a create that the name agent let through; without it a create has come to the wrong topic,
# where nobody has checked its name.
NAME_ADMITTED: Final = "name_admitted"


@cache  # asking for labels takes as long as a cluster's encoding
def decided(kind: str, outcome: str) -> Counter:
    """The counter of commands of a kind that end so."""
    return COMMANDS.labels(kind, outcome)


def result_output(topic: str, key: bytes, result: ResultMessage, partition: int | None = None) -> Output:
    """The record of a result; its id is a header too, so that nobody decodes the results of others."""
    return Output(topic, key, encode(result), {"command_id": result.command_id}, partition=partition)
