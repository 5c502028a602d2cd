"""The environment, read once; the only reader of it.

Each field is one variable of the same name in upper case. Durations use Go's syntax (`500ms`, `1m30s`),
booleans 1/0, t/f, true/false, lists commas. A value that cannot be read stops the start with the variable's
name and what was expected; nothing falls back in silence.
"""

import re
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from domain.errors import ControlPlaneError
from domain.policy import Policy
from streams.settings import KafkaSettings
from streams.topics import Topics

_PART = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class BadSettings(ControlPlaneError):
    """The environment cannot be used; the text names each variable and what was expected."""


def _duration(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    parts = _PART.findall(value)
    if not parts or "".join(n + unit for n, unit in parts) != value:
        raise ValueError("expected a duration such as 500ms, 30s or 1m30s")
    duration = timedelta(seconds=sum(float(n) * _SECONDS[unit] for n, unit in parts))
    if duration <= timedelta(0):
        raise ValueError("expected a duration above zero")
    return duration


def _boolean(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value.lower() in ("1", "t", "true"):
        return True
    if value.lower() in ("0", "f", "false"):
        return False
    raise ValueError("expected true or false")


def _listed(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


Duration = Annotated[timedelta, BeforeValidator(_duration)]
Boolean = Annotated[bool, BeforeValidator(_boolean)]
Listed = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]
Port = Annotated[int, Field(ge=1, le=65535)]
Count = Annotated[int, Field(ge=1)]


class Environment(StrEnum):
    """Where this runs."""

    DEVELOPMENT = "development"
    STAGING = "staging"
    PRODUCTION = "production"


class LogLevel(StrEnum):
    """From which level on log lines are written."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"


class LogFormat(StrEnum):
    """One JSON object a line, or text for people."""

    JSON = "json"
    CONSOLE = "console"


class Settings(BaseSettings):
    """All settings of all roles, with their defaults."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    port: Port = 8080
    metrics_port: Port = 8081
    metrics_enabled: Boolean = True
    bind_host: str = "127.0.0.1"
    environment: Environment = Environment.DEVELOPMENT
    server_read_timeout_seconds: Count = 30
    server_write_timeout_seconds: Count = 30
    server_idle_timeout_seconds: Count = 120
    server_max_header_bytes: Count = 1048576
    cors_allowed_origins: Listed = ("*",)

    kafka_bootstrap_servers: str = ""
    kafka_topic_prefix: str = ""
    kafka_partitions: Count = 12
    kafka_replication: Count = 3
    kafka_session_timeout: Duration = timedelta(seconds=6)
    database_url: SecretStr = SecretStr("")
    redis_url: SecretStr = SecretStr("")

    log_level: LogLevel = LogLevel.INFO
    log_format: LogFormat = LogFormat.JSON
    disable_auth: Boolean = False
    privileged_email_domain: str = "system.local"
    command_timeout: Duration = timedelta(seconds=15)

    platforms: Listed = ("gcp", "aws", "azure")
    require_release: Boolean = False
    default_cluster_version: str = ""
    default_channel_group: str = ""
    status_grace_period: Duration = timedelta(minutes=30)
    status_activity_window: Duration = timedelta(minutes=5)
    attention_age: Duration = timedelta(hours=2)
    delete_retention: Duration = timedelta(days=7)

    reconciliation_enabled: Boolean = True
    reconciliation_check_interval: Duration = timedelta(seconds=30)
    reconciliation_max_concurrent: Count = 50
    reconciliation_adaptive_enabled: Boolean = True
    reconciliation_healthy_interval: Duration = timedelta(minutes=5)
    reconciliation_unhealthy_interval: Duration = timedelta(seconds=30)
    reconciliation_default_interval: Duration = timedelta(minutes=5)
    standby_replicas: Annotated[int, Field(ge=0)] = 0

    run_dir: str = ".run"
    clusterflow_parent: int | None = None  # set by `clusterflow all`: its roles end with it
    embedded_kafka_port: Port | None = None
    embedded_postgres_port: Port | None = None
    embedded_valkey_port: Port | None = None

    git_commit: str = "unknown"
    build_time: str = "unknown"

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.port == self.metrics_port:
            raise ValueError("PORT and METRICS_PORT must differ")
        if self.command_timeout.total_seconds() >= self.server_write_timeout_seconds:
            raise ValueError("COMMAND_TIMEOUT must be below SERVER_WRITE_TIMEOUT_SECONDS")
        return self

    @property
    def kafka(self) -> KafkaSettings:
        """Kafka, as every role needs it."""
        return KafkaSettings(
            bootstrap_servers=self.required("kafka_bootstrap_servers"),
            topics=Topics(self.kafka_topic_prefix),
            partitions=self.kafka_partitions,
            replication=self.kafka_replication,
            session_timeout=self.kafka_session_timeout.total_seconds(),
        )

    @property
    def policy(self) -> Policy:
        """What the rules depend on."""
        return Policy(
            platforms=frozenset(platform.lower() for platform in self.platforms),
            require_release=self.require_release,
            default_version=self.default_cluster_version,
            default_channel_group=self.default_channel_group,
            privileged_domain=self.privileged_email_domain,
            grace_period=self.status_grace_period,
            activity_window=self.status_activity_window,
            attention_age=self.attention_age,
            attention_interval=self.reconciliation_unhealthy_interval,
            stable_interval=self.reconciliation_healthy_interval,
            default_interval=self.reconciliation_default_interval,
            reconcile_cap=self.reconciliation_max_concurrent,
            delete_retention=self.delete_retention,
            reconcile_enabled=self.reconciliation_enabled,
            adaptive=self.reconciliation_adaptive_enabled,
        )

    def required(self, name: str) -> str:
        """A setting this role cannot do without. Raises: BadSettings: it is not set."""
        value = getattr(self, name)
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if not text:
            raise BadSettings(f"{name.upper()} is not set; this role cannot start without it")
        return str(text)


def from_env() -> Settings:
    """The settings of this process. Raises: BadSettings: naming every variable at fault."""
    try:
        return Settings()
    except ValidationError as error:
        faults = [_fault(detail) for detail in error.errors(include_url=False)]
        raise BadSettings("\n".join(faults)) from None


def _fault(detail: Any) -> str:
    name = ".".join(str(part) for part in detail["loc"]).upper()
    text = detail["msg"].removeprefix("Value error, ")
    return f"{name}={detail['input']!r}: {text}" if name else text
