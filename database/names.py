"""The databases that rows are kept in: one for each service of the resources contract, or one for all."""

from collections.abc import Mapping
from typing import Final, Literal

DatabaseName = Literal["rest", "grpc", "worker"]

REST: Final = "rest"
GRPC: Final = "grpc"
WORKER: Final = "worker"

DATABASES: Final[Mapping[DatabaseName, str]] = {
    REST: "clusters and resources",
    GRPC: "tasks",
    WORKER: "recorded events",
}
"""What is kept in each."""
