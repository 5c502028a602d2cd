"""What a setting may hold: how its text is read, and what is said when it cannot be."""

import re
from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from ipaddress import ip_network
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from domain.autoscale import zone_of
from domain.cluster.spec import CHANNEL_GROUPS
from streams.flows import PUBLIC, WORK
from streams.messages import SOURCE_PATTERN
from streams.secrets import BadKeys, Keyring

_PART: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})(ns|us|µs|μs|ms|s|m|h)")
_LINK: Final = re.compile(r"tcp://[^\s/]+:([0-9]{1,5})")
_SECONDS: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}


def duration(value: Any) -> Any:
    """Text such as `1m30s` as a timedelta; anything else as it is. Raises: ValueError."""
    if not isinstance(value, str):
        return value
    parts = _PART.findall(value)
    if not parts or "".join(n + unit for n, unit in parts) != value:
        raise ValueError("expected a duration such as 500ms, 30s or 1m30s")
    length = timedelta(seconds=sum(float(n) * _SECONDS[unit] for n, unit in parts))
    if length <= timedelta(0):
        raise ValueError("expected a duration above zero")
    return length


def _no_link(value: Any) -> Any:
    """The port in a URL as Kubernetes sets it for a service that is called as ours; else the value."""
    link = _LINK.fullmatch(value) if isinstance(value, str) else None
    return value if link is None else link[1]


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
    listed = tuple(part.strip() for part in value.split(",") if part.strip())
    if not listed:
        raise ValueError("expected at least one value, or more between commas")
    return listed


def _matching(pattern: str, expected: str) -> Callable[[Any], Any]:
    """A check of text, of each in a list, or of a secret; empty text means that nothing is set."""

    def check(value: Any) -> Any:
        texts = value if isinstance(value, tuple) else (value,)
        for text in texts:
            plain = text.get_secret_value() if isinstance(text, SecretStr) else text
            if plain and not re.fullmatch(pattern, plain):
                raise ValueError(f"expected {expected}")
        return value

    return check


def _network(text: str) -> str:
    """A network in its usual form. Raises: ValueError."""
    try:
        return str(ip_network(text))
    except ValueError:
        raise ValueError("expected a network such as 10.128.0.0/16") from None


def _one_of(*known: str) -> Callable[[Any], Any]:
    return _matching("|".join(map(re.escape, known)), f"one or more of {', '.join(known)}")


def _servers(value: str) -> str:
    listed = [part.strip() for part in value.split(",") if part.strip()]
    for server in listed:
        match = re.fullmatch(r"(?:\[[0-9a-fA-F:.]+\]|[^\s:/@\[\]]+):([0-9]{1,5})", server)
        if match is None or not 1 <= int(match[1]) <= 65535:
            raise ValueError("expected host:port, or more of them between commas")
    return ",".join(listed)


def _keys(value: SecretStr) -> SecretStr:
    try:
        Keyring.parse(value.get_secret_value())
    except BadKeys:  # its text names an id, which may be a key that was given without one
        expected = "id:key pairs, each id once, a key being 32 bytes in base64 (openssl rand -base64 32)"
        raise ValueError(f"expected {expected}") from None
    return value


Duration = Annotated[timedelta, BeforeValidator(duration)]
Boolean = Annotated[bool, BeforeValidator(_boolean)]
Listed = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]
Port = Annotated[int, Field(ge=1, le=65535)]
ServicePort = Annotated[Port, BeforeValidator(_no_link)]
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Servers = Annotated[str, AfterValidator(_servers)]
TopicText = Annotated[
    str, AfterValidator(_matching(r"[A-Za-z0-9._-]{1,200}", "letters, digits, '.', '_' or '-'"))
]
ServiceName = Annotated[
    str, AfterValidator(_matching(SOURCE_PATTERN, "1 to 64 letters, digits, '.', '_' or '-'"))
]
Origins = Annotated[
    Listed,
    AfterValidator(_matching(r"\*|[a-z][a-z0-9+.-]*://[^\s/,*]+", "* or origins such as https://host:port")),
]
HostNames = Annotated[
    Listed,
    AfterValidator(
        _matching(
            r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?|\[?[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\]?",
            "names or addresses such as api.example.com, without scheme, port and *",
        )
    ),
]


def _time_zone(name: str) -> str:
    try:
        zone_of(name)
    except (KeyError, ValueError, OSError):
        raise ValueError("expected the name of a time zone such as Europe/Berlin") from None
    return name


ChangeTypes = Annotated[Listed, AfterValidator(_one_of("spec", "status", "controller_status"))]
PublicTopics = Annotated[Listed, AfterValidator(_one_of(*PUBLIC))]
WorkKinds = Annotated[Listed, AfterValidator(_one_of(*WORK))]
Statuses = Annotated[
    Listed,
    AfterValidator(
        _matching(r"(?!deleted$)[a-z][a-z0-9_-]{0,49}", "up to 50 of a-z, 0-9, '_' and '-', not deleted")
    ),
]
Network = Annotated[str, AfterValidator(_network)]
EventTypes = Annotated[
    Listed, AfterValidator(_matching(r"[A-Za-z0-9._-]{1,100}", "letters, digits, '.', '_' or '-'"))
]
ChannelGroup = Annotated[str, AfterValidator(_one_of(*CHANNEL_GROUPS))]
Domain = Annotated[str, AfterValidator(_matching(r"[^@\s.]+(\.[^@\s.]+)+", "a domain such as system.local"))]
DatabaseUrl = Annotated[
    SecretStr,
    AfterValidator(_matching(r"(?s)postgres(ql)?://.+", "postgresql://user:password@host:port/database")),
]
DatabaseHost = Annotated[
    str,
    AfterValidator(
        _matching(
            r"[A-Za-z0-9_.-]{1,253}|[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*|/[^\0]*",
            "a name, an address or the directory of a socket, without port",
        )
    ),
]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
RedisUrl = Annotated[
    SecretStr, AfterValidator(_matching(r"(?s)(rediss?|unix)://.+", "redis://user:password@host:port/number"))
]

SecretKeys = Annotated[SecretStr, AfterValidator(_keys)]


class Environment(StrEnum):
    """Where this runs."""

    DEVELOPMENT = "development"
    STAGING = "staging"
    PRODUCTION = "production"


class WriteFallback(StrEnum):
    """Where writes go that Kafka does not take."""

    NONE = "none"
    OUTBOX = "outbox"


class LimiterBackend(StrEnum):
    """Where the buckets of limits are."""

    TABLE = "table"
    REDIS = "redis"


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


class SecurityProtocol(StrEnum):
    """How Kafka is spoken to: in the clear or by TLS, without or with a name and a password."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"


class SslMode(StrEnum):
    """How a connection to PostgreSQL is encrypted, in libpq's words."""

    DISABLE = "disable"
    ALLOW = "allow"
    PREFER = "prefer"
    REQUIRE = "require"
    VERIFY_CA = "verify-ca"
    VERIFY_FULL = "verify-full"


class SaslMechanism(StrEnum):
    """How name and password are proven to Kafka."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"
