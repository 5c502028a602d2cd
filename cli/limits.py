"""The variables of rate limits: where buckets are, and how fast callers may use limited routes."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import BaseSettings

from cli.values import LimiterBackend
from domain.rates import MAX_NUMBER

Rate = Annotated[float, Field(ge=0, le=MAX_NUMBER)]
Capacity = Annotated[float, Field(gt=0, le=MAX_NUMBER)]
Scope = Literal["global", "user", "cluster"]


class LimitVariables(BaseSettings):
    """The variables that web processes are told about limits."""

    limiter_backend: LimiterBackend = LimiterBackend.TABLE
    limiter_on_redis_error: Literal["local", "deny", "allow"] = "local"
    clustergenie_diag_rate: Rate = 0.2
    clustergenie_diag_cap: Capacity = 5.0
    clustergenie_diag_scope: Scope = "cluster"
    clustergenie_jobs_rate: Rate = 0.1
    clustergenie_jobs_cap: Capacity = 3.0
    clustergenie_jobs_scope: Scope = "user"
