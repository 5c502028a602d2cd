"""The environment, read once; the only reader of it.

Each field is one variable of the same name in upper case; one that is set and empty counts as not set.
Durations use Go's syntax (`500ms`, `1m30s`), booleans 1/0, t/f, true/false, lists commas. A value that cannot
be read stops the start with the variable's name and what was expected; nothing falls back in silence.
docs/settings.md says what each is for.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any, Final

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import SettingsConfigDict

from cli.databases import DatabaseVariables
from cli.limits import LimitVariables
from cli.values import (
    Boolean,
    ChangeTypes,
    ChannelGroup,
    Count,
    Domain,
    Duration,
    Environment,
    EventTypes,
    HostNames,
    Listed,
    LogFormat,
    LogLevel,
    Network,
    Origins,
    Port,
    PublicTopics,
    RedisUrl,
    SaslMechanism,
    SecretKeys,
    SecurityProtocol,
    Servers,
    ServiceName,
    ServicePort,
    Statuses,
    TopicText,
    WriteFallback,
)
from cli.work import WorkVariables
from database import DatabaseSettings, Pooler
from database.names import DATABASES, DatabaseName
from domain.errors import ControlPlaneError
from domain.hosts import LOOPBACK, Hosts, canonical
from domain.policy import Policy
from streams.envelope import EVENTS
from streams.flows import PUBLIC
from streams.messages import SOURCE
from streams.secrets import Keyring
from streams.settings import KafkaSecurity, KafkaSettings
from streams.topics import Topics

# Of a value that is wrong, as much is shown.
_SHOWN: Final = 80


class BadSettings(ControlPlaneError):
    """The environment cannot be used; the text names each variable and what was expected."""


class Settings(DatabaseVariables, LimitVariables, WorkVariables):
    """All settings of all roles, with their defaults."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    port: Port = 8080
    metrics_port: Port = 8081
    metrics_enabled: Boolean = True
    grpc_service_port: ServicePort = 9090
    grpc_reflection: Boolean = True
    bind_host: str = "127.0.0.1"
    environment: Environment = Environment.DEVELOPMENT
    service_name: ServiceName = SOURCE
    server_read_timeout_seconds: Count = 30
    server_write_timeout_seconds: Count = 30
    server_idle_timeout_seconds: Count = 120
    server_max_header_bytes: Count = 1048576
    server_max_unread_bytes: Count = 64 * 1024 * 1024
    server_max_unread_bytes_per_connection: Annotated[int, Field(ge=1024 * 1024)] = 4 * 1024 * 1024
    max_watches: Count = 1000
    max_watches_per_identity: Count = 100
    allowed_hosts: HostNames = ()
    cors_allowed_origins: Origins = ()

    kafka_bootstrap_servers: Servers = ""
    kafka_security_protocol: SecurityProtocol = SecurityProtocol.PLAINTEXT
    kafka_sasl_mechanism: SaslMechanism = SaslMechanism.PLAIN
    kafka_sasl_username: str = ""
    kafka_sasl_password: SecretStr = SecretStr("")
    kafka_ssl_ca_file: str = ""
    kafka_ssl_cert_file: str = ""
    kafka_ssl_key_file: str = ""
    kafka_topic_prefix: TopicText = ""
    kafka_partitions: Count = 12
    kafka_replication: Annotated[int, Field(ge=1, le=32767)] = 3
    kafka_session_timeout: Duration = timedelta(seconds=6)
    cluster_events_topic: TopicText = EVENTS
    pubsub_cluster_events_topic: TopicText = ""  # the old name of the one before

    database_max_open_conns: Count = 25
    database_max_idle_conns: Count = 5
    database_conn_max_lifetime: Duration = timedelta(minutes=5)
    database_conn_max_idle_time: Duration = timedelta(minutes=1)
    database_pooler: Pooler = Pooler.NONE
    redis_url: RedisUrl = SecretStr("")
    secret_keys: SecretKeys = SecretStr("")

    log_level: LogLevel = LogLevel.INFO
    log_format: LogFormat = LogFormat.JSON
    disable_auth: Boolean = False
    privileged_email_domain: Domain = "system.local"
    command_timeout: Duration = timedelta(seconds=15)

    platforms: Listed = ("gcp", "aws", "azure")
    require_release: Boolean = False
    default_cluster_version: str = ""
    default_channel_group: ChannelGroup = ""
    status_grace_period: Duration = timedelta(minutes=30)
    status_activity_window: Duration = timedelta(minutes=5)
    attention_age: Duration = timedelta(hours=2)
    delete_retention: Duration = timedelta(days=7)
    resource_statuses: Statuses = ("active", "inactive")

    droplet_provision_seconds: Annotated[float, Field(ge=0, le=86_400)] = 2.0
    droplet_network: Network = "10.128.0.0/16"
    task_require_resource: Boolean = False

    worker_topics: PublicTopics = PUBLIC
    write_fallback: WriteFallback = WriteFallback.NONE
    outbox_allowed_types: EventTypes = PUBLIC
    outbox_poll_interval: Duration = timedelta(seconds=1)
    outbox_batch_size: Annotated[int, Field(ge=1, le=10_000)] = 100
    outbox_retention_days: Count = 7

    reconciliation_enabled: Boolean = True
    reconciliation_check_interval: Duration = timedelta(seconds=30)
    reconciliation_max_concurrent: Count = 50
    reconciliation_adaptive_enabled: Boolean = True
    reconciliation_healthy_interval: Duration = timedelta(minutes=5)
    reconciliation_unhealthy_interval: Duration = timedelta(seconds=30)
    reconciliation_default_interval: Duration = timedelta(minutes=5)
    reactive_reconciliation_enabled: Boolean = False
    reactive_reconciliation_debounce: Duration = timedelta(seconds=2)
    reactive_reconciliation_max_events_per_minute: Count = 60
    reactive_reconciliation_change_types: ChangeTypes = ("spec", "status", "controller_status")
    standby_replicas: Annotated[int, Field(ge=0)] = 0

    run_dir: str = ".run"
    clusterflow_parent: int | None = None  # set by `clusterflow all`: its roles end with it
    embedded_kafka_port: Port | None = None
    embedded_postgres_port: Port | None = None
    embedded_valkey_port: Port | None = None

    git_commit: str = "unknown"
    build_time: str = "unknown"

    @property
    def hosts(self) -> Hosts:
        """The hosts that requests may name."""
        return Hosts(self.bind_host, self.allowed_hosts)

    @property
    def kafka(self) -> KafkaSettings:
        """Kafka, as every role needs it."""
        return KafkaSettings(
            bootstrap_servers=self.required("kafka_bootstrap_servers"),
            security=self.kafka_security,
            topics=self.topics,
            partitions=self.kafka_partitions,
            replication=self.kafka_replication,
            session_timeout=self.kafka_session_timeout.total_seconds(),
        )

    @property
    def topics(self) -> Topics:
        """What the topics are called."""
        return Topics(self.kafka_topic_prefix, self.events_topic)

    @property
    def kafka_security(self) -> KafkaSecurity:
        """How Kafka is spoken to."""
        return KafkaSecurity(
            protocol=self.kafka_security_protocol,
            mechanism=self.kafka_sasl_mechanism,
            username=self.kafka_sasl_username,
            password=self.kafka_sasl_password.get_secret_value(),
            ca_file=self.kafka_ssl_ca_file,
            cert_file=self.kafka_ssl_cert_file,
            key_file=self.kafka_ssl_key_file,
        )

    @property
    def events_topic(self) -> str:
        """The name of the topic of public events, without prefix, under whichever of its names it was set."""
        if "cluster_events_topic" in self.model_fields_set or not self.pubsub_cluster_events_topic:
            return self.cluster_events_topic
        return self.pubsub_cluster_events_topic

    def database_of(self, name: DatabaseName) -> DatabaseSettings:
        """A database, as the roles that need it do. Raises: BadSettings: nothing says where it is."""
        if not (url := self.url_of(name)):
            group = f"{name.upper()}_DB_HOST, _PORT, _USER, _PASSWORD, _NAME and _SSLMODE"
            raise BadSettings(
                f"DATABASE_URL is not set, and none of {group}; this role needs {DATABASES[name]}"
            )
        return DatabaseSettings(
            url=url,
            max_open=self.database_max_open_conns,
            max_idle=self.database_max_idle_conns,
            max_lifetime=self.database_conn_max_lifetime,
            max_idle_time=self.database_conn_max_idle_time,
            pooler=self.database_pooler,
        )

    def fallback_of(self, name: DatabaseName) -> DatabaseSettings | None:
        """The database if its outbox takes writes that Kafka does not take; None for nowhere."""
        return self.database_of(name) if self.write_fallback is WriteFallback.OUTBOX else None

    @property
    def keyring(self) -> Keyring:
        """Keys of the secrets in specs; without any, specs with secrets are refused."""
        return Keyring.parse(self.secret_keys.get_secret_value())

    @property
    def policy(self) -> Policy:
        """What the rules depend on."""
        return Policy(
            platforms=frozenset(platform.lower() for platform in self.platforms),
            require_release=self.require_release,
            default_version=self.default_cluster_version,
            default_channel_group=self.default_channel_group,
            secret_key_ids=self.keyring.key_ids,
            privileged_domain=self.privileged_email_domain,
            grace_period=self.status_grace_period,
            activity_window=self.status_activity_window,
            attention_age=self.attention_age,
            attention_interval=self.reconciliation_unhealthy_interval,
            stable_interval=self.reconciliation_healthy_interval,
            default_interval=self.reconciliation_default_interval,
            reconcile_cap=self.reconciliation_max_concurrent,
            delete_retention=self.delete_retention,
            resource_statuses=self.resource_statuses,
            task_limits=self.task_limits,
            task_retention=self.task_retention,
            job_limits=self.job_limits,
            job_retention=self.job_retention,
            droplet_provisioning=timedelta(seconds=self.droplet_provision_seconds),
            droplet_network=self.droplet_network,
            autoscale_interval=timedelta(seconds=self.autoscale_interval),
            autoscale_cooldown=timedelta(seconds=self.autoscale_cooldown),
            autoscale_zone=self.autoscale_tz,
            reconcile_enabled=self.reconciliation_enabled,
            adaptive=self.reconciliation_adaptive_enabled,
            reactive=self.reactive_reconciliation_enabled,
            reactive_debounce=self.reactive_reconciliation_debounce,
            reactive_limit=self.reactive_reconciliation_max_events_per_minute,
            reactive_change_types=frozenset(self.reactive_reconciliation_change_types),
        )

    def required(self, name: str) -> str:
        """A setting this role cannot do without. Raises: BadSettings: it is not set."""
        value = getattr(self, name)
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if not text:
            raise BadSettings(f"{name.upper()} is not set; this role cannot start without it")
        return str(text)

    def warnings(self) -> Iterator[tuple[str, str]]:
        """What may be meant and is worth a second look: the variable, and why."""
        if self.disable_auth and self.environment is Environment.PRODUCTION:
            yield "DISABLE_AUTH", "in production, everyone without a valid X-User-Email acts as a controller"
        if self.require_release:
            for name in ("default_cluster_version", "default_channel_group"):
                if not getattr(self, name):
                    yield name.upper(), "is not set, so a cluster that names no release is refused"


def from_env() -> Settings:
    """The settings of this process. Raises: BadSettings: naming every variable at fault."""
    faulty: dict[str, Any] = {}
    faults: list[str] = []
    try:
        settings = Settings()
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            name = str(detail["loc"][0])
            field = Settings.model_fields[name]
            faulty[name] = field.default
            faults.append(_fault(name, detail, secret=field.annotation is SecretStr))
        settings = Settings(**faulty)  # to find in the same run what does not fit together in the rest
    faults += [text for names, text in _conflicts(settings) if not faulty.keys() & set(names)]
    if faults:
        raise BadSettings("\n".join(faults))
    return settings


def _fault(name: str, detail: Any, *, secret: bool) -> str:
    text = detail["msg"].removeprefix("Value error, ")
    shown = "" if secret else f"={detail['input'][:_SHOWN]!r}"
    return f"{name.upper()}{shown}: {text}"


Conflict = tuple[tuple[str, ...], str]


def _conflicts(settings: Settings) -> Iterator[Conflict]:
    """What is right by itself and wrong together: the fields, and what to say."""
    ports: dict[int, str] = {}
    for name in Settings.model_fields:
        port = getattr(settings, name)
        if name == "grpc_service_port" and name not in settings.model_fields_set:
            continue  # most roles do not use it, and may have chosen its default for something else
        if (
            name.endswith("port")
            and "_db_" not in name
            and port is not None
            and ports.setdefault(port, name) != name
        ):
            yield (
                (ports[port], name),
                f"{ports[port].upper()} and {name.upper()} must differ, both are {port}",
            )
    if settings.command_timeout.total_seconds() >= settings.server_write_timeout_seconds:
        names = ("command_timeout", "server_write_timeout_seconds")
        yield names, "COMMAND_TIMEOUT must be below SERVER_WRITE_TIMEOUT_SECONDS"
    names = ("server_max_unread_bytes", "server_max_unread_bytes_per_connection")
    if settings.server_max_unread_bytes < 2 * settings.server_max_unread_bytes_per_connection:
        yield names, "SERVER_MAX_UNREAD_BYTES must be at least twice SERVER_MAX_UNREAD_BYTES_PER_CONNECTION"
    names = ("cluster_events_topic", "pubsub_cluster_events_topic")
    if settings.model_fields_set >= set(names) and len({getattr(settings, name) for name in names}) > 1:
        yield names, "CLUSTER_EVENTS_TOPIC and PUBSUB_CLUSTER_EVENTS_TOPIC are one setting, and differ"
    topics = settings.topics
    if len({topic.name for topic in topics.all()}) < len(topics.all()):
        yield names, f"CLUSTER_EVENTS_TOPIC: {settings.events_topic} is the name of another topic of ours"
    ours = {topic.name.removeprefix(topics.prefix) for topic in topics.all()}
    if internal := ours.intersection(settings.outbox_allowed_types).difference(PUBLIC):
        text = f"{', '.join(sorted(internal))}: a topic that only we write to"
        yield ("outbox_allowed_types",), f"OUTBOX_ALLOWED_TYPES: {text}"
    yield from _origin_conflicts(settings)
    yield from _security_conflicts(settings)


def _origin_conflicts(settings: Settings) -> Iterator[Conflict]:
    """Who is asking is said by a header, which a page that may call at all may set as it likes."""
    names = ("cors_allowed_origins", "environment", "bind_host", "allowed_hosts")
    named = {canonical(host) for host in settings.allowed_hosts}
    alone = bool(named) and named | {canonical(settings.bind_host)} <= LOOPBACK
    if "*" in settings.cors_allowed_origins and not (
        alone and settings.environment is Environment.DEVELOPMENT
    ):
        yield (
            names,
            "CORS_ALLOWED_ORIGINS=*: any website could act as any caller, since X-User-Email is a header; "
            "name the origins, such as https://console.example.com. Tests on one machine may have it with "
            "ENVIRONMENT=development, BIND_HOST=127.0.0.1 and ALLOWED_HOSTS=127.0.0.1 beside it",
        )


def _security_conflicts(settings: Settings) -> Iterator[Conflict]:
    security = settings.kafka_security
    sasl = ("kafka_sasl_username", "kafka_sasl_password")
    files = ("kafka_ssl_ca_file", "kafka_ssl_cert_file", "kafka_ssl_key_file")
    given = {name for name in (*sasl, *files) if name in settings.model_fields_set}
    by = ("kafka_security_protocol",)
    for name in sasl:
        if security.authenticated and name not in given:
            yield (
                (*by, name),
                f"{name.upper()} is not set; KAFKA_SECURITY_PROTOCOL={security.protocol} needs it",
            )
        if not security.authenticated and name in given:
            yield (
                (*by, name),
                f"{name.upper()} is set, and KAFKA_SECURITY_PROTOCOL={security.protocol} has no use for it",
            )
    for name in files:
        if not security.encrypted and name in given:
            yield (
                (*by, name),
                f"{name.upper()} is set, and KAFKA_SECURITY_PROTOCOL={security.protocol} has no use for it",
            )
    if security.key_file and not security.cert_file:
        yield files[1:], "KAFKA_SSL_KEY_FILE is set without KAFKA_SSL_CERT_FILE"
    try:
        security.ssl_context()
    except OSError as error:
        set_files = ", ".join(name.upper() for name in files if name in given)
        yield (*by, *files), f"{set_files}: expected PEM files that can be read, got {error}"
