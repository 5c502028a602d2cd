"""What callers may send to the routes of simple kinds beside the body."""

from dataclasses import replace
from typing import Final

from web.described.operations import IDEMPOTENCY_KEY, LAST_EVENT_ID, LAST_EVENT_ID_QUERY, TEXT, Parameter

MAX_LIMIT: Final = 100
"""Entities on a page of a list."""

MAX_KEY: Final = 128
"""Characters of an `Idempotency-Key`."""

ID: Final = Parameter(name="id", where="path", about="", schema=TEXT)
LIMIT: Final = Parameter(
    name="limit",
    where="query",
    about="Most of them on a page, which is bounded in bytes as well",
    schema={"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": MAX_LIMIT},
    component="kind-limit",
)
CURSOR: Final = Parameter(
    name="cursor", where="query", about="`X-Next-Cursor` of the page before this one", schema=TEXT
)
IF_MATCH: Final = Parameter(
    name="If-Match",
    where="header",
    about="The `ETag` that the write builds on, or `*`; 412 when there is another one by now",
    schema={"type": "string", "pattern": r'^(\*|"[^"]*")$'},
    component="kind-if-match",
)
WATCHING: Final = (
    Parameter(
        name="watch",
        where="query",
        about="`true` for the change feed instead of an answer",
        schema={"type": "string", "enum": ["true"]},
        component="kind-watch",
    ),
    LAST_EVENT_ID,
    LAST_EVENT_ID_QUERY,
)
KEY: Final = replace(
    IDEMPOTENCY_KEY,
    schema={"type": "string", "minLength": 1, "maxLength": MAX_KEY},
    component="kind-idempotency-key",
)
