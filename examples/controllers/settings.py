"""What a controller is told by its environment; the only module of the controllers that reads it.

| Variable | Default | |
|---|---|---|
| KAFKA_BOOTSTRAP_SERVERS | required | `host:port`, comma-separated |
| KAFKA_TOPIC_PREFIX | empty | as Clusterflow's own |
| CLUSTERFLOW_API_URL | http://localhost:8080 | read by controllers that depend on others |
| CONTROLLER_RETRY_FIRST / _LONGEST / _ATTEMPTS | 10s / 600s / 5 | back-off of failed attempts |
| CONTROLLER_WORK_LIMIT | 10m | bound of one attempt |
| CONTROLLER_STOP_GRACE | 10s | what work under way gets to end in after SIGTERM |
| SIMULATED_WORK | 150ms | how long the pretended provider takes for a change |
| SIMULATED_FAILURES / _ATTEMPTS | empty / 2 | clusters (`demo-*-03,…`) whose first attempts are refused |
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from examples.controllers.contract import Backoff

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class ConfigurationError(Exception):
    """A variable is missing or wrong; the text says which, and what it should be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything configurable, times in seconds."""

    bootstrap_servers: str
    topic_prefix: str = ""
    api_url: str = "http://localhost:8080"
    backoff: Backoff = field(default_factory=Backoff)
    work_limit: float = 600.0
    stop_grace: float = 10.0
    simulated_work: float = 0.15
    simulated_failures: tuple[str, ...] = ()
    simulated_failed_attempts: int = 2

    @property
    def events_topic(self) -> str:
        """Where every accepted change is announced."""
        return f"{self.topic_prefix}cluster-events"

    @property
    def reports_topic(self) -> str:
        """Where controllers say what became of it."""
        return f"{self.topic_prefix}cluster-status-reports"

    def dead_letters_topic(self, controller: str) -> str:
        """Where a controller parks the events it gave up on."""
        return f"{self.events_topic}.{controller}.dlq"


def from_env(environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings from the environment. Raises: ConfigurationError."""
    servers = environment.get("KAFKA_BOOTSTRAP_SERVERS", "")
    if not servers:
        raise ConfigurationError("set KAFKA_BOOTSTRAP_SERVERS to Clusterflow's Kafka, e.g. localhost:9092")
    return Settings(
        bootstrap_servers=servers,
        topic_prefix=environment.get("KAFKA_TOPIC_PREFIX", ""),
        api_url=environment.get("CLUSTERFLOW_API_URL", "http://localhost:8080").rstrip("/"),
        backoff=Backoff(
            first=_seconds(environment, "CONTROLLER_RETRY_FIRST", "10s"),
            longest=_seconds(environment, "CONTROLLER_RETRY_LONGEST", "600s"),
            attempts=_count(environment, "CONTROLLER_RETRY_ATTEMPTS", "5"),
        ),
        work_limit=_seconds(environment, "CONTROLLER_WORK_LIMIT", "10m"),
        stop_grace=_seconds(environment, "CONTROLLER_STOP_GRACE", "10s"),
        simulated_work=_seconds(environment, "SIMULATED_WORK", "150ms"),
        simulated_failures=tuple(
            name.strip() for name in environment.get("SIMULATED_FAILURES", "").split(",") if name.strip()
        ),
        simulated_failed_attempts=_count(environment, "SIMULATED_FAILURES_ATTEMPTS", "2"),
    )


def _seconds(environment: Mapping[str, str], name: str, default: str) -> float:
    text = environment.get(name, default)
    parts = _DURATION.findall(text)
    if "".join(number + unit for number, unit in parts) != text or not parts:
        raise ConfigurationError(f"{name}={text!r} isn't a duration: write it like 500ms, 10s or 1m30s")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def _count(environment: Mapping[str, str], name: str, default: str) -> int:
    text = environment.get(name, default)
    if not text.isdecimal() or int(text) < 1:
        raise ConfigurationError(f"{name}={text!r} isn't a count: write a whole number from 1 on")
    return int(text)
