"""What the web role is told."""

from dataclasses import dataclass, field
from datetime import timedelta

from domain.policy import Policy
from streams.settings import KafkaSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """The web role's settings.

    Attributes:
        command_timeout: How long a write waits for its outcome before it answers 503.
        read_timeout: How long a client may take to send its body.
        database_url: Only for the health page; empty when there is none to watch.
        cors_origins: Origins that browsers may call from; `*` for any.
        disable_auth: Requests without a valid identity act as a controller.
    """

    kafka: KafkaSettings
    policy: Policy = field(default_factory=Policy)
    host: str = "127.0.0.1"
    port: int = 8080
    command_timeout: timedelta = timedelta(seconds=15)
    read_timeout: timedelta = timedelta(seconds=30)
    idle_timeout: timedelta = timedelta(seconds=120)
    max_header_bytes: int = 1048576
    cors_origins: tuple[str, ...] = ("*",)
    disable_auth: bool = False
    database_url: str = ""
    environment: str = "development"
    version: str = "0"
    git_commit: str = "unknown"
    build_time: str = "unknown"
