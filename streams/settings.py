"""How to reach Kafka, and the layout of its topics."""

import ssl
from dataclasses import dataclass, field
from typing import Any, Final

from streams.kafka.timeouts import METADATA_AGE_MS, group_request_within
from streams.topic import TopicSpec
from streams.topics import Topics

# The isolation level of every consumer: records of a transaction count only once it is committed.
READ_COMMITTED: Final = "read_committed"

GROUP: Final = "clusterflow"  # of the workers, after the prefix of the topics
SINK_GROUP: Final = "clusterflow-postgres"  # of the sinks, likewise
RECORDER_GROUP: Final = "clusterflow-recorder"  # of the recorders, likewise
EXECUTOR_GROUP: Final = "clusterflow-executor"  # of the executors of tasks, likewise
SAMPLES_GROUP: Final = "clusterflow-samples"  # of the workers that are of samples alone, likewise
TELEMETRY_GROUP: Final = "clusterflow-telemetry"  # of the workers where they listen to nodes, likewise
JOB_EXECUTOR_GROUP: Final = "clusterflow-executor-jobs"  # of the executors of jobs, likewise

# Bytes of one answer of a broker, for all partitions together. With the client's default of 50 MB, a fetch of
# many partitions allocates a buffer of that size, copies it three times and reads nothing meanwhile. That is
# a fifth of the time to read a changelog, and a hundred megabytes of memory (docs/measured.md).
MAX_FETCH_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSecurity:
    """How this program authenticates itself to Kafka, and verifies the brokers.

    Attributes:
        protocol: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.
        mechanism: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; used with the SASL protocols only.
        ca_file: PEM of the authorities that sign brokers' certificates; empty for the system's own.
        cert_file, key_file: PEM of our own certificate and its unencrypted key, if brokers require one.
    """

    protocol: str = "PLAINTEXT"
    mechanism: str = "PLAIN"
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""

    @property
    def encrypted(self) -> bool:
        """Whether the connection is TLS."""
        return self.protocol in ("SSL", "SASL_SSL")

    @property
    def authenticated(self) -> bool:
        """Whether we send a name and a password."""
        return self.protocol in ("SASL_PLAINTEXT", "SASL_SSL")

    def ssl_context(self) -> ssl.SSLContext | None:
        """The TLS context for aiokafka; None without TLS. Raises: OSError: a file cannot be used."""
        if not self.encrypted:
            return None
        context = ssl.create_default_context(cafile=self.ca_file or None)
        if self.cert_file:
            # If a key is encrypted and no password is given, OpenSSL would ask for it at the terminal.
            context.load_cert_chain(self.cert_file, self.key_file or None, password="")
        return context

    def options(self) -> dict[str, Any]:
        """Options of every aiokafka client. Raises: OSError: a file cannot be used."""
        options: dict[str, Any] = {"security_protocol": self.protocol, "ssl_context": self.ssl_context()}
        if self.authenticated:
            options["sasl_mechanism"] = self.mechanism
            options["sasl_plain_username"] = self.username
            options["sasl_plain_password"] = self.password
        return options


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSettings:
    """Kafka, as every role needs it.

    Attributes:
        bootstrap_servers: `host:port`, comma-separated.
        partitions: The count for topics that do not declare their own; fixed for the life of the data.
        replication: Copies of each partition.
        session_timeout: Seconds after which a silent group member counts as dead.
    """

    bootstrap_servers: str
    security: KafkaSecurity = field(default_factory=KafkaSecurity)
    topics: Topics = field(default_factory=Topics)
    partitions: int = 12
    replication: int = 3
    session_timeout: float = 6.0

    def partitions_of(self, spec: TopicSpec) -> int:
        """How many partitions a topic is made with."""
        return self.partitions if spec.partitions is None else spec.partitions

    def client(self, client_id: str) -> dict[str, Any]:
        """The options of every aiokafka client: Kafka's address and the client's id."""
        return {
            "bootstrap_servers": self.bootstrap_servers,
            "client_id": client_id,
            "metadata_max_age_ms": METADATA_AGE_MS,
            **self.security.options(),
        }

    def member(self, client_id: str, group: str) -> dict[str, Any]:
        """The options of a consumer in a group, which commits what it has handled by itself.

        Args:
            group: Its full name.
        """
        return {
            **self.client(client_id),
            "group_id": group,
            "enable_auto_commit": False,
            "isolation_level": READ_COMMITTED,
            "session_timeout_ms": int(self.session_timeout * 1000),
            "heartbeat_interval_ms": int(self.session_timeout * 1000 / 6),
            "request_timeout_ms": int(group_request_within(self.session_timeout) * 1000),
        }
