"""What the web role is told."""

from dataclasses import dataclass, field
from datetime import timedelta

from database import DatabaseSettings
from domain.policy import Policy
from streams.messages import SOURCE
from streams.secrets import Keyring
from streams.settings import KafkaSettings
from web.job_pool import JobPoolSettings
from web.limits import LimiterSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """The web role's settings.

    Attributes:
        command_timeout: How long a write waits for its outcome before it answers 503.
        read_timeout: How long a client may take to send its body.
        write_timeout: How long sending an answer may take before the connection is cut.
        database: For the health page, and for the outbox; None when there is none.
        fallback: Whether writes of simple kinds that Kafka does not take are stored in the outbox.
        require_resource: Whether the resource of a task must exist.
        allowed_hosts: Names and addresses that `Host` may have, beside loopback and `host`.
        cors_origins: Origins whose pages may call, with any identity they like; `*` for any.
        keyring: Encrypts the secrets in specs; without keys a spec with secrets is refused.
        watch_heartbeat: After so much silence a watch shows that it is alive, and where it is.
        watch_write_timeout: How long a watcher may leave what is written to it unread.
        watch_reach: How long a watcher that comes from another process waits for this one to get as far.
        max_watchers, max_watchers_each: Watches served at a time, in all and of one identity.
        max_unread: Bytes of answers that may wait to be read, of all connections together.
        max_unread_each: The same of one connection, so that a page holds no more either.
        feed_changes, feed_bytes: How many changes are kept for watchers, and how much of documents.
        service_name: What `/health` and `/api/v1/info` call the service, as its events do.
        job_pool: What each executor of jobs does, and may have waiting.
        export_interval: Time between two looks at the newest samples, which are shown as metrics.
        limiter: How fast callers may use limited routes.
        disable_auth: Requests without a valid identity act as a controller.
    """

    kafka: KafkaSettings
    policy: Policy = field(default_factory=Policy)
    host: str = "127.0.0.1"
    port: int = 8080
    command_timeout: timedelta = timedelta(seconds=15)
    read_timeout: timedelta = timedelta(seconds=30)
    write_timeout: timedelta = timedelta(seconds=30)
    idle_timeout: timedelta = timedelta(seconds=120)
    max_header_bytes: int = 1048576
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    keyring: Keyring = field(default_factory=lambda: Keyring({}))
    watch_heartbeat: timedelta = timedelta(seconds=15)
    watch_write_timeout: timedelta = timedelta(seconds=30)
    watch_reach: timedelta = timedelta(seconds=5)
    max_watchers: int = 1000
    max_watchers_each: int = 100
    max_unread: int = 64 * 1024 * 1024
    max_unread_each: int = 4 * 1024 * 1024
    feed_changes: int = 10_000
    feed_bytes: int = 32 * 1024 * 1024
    disable_auth: bool = False
    database: DatabaseSettings | None = None
    fallback: bool = False
    require_resource: bool = False
    job_pool: JobPoolSettings = field(default_factory=JobPoolSettings)
    export_interval: timedelta = timedelta(seconds=30)
    limiter: LimiterSettings = field(default_factory=LimiterSettings)
    environment: str = "development"
    service_name: str = SOURCE
    version: str = "0"
    git_commit: str = "unknown"
    build_time: str = "unknown"
