"""How to reach Kafka, and how its topics are laid out."""

import ssl
from dataclasses import dataclass, field
from typing import Any, Final

from streams.kafka.timeouts import METADATA_AGE_MS
from streams.topic import TopicSpec
from streams.topics import Topics

# How every consumer reads: what a transaction has written counts once it is committed, and never otherwise.
READ_COMMITTED: Final = "read_committed"

GROUP: Final = "clusterflow"  # of the workers, after the prefix of the topics
SINK_GROUP: Final = "clusterflow-postgres"  # of the sinks, likewise

# What one answer of a broker brings, of all partitions together. At the client's 50 MB a fetch of many
# partitions takes a buffer of that size, copies it three times and reads nothing meanwhile: a fifth of the
# time that a changelog takes, and a hundred megabytes of memory (docs/measured.md).
MAX_FETCH_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSecurity:
    """How this program proves who it is to Kafka, and how it knows that it talks to the right one.

    Attributes:
        protocol: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.
        mechanism: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; counts with the SASL protocols alone.
        ca_file: PEM of the authorities that sign brokers' certificates; empty for those the system knows.
        cert_file, key_file: PEM of our own certificate and its unencrypted key, where brokers ask for one.
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
        """The files as aiokafka takes them; None without TLS. Raises: OSError: a file cannot be used."""
        if not self.encrypted:
            return None
        context = ssl.create_default_context(cafile=self.ca_file or None)
        if self.cert_file:
            # Without a password to a key that wants one, OpenSSL would ask whoever sits at the terminal.
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
        partitions: Of every topic that does not say another number; fixed for the life of the data.
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
        """What every aiokafka client is told: where Kafka is, and who asks."""
        return {
            "bootstrap_servers": self.bootstrap_servers,
            "client_id": client_id,
            "metadata_max_age_ms": METADATA_AGE_MS,
            **self.security.options(),
        }
