"""Parks records that cannot be handled: key, bytes and headers go to `<topic>.dlq`, with reason and origin.

A record that is parked for one fault may also contain a secret in clear. So secrets are masked, even in
records that cannot be decoded at all, because dead letters are kept for a month.
"""

import logging
import re
from collections.abc import Iterable
from typing import Any, Final, cast

import msgspec
from aiokafka import ConsumerRecord
from prometheus_client import Counter

from domain.errors import MalformedRecord
from domain.secrets import JWE, MASK, SECRET_MEMBERS
from streams.headers import DeadLetterHeaders
from streams.kafka.partitions import MAX_KEY_BYTES
from streams.topic import MAX_INPUT_BYTES, MAX_RECORD_BYTES
from streams.topics import Topics
from streams.writing.outputs import Headers, Output

log = logging.getLogger("clusterflow.dead_letters")

DEAD_LETTERS = Counter(
    "clusterflow_dead_letters_total", "Records parked in a dead-letter topic", ["topic", "reason"]
)

# The most that headers and framing add to a dead letter.
_ENVELOPE_BYTES: Final = 64 * 1024

# Bounds of a record's own headers in its dead letter; the rest is omitted.
MAX_HEADERS: Final = 64
MAX_HEADER_BYTES: Final = 16 * 1024

_MASK: Final = MASK.encode()
_NAMES: Final = "|".join(SECRET_MEMBERS).encode()
# A secret's member in bytes that are no JSON: a string up to its closing quote, or everything that follows.
_MEMBER = re.compile(
    rb"((?:" + _NAMES + rb')"?\s*[:=]\s*)(?:"((?:[^"\\]|\\.)*)"?|(.+))', re.DOTALL | re.IGNORECASE
)
# A private key anywhere: as PEM, or as base64 of PEM, which begins with these characters.
_PRIVATE_KEY = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)"
    rb"|LS0tLS1CRUdJTi[A-Za-z0-9+/=_-]*",
    re.DOTALL,
)


def parked(record: ConsumerRecord, error: MalformedRecord) -> Output:
    """Count and log a bad record, and return its dead letter; parts too large for a topic are cut."""
    DEAD_LETTERS.labels(record.topic, error.reason).inc()
    origin = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
    # The error's text may quote the record, so it is written to the dead letter and not logged.
    log.warning("dead letter", extra={**origin, "reason": error.reason})
    told: DeadLetterHeaders = {
        "dlq_reason": error.reason,
        "dlq_error": masked(str(error).encode(errors="replace")).decode(errors="replace")[:1000],
        "dlq_topic": record.topic,
        "dlq_partition": str(record.partition),
        "dlq_offset": str(record.offset),
    }
    kept = _kept(record.headers or (), told)
    if len(kept) < len(record.headers or ()):
        told["dlq_headers_cut_from"] = f"{len(record.headers)} headers"
    key, value = record.key, record.value
    if len(key or b"") + len(value or b"") > MAX_RECORD_BYTES - _ENVELOPE_BYTES:
        told["dlq_cut_from"] = f"key of {len(key or b'')} bytes, value of {len(value or b'')} bytes"
        key, value = (key or b"")[:MAX_INPUT_BYTES], (value or b"")[:MAX_INPUT_BYTES]
    value = None if value is None else masked(value)
    topic = Topics.dead_letters(record.topic)
    # The partition follows from the key, unless that takes long to hash; partition 0 always exists.
    partition = 0 if len(key or b"") > MAX_KEY_BYTES else None
    return Output(topic, key, value, cast("dict[str, str]", told), partition, leading_headers=kept)


def _kept(headers: Iterable[tuple[str, bytes | None]], told: DeadLetterHeaders) -> Headers:
    """The headers of the record, within bounds, and without those that only we may write."""
    kept: Headers = []
    left = MAX_HEADER_BYTES
    for name, value in headers:
        left -= len(name) + len(value or b"")
        if name not in DeadLetterHeaders.__annotations__ and len(kept) < MAX_HEADERS and left >= 0:
            kept.append((name, None if value is None else masked(value)))
    return kept


def masked(data: bytes) -> bytes:
    """Return the bytes with every secret in clear masked; JSON is encoded again only if it holds one."""
    try:
        content = _any_decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        data = _MEMBER.sub(_masked_match, data)
    else:
        if _mask_within(content):
            data = msgspec.json.encode(content)
    return _PRIVATE_KEY.sub(_MASK, data)


def _masked_match(match: "re.Match[bytes]") -> bytes:
    if match[2] is not None and JWE.fullmatch(match[2].decode(errors="replace")):
        return match[0]
    return match[1] + b'"' + _MASK + b'"'


def _mask_within(content: Any) -> bool:
    """Mask the secrets in a JSON value; return whether there was one."""
    found = False
    pending = [content]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending += item
        elif isinstance(item, dict):
            for name, member in item.items():
                if name in SECRET_MEMBERS and not _is_harmless(member):
                    item[name], found = MASK, True
                else:
                    pending.append(member)
    return found


def _is_harmless(secret: Any) -> bool:
    return secret is None or secret == "" or (isinstance(secret, str) and JWE.fullmatch(secret) is not None)


# Numbers keep their text, so that only masked parts of the bytes differ from the original.
_any_decoder: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(
    float_hook=lambda text: msgspec.Raw(text.encode())
)
