"""The trace that a request belongs to, as W3C Trace Context has it (https://www.w3.org/TR/trace-context/).

Each record that follows from a request has the headers of the request, unchanged. A request without a trace
gets one at the edge, so that its records can be found together.
"""

import re
import secrets
from collections.abc import Mapping
from typing import Final
from uuid import UUID

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"

MAX_STATE: Final = 512
"""Characters of a `tracestate` that is carried on, as section 3.3.1.5 asks for at least."""

# A later version may have more after the flags (section 4.3); version ff is invalid, and so are ids of zeros.
_PARENT: Final = re.compile(
    r"(?!ff|00.{53}-)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-[!-~]{1,64})?"
)
_STATE: Final = re.compile(rf"[ -~]{{1,{MAX_STATE}}}")


def trace_of(parent: str | None, state: str | None = None) -> dict[str, str]:
    """The headers of a trace: those that were given, or those of a new one if they are not valid."""
    if parent is None or _PARENT.fullmatch(parent) is None:
        return {TRACEPARENT: f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"}
    if state is None or _STATE.fullmatch(state) is None:
        return {TRACEPARENT: parent}
    return {TRACEPARENT: parent, TRACESTATE: state}


def trace_named(name: str) -> dict[str, str]:
    """The headers of a new trace under an id that has the form of a UUID; of any, if this is none."""
    try:
        digits = UUID(name).hex if len(name) == len(str(UUID(int=0))) else ""
    except ValueError:
        digits = ""
    return trace_of(f"00-{digits}-{secrets.token_hex(8)}-01")


def trace_id(headers: Mapping[str, str]) -> str:
    """The id of the trace in the headers of a record; empty if it has none."""
    found = _PARENT.fullmatch(headers.get(TRACEPARENT, ""))
    return "" if found is None else found[1]
