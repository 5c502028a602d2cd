"""Parks what nobody can handle: original key, bytes and headers to `<topic>.dlq`, with reason and origin.

A record may be parked for one fault and hold a secret in clear, which is another. So what stands for a secret
is masked, also where the record cannot be decoded at all: dead letters are kept for a month.
"""

import logging
import re
from collections.abc import Iterable
from typing import Any, Final, cast

import msgspec
from aiokafka import ConsumerRecord
from prometheus_client import Counter

from domain.cluster.secrets import JWE, MASK, SECRET_MEMBERS
from domain.errors import MalformedRecord
from streams.headers import DeadLetterHeaders
from streams.kafka.partitions import MAX_KEY_BYTES
from streams.topic import MAX_INPUT_BYTES, MAX_RECORD_BYTES
from streams.topics import Topics
from streams.writing.outputs import Headers, Output

log = logging.getLogger("clusterflow.dead_letters")

DEAD_LETTERS = Counter(
    "clusterflow_dead_letters_total", "Records parked in a dead-letter topic", ["topic", "reason"]
)

# What headers and framing add to a dead letter at most.
_ENVELOPE_BYTES: Final = 64 * 1024

# Of the headers that a record had: what is beyond is left out.
MAX_HEADERS: Final = 64
MAX_HEADER_BYTES: Final = 16 * 1024

_MASK: Final = MASK.encode()
_NAMES: Final = "|".join(SECRET_MEMBERS).encode()
# A secret's member in bytes that are no JSON: a string up to its closing quote, of any other value the rest.
_MEMBER = re.compile(
    rb"((?:" + _NAMES + rb')"?\s*[:=]\s*)(?:"((?:[^"\\]|\\.)*)"?|(.+))', re.DOTALL | re.IGNORECASE
)
# A private key wherever it stands: as PEM, and as base64 of it, which begins so.
_PRIVATE_KEY = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)"
    rb"|LS0tLS1CRUdJTi[A-Za-z0-9+/=_-]*",
    re.DOTALL,
)


def parked(record: ConsumerRecord, error: MalformedRecord) -> Output:
    """The dead letter of a bad record, counted and logged; what no topic would take is cut."""
    DEAD_LETTERS.labels(record.topic, error.reason).inc()
    origin = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
    # What exactly is wrong may quote the record, so that is told in the dead letter alone.
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
    # The partition follows from the key, unless hashing that would take long; the first one is always there.
    partition = 0 if len(key or b"") > MAX_KEY_BYTES else None
    return Output(topic, key, value, cast("dict[str, str]", told), partition, original_headers=kept)


def _kept(headers: Iterable[tuple[str, bytes | None]], told: DeadLetterHeaders) -> Headers:
    """The headers that a record had, within bounds, and without those that only we may write."""
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
    """Mask the secrets within a JSON value; returns whether there was one."""
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


# Numbers as they were: the bytes are to be the original ones but for what is masked.
_any_decoder: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(
    float_hook=lambda text: msgspec.Raw(text.encode())
)
