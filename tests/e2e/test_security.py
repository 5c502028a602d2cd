"""Every role over a Kafka that asks who they are, by TLS, by name and password, and by both."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import asyncpg
import pytest
from aiokafka.errors import KafkaError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from database import DatabaseSettings
from deploy.embedded import Stack, process
from deploy.embedded.kafka.node import JVM, PROPERTIES, Kafka
from migrations import migrate
from sinks import SinkSettings
from sinks import run as run_sink
from streams.kafka.admin import check_topics, declare_topics
from streams.settings import KafkaSecurity, KafkaSettings
from streams.topics import Topics
from tests.conftest import until
from tests.e2e.product import Deployment

MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


class GuardedKafka(Kafka):
    """An embedded Kafka with a listener for each protocol, and one user, `me`."""

    tls: Path

    def _settings(self) -> dict[str, object]:
        settings = super()._settings()
        listeners = {name: self._ports.choose(name, None) for name in ("SSL", "SASL_PLAINTEXT", "SASL_SSL")}
        added = "".join(f",{name}://127.0.0.1:{port}" for name, port in listeners.items())
        jaas = "org.apache.kafka.common.security"
        users = 'required username="me" password="hunter2"'
        modules = {
            "PLAIN": f"{jaas}.plain.PlainLoginModule {users} user_me=hunter2;",
            "SCRAM-SHA-256": f"{jaas}.scram.ScramLoginModule {users};",
            "SCRAM-SHA-512": f"{jaas}.scram.ScramLoginModule {users};",
        }
        return {
            **settings,
            "listeners": f"{settings['listeners']}{added}",
            "advertised.listeners": f"{settings['advertised.listeners']}{added}",
            "listener.security.protocol.map": ",".join(
                f"{name}:{name.replace('CONTROLLER', 'PLAINTEXT')}"
                for name in ("PLAINTEXT", "CONTROLLER", *listeners)
            ),
            "sasl.enabled.mechanisms": ",".join(MECHANISMS),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": self.tls / "server.pem",
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self.tls / "ca.crt",
            "listener.name.ssl.ssl.client.auth": "required",
            **{
                f"listener.name.{listener}.{mechanism.lower()}.sasl.jaas.config": module
                for listener in ("sasl_plaintext", "sasl_ssl")
                for mechanism, module in modules.items()
            },
        }

    def _format(self, java: str, class_path: str) -> None:
        users = [f"--add-scram={name}=[name=me,password=hunter2]" for name in MECHANISMS[1:]]
        tool = [
            "kafka.tools.StorageTool",
            "format",
            "--cluster-id=MkU3OEVBNTcwNTJENDM2Qg",
            f"--config={PROPERTIES}",
        ]
        command = [java, *JVM, "-cp", class_path, *tool, *users]
        process.run(command, failure="cannot format", env=self._environment(), cwd=self.dir)

    def listener(self, protocol: str) -> str:
        return f"127.0.0.1:{self._ports.choose(protocol, self._ports._read()[protocol])}"


def certificates(place: Path) -> None:
    """An authority, and for the server and for a client a certificate and its key, as PEM."""
    authority = rsa.generate_private_key(65537, 2048)
    for name in ("ca", "server", "client"):
        key = authority if name == "ca" else rsa.generate_private_key(65537, 2048)
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=name == "ca", path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
            )
            .sign(authority, hashes.SHA256())
        )
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        private, public = key.private_bytes(*form), certificate.public_bytes(serialization.Encoding.PEM)
        (place / f"{name}.key").write_bytes(private)
        (place / f"{name}.crt").write_bytes(public)
        (place / f"{name}.pem").write_bytes(private + public)


@pytest.fixture(scope="module")
async def guarded(tmp_path_factory):
    tls = tmp_path_factory.mktemp("tls")
    certificates(tls)
    stack = Stack(tmp_path_factory.mktemp("guarded"))
    stack.kafka.__class__ = GuardedKafka
    stack.kafka.tls = tls
    await asyncio.to_thread(stack.start, ["kafka"])
    yield stack.kafka
    await asyncio.to_thread(stack.stop)


def security(tls: Path, protocol: str, **members: str) -> KafkaSecurity:
    known = {"ca_file": str(tls / "ca.crt")} if "SSL" in protocol.split("_") else {}
    named = {"username": "me", "password": "hunter2"} if protocol.startswith("SASL") else {}
    own = (
        {"cert_file": str(tls / "client.crt"), "key_file": str(tls / "client.key")}
        if protocol == "SSL"
        else {}
    )
    return KafkaSecurity(protocol=protocol, **{**known, **named, **own, **members})


def settings(kafka: GuardedKafka, protocol: str, name: str, **members: str) -> KafkaSettings:
    return KafkaSettings(
        bootstrap_servers=kafka.listener(protocol),
        security=security(kafka.tls, protocol, **members),
        topics=Topics(f"{name}."),
        partitions=2,
        replication=1,
    )


@asynccontextmanager
async def a_sink(kafka: KafkaSettings, url: str):
    stop = asyncio.Event()
    told = SinkSettings(
        kafka=kafka, database=DatabaseSettings(url=url), group_id=f"{kafka.topics.prefix}sink"
    )
    running = asyncio.create_task(run_sink(told, stop=stop))
    yield
    stop.set()
    await asyncio.wait_for(running, 20)


@pytest.mark.parametrize(
    ("protocol", "mechanism"),
    [
        ("SSL", "PLAIN"),
        ("SASL_PLAINTEXT", "PLAIN"),
        ("SASL_PLAINTEXT", "SCRAM-SHA-256"),
        ("SASL_SSL", "SCRAM-SHA-512"),
    ],
)
async def test_a_cluster_gets_from_rest_to_postgres(guarded, servers, protocol, mechanism):
    kafka = settings(guarded, protocol, f"{protocol}-{mechanism}", mechanism=mechanism)
    await declare_topics(kafka)
    url = await servers.new_database()
    await migrate(url)
    async with Deployment(kafka) as deployment, a_sink(kafka, url):
        await deployment.worker()
        api = await deployment.web("me@example.com")
        cluster = await api.created("guarded")
        connection = await asyncpg.connect(url)

        async def stored() -> bool:
            return (
                await connection.fetchval("SELECT count(*) FROM clusters WHERE id = $1", cluster["id"]) == 1
            )

        await until(stored, what="the row")
        await connection.close()


@pytest.mark.parametrize(
    ("protocol", "members"),
    [
        pytest.param("SASL_PLAINTEXT", {"password": "wrong"}, id="a wrong password"),
        pytest.param(
            "SASL_PLAINTEXT", {"password": "wrong", "mechanism": "SCRAM-SHA-256"}, id="a wrong proof"
        ),
        pytest.param("SASL_SSL", {"ca_file": ""}, id="an authority we do not know"),
        pytest.param("SSL", {"cert_file": "", "key_file": ""}, id="no certificate of ours"),
    ],
)
async def test_who_is_not_let_in_is_told(guarded, protocol, members):
    kafka = settings(guarded, protocol, "nobody", **members)
    with pytest.raises((KafkaError, OSError)) as told:
        await asyncio.wait_for(check_topics(kafka), 30)
    assert "hunter2" not in repr(told.value)
