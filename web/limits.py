"""What the limits of routes are told."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from domain.rates import Rate

ScopeType = Literal["global", "user", "cluster"]
LimiterName = Literal["diagnosis", "jobs_create"]

OnError = Literal["local", "deny", "allow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Default:
    """A limit where nothing is configured.

    Attributes:
        scope_type: Who shares a bucket: all, each user, or each cluster.
    """

    rate: Rate
    scope_type: ScopeType


@dataclass(frozen=True, slots=True, kw_only=True)
class LimiterSettings:
    """The limits of routes.

    Attributes:
        redis_url: Where buckets are; empty if an agent has them.
        on_redis_error: What becomes of limited requests while that is away.
    """

    redis_url: str = ""
    on_redis_error: OnError = "local"
    defaults: Mapping[str, Default] = field(
        default_factory=lambda: {
            "diagnosis": Default(rate=Rate(5.0, 0.2), scope_type="cluster"),
            "jobs_create": Default(rate=Rate(3.0, 0.1), scope_type="user"),
        }
    )
