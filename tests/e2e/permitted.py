"""A Kafka that lets in whom it knows and lets them do what they were granted, and nothing else.

Grants are made from the text that `clusterflow topics --acls` prints, read as a shell would read it. The
administrator who makes them comes over the plain listener; everybody else has a name.
"""

import re
import shlex
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest, DescribeAclsRequest

from deploy.embedded.kafka import Kafka
from streams.kafka.acls import principal_of, script
from streams.kafka.roles import CLIENTS, ROLES
from streams.settings import KafkaSecurity, KafkaSettings
from streams.topics import Topics
from tests.conftest import until

PASSWORD = "hunter2"
LISTENER = "SASL_PLAINTEXT"

_RESOURCES = {"--topic": 2, "--group": 3}
_OPERATIONS = {"Read": 3, "Write": 4, "Create": 5, "Describe": 8, "DescribeConfigs": 10, "AlterConfigs": 11}
_LITERAL, _PREFIXED = 3, 4
_ALLOW = 3


def user_of(who: str) -> str:
    """The name that a role or a kind of client has here."""
    return principal_of(who).removeprefix("User:")


class PermittingKafka(Kafka):
    """An embedded Kafka with a listener for names and passwords, and Kafka's own authorizer."""

    def _settings(self) -> dict[str, object]:
        settings = super()._settings()
        added = f",{LISTENER}://127.0.0.1:{self._ports.choose(LISTENER, None)}"
        users = " ".join(f'user_{user_of(who)}="{PASSWORD}"' for who in (*ROLES, *CLIENTS, "nobody"))
        return {
            **settings,
            "listeners": f"{settings['listeners']}{added}",
            "advertised.listeners": f"{settings['advertised.listeners']}{added}",
            "listener.security.protocol.map": (
                f"PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,{LISTENER}:{LISTENER}"
            ),
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl_plaintext.plain.sasl.jaas.config": (
                f"org.apache.kafka.common.security.plain.PlainLoginModule required {users};"
            ),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",  # the broker itself, and this file
            "allow.everyone.if.no.acl.found": "false",
        }

    def settings_of(self, who: str, prefix: str) -> KafkaSettings:
        """How somebody reaches it."""
        port = self._ports.choose(LISTENER, self._ports._read()[LISTENER])
        security = KafkaSecurity(protocol=LISTENER, username=user_of(who), password=PASSWORD)
        return self.plainly(prefix, bootstrap_servers=f"127.0.0.1:{port}", security=security)

    def plainly(self, prefix: str, **members: Any) -> KafkaSettings:
        """How its administrator reaches it."""
        return KafkaSettings(
            **{"bootstrap_servers": self.bootstrap_servers, **members},
            topics=Topics(prefix),
            partitions=2,
            replication=1,
        )


class Allowed(NamedTuple):
    """One operation on one topic or group that one principal is allowed."""

    principal: str
    operation: str
    resource: str  # topic or group
    name: str
    prefixed: bool

    @property
    def of(self) -> str:
        """Which role or kind of client it is for."""
        return self.principal.removeprefix("User:clusterflow-")


def printed(topics: Topics, controllers: Iterable[str]) -> list[Allowed]:
    """What the printed script allows."""
    found = []
    text = re.sub(r"(?s)grant\(\) \{.*?\n\}\n", "", script(topics, controllers=[*controllers]))
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        assert "grant" == words[0]
        pairs = list(zip(words[2::2], words[3::2], strict=True))
        prefixed = ("--resource-pattern-type", "prefixed") in pairs
        found += [
            Allowed(words[1], operation, option.removeprefix("--"), name, prefixed)
            for option, name in pairs
            if option in _RESOURCES
            for to, operation in pairs
            if to == "--operation"
        ]
    return found


class _CreateAcls(CreateAclsRequest):
    """Many at once."""

    def __init__(self, creations: list[tuple[Any, ...]]) -> None:
        self._creations = creations

    def build(self, request_struct_class: Any) -> Any:
        return request_struct_class(self._creations)


async def allow(
    kafka: KafkaSettings,
    *,
    controllers: Iterable[str] = (),
    but: Callable[[Allowed], bool] = lambda allowed: False,
) -> None:
    """Grant everything that is printed for these topics, but what is left out."""
    creations = [
        (
            _RESOURCES[f"--{allowed.resource}"],
            allowed.name,
            _PREFIXED if allowed.prefixed else _LITERAL,
            allowed.principal,
            "*",
            _OPERATIONS[allowed.operation],
            _ALLOW,
        )
        for allowed in printed(kafka.topics, controllers)
        if not but(allowed)
    ]
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    try:
        answer = await admin._send_request(_CreateAcls(creations))
        assert {0} == {code for code, *_ in answer.creation_responses}

        async def in_force() -> bool:
            kind, name, pattern, principal, host, operation, permission = creations[-1]
            asked = DescribeAclsRequest(kind, name, pattern, principal, host, operation, permission)
            return bool((await admin._send_request(asked)).resources)

        await until(in_force, what="the last grant, before which all others are")
    finally:
        await admin.close()
