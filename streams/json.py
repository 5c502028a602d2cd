"""Values ⇄ JSON, and the format of times in records and documents.

Times are read with any offset and written in UTC with a final `Z`. `streams.decoding` reads untrusted JSON.
"""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

import msgspec

from domain.errors import invalid

encode = msgspec.json.Encoder().encode

_time_decoder = msgspec.json.Decoder(datetime)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_GO_DURATION = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,18})?)(ns|us|µs|ms|s|m|h)")  # bounded: no infinity
_NANOSECONDS: Final = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}


def utc(text: str, *, field: str) -> datetime:
    """Convert an RFC 3339 time with any offset to UTC.

    Raises: Rejected: it is no time, has no offset, or is outside the years 1 to 9999 in UTC.
    """
    try:
        time = _time_decoder.decode(msgspec.json.encode(text))
        if time.tzinfo is None:
            raise ValueError("no offset")
        return time.astimezone(UTC)
    except (msgspec.MsgspecError, ValueError, OverflowError):
        raise invalid(f"{field} must be an RFC 3339 time with an offset", field=field) from None


def rfc3339(time: datetime) -> str:
    """A UTC time as text with a final `Z`."""
    utc_time = time if time.tzinfo is UTC else time.astimezone(UTC)
    return f"{utc_time.isoformat()[:-6]}Z"  # without +00:00


@lru_cache(maxsize=256)  # a batch of records has one time, which is asked for several times for each of them
def from_millis(timestamp: int) -> datetime:
    """A Kafka timestamp (milliseconds since 1970) as UTC, exactly."""
    return _EPOCH + timedelta(milliseconds=timestamp)


def go_duration(duration: timedelta) -> str:
    """A duration in Go's syntax without zero parts: `30s`, `1m30s`, `500ms`; in whole microseconds."""
    left, text = duration // timedelta(microseconds=1), ""
    for unit in ("h", "m", "s", "ms", "us"):
        count, left = divmod(left, _NANOSECONDS[unit] // 1000)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def nanoseconds(text: str) -> int | None:
    """Nanoseconds of a duration in Go's syntax (`1m30s`); None if the text is no duration."""
    parts = _GO_DURATION.findall(text)
    if not parts or "".join(f"{number}{unit}" for number, unit in parts) != text:
        return None
    return round(sum(float(number) * _NANOSECONDS[unit] for number, unit in parts))
