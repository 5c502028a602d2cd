"""Decodes untrusted JSON into messages, with errors in our own words and every digit of its numbers kept.

A decimal of a free-form member is kept as its literal (`msgspec.Raw`). As a double it would lose digits, and
`1e400` would be no number at all. Encoding such a value writes the literal again.
"""

import json
import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw

from domain.errors import Rejected, invalid
from domain.json import MAX_DEPTH, check_json

T = TypeVar("T")

# Every store accepts numbers within these bounds: PostgreSQL's numeric takes 131,072 digits before the point
# and 16,383 after it, and writes an exponent as zeros.
MAX_NUMBER_CHARACTERS: Final = 1000
MAX_EXPONENT: Final = 1000

_EXPONENT = re.compile(r"[eE]([+-]?[0-9]+)")
_FAULT_AT = re.compile(r"(?P<text>.*?)(?: - at `\$\.?(?P<path>.*)`)?", re.DOTALL)
_SURROGATE = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u([dD][89a-fA-F])|\\.")

_TOO_LONG: Final = (
    f"must have at most {MAX_NUMBER_CHARACTERS} characters and an exponent within {MAX_EXPONENT}"
)
_NAMES: Final = {
    "array": "an array",
    "bool": "true or false",
    "float": "a number",
    "int": "an integer",
    "null": "null",
    "object": "an object",
    "str": "a string",
}


def decoder_of(kind: type[T]) -> msgspec.json.Decoder[T]:
    """A decoder that keeps the decimals of free-form members unchanged."""
    return msgspec.json.Decoder(kind, float_hook=_literal)


def _literal(text: str) -> Raw:
    exponent = _EXPONENT.search(text)
    if len(text) > MAX_NUMBER_CHARACTERS or (exponent and abs(int(exponent[1])) > MAX_EXPONENT):
        raise ValueError(_TOO_LONG)
    return Raw(text.encode())


def decode_body(data: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """Decode untrusted JSON into a message.

    Raises: Rejected: `VALIDATION_FAILED`, naming the member at fault in `details.field`.
    """
    try:
        message = decoder.decode(data)
        if b"\\u0000" in data or data.count(b"{") + data.count(b"[") > MAX_DEPTH:
            check_json(_anything.decode(data), field="body")
        return message
    except RecursionError:
        raise _nested() from None
    except msgspec.ValidationError as error:
        raise _named(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise not_json(data) from None
    except ValueError:  # Python limits the digits of a number
        raise invalid("a number in the body has too many digits", field="body") from None


def is_json(data: bytes) -> bool:
    """Whether bytes are JSON."""
    try:
        _anything.decode(data)
    except msgspec.ValidationError:  # a number beyond its bounds is still JSON
        return True
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    return True


def not_json(data: bytes) -> Rejected:
    """The error for bytes that are no JSON, with the place of the fault."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        return invalid(f"the body is not UTF-8 at byte {error.start}", field="body")
    if not text.strip():
        return invalid("the body is empty, and must be a JSON object", field="body")
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        if error.pos >= len(text.rstrip()):
            return invalid("the body ends before its JSON does", field="body")
        return invalid(f"the body is not JSON at byte {len(text[: error.pos].encode())}", field="body")
    except RecursionError:
        return _nested()
    except ValueError:
        return invalid("a number in the body has too many digits", field="body")
    for match in _SURROGATE.finditer(text):
        if match[1]:
            at = len(text[: match.start()].encode())
            return invalid(f"the body has half a surrogate pair at byte {at}", field="body")
    return invalid("the body is not JSON", field="body")


def _nested() -> Rejected:
    return invalid(f"body is nested deeper than {MAX_DEPTH} levels", field="body")


def _named(fault: str) -> Rejected:
    """The error for a fault that msgspec has found, in our words."""
    match = _FAULT_AT.fullmatch(fault)
    text, path = (match["text"], match["path"] or "") if match else (fault, "")
    if missing := _MISSING.search(text):
        path = f"{path}.{missing[1]}".lstrip(".")
    return invalid(f"{path or 'the body'} {_words(text)}", field=path or "body")


def _words(text: str) -> str:
    for pattern, words in _WORDS:
        if match := pattern.fullmatch(text):
            return words(*match.groups())
    return "is not one of the values it may have"


def _other_kind(wanted: str, found: str) -> str:
    if found == "null":
        return "is required"
    return f"must be {_kinds(wanted)}, not {_NAMES.get(found, found)}"


def _kinds(wanted: str) -> str:
    return " or ".join(_NAMES.get(kind, kind) for kind in wanted.split(" | ") if kind != "null")


_MISSING = re.compile(r"missing required field `(\w+)`")
_WORDS: Final[tuple[tuple[re.Pattern[str], Callable[..., str]], ...]] = (
    (re.compile(r"Object missing required field `\w+`"), lambda: "is required"),
    (re.compile(r"Expected `([^`]+)`, got `([^`]+)`"), _other_kind),
    (re.compile(r"Expected `str` of length <= (\d+)"), lambda most: f"must be {most} characters or less"),
    (re.compile(r"Expected `str` of length >= 1"), lambda: "must not be empty"),
    (re.compile(r"Expected `array` of length <= (\d+)"), lambda most: f"must have {most} items or less"),
    (re.compile(r"Expected `int` >= (-?\d+)"), lambda least: f"must be {least} or more"),
    (re.compile(r"Expected `int` <= (-?\d+)"), lambda most: f"must be {most} or less"),
    (re.compile(re.escape(_TOO_LONG)), lambda: _TOO_LONG),
)
_anything: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(float_hook=_literal)
