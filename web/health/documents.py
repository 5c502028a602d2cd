"""What REST answers of this process, as the types it is encoded from."""

from datetime import datetime
from typing import Literal

from msgspec import UNSET, Struct, UnsetType

Component = Literal["healthy", "degraded", "unhealthy"]


class Components(Struct, kw_only=True):
    """The parts this process stands on.

    Attributes:
        kafka: Degraded while some partitions have no leader that answers; unhealthy when no broker does.
        worker: Only there, and degraded, while writes that were sent bring no result.
    """

    kafka: Component
    tables: Component
    database: Component
    worker: Component | UnsetType = UNSET


class Health(Struct, kw_only=True):
    """Whether writes and reads work; without its database, workers or some partitions it is degraded only.

    Attributes:
        reason: What is wrong with partitions of Kafka or with the workers, where something is.
    """

    status: Component
    service: str
    components: Components
    timestamp: datetime
    reason: str | UnsetType = UNSET


class Info(Struct, kw_only=True):
    """Which build this is and where it runs."""

    service: str
    version: str
    git_commit: str
    build_time: str
    api_version: str
    environment: str
