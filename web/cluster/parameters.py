"""What callers may send to routes of clusters beside the body."""

from typing import Final

from streams.messages import UUID_PATTERN
from web.cluster.reads import DEFAULT_LIMIT, MAX_LIMIT
from web.described.operations import TEXT, Parameter

ID: Final = Parameter(
    name="id",
    where="path",
    about="The cluster's id, any case",
    schema={"type": "string", "format": "uuid", "pattern": UUID_PATTERN},
)
LIMIT: Final = Parameter(
    name="limit",
    where="query",
    about=(
        f"Clusters a page. More than {MAX_LIMIT} is {MAX_LIMIT}; what is no such number, {DEFAULT_LIMIT}. A"
        " page is bounded in bytes as well: `limit` in the answer is what was applied, and the next page"
        " begins at `offset` + `limit` of the answer"
    ),
    schema={"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
)
OFFSET: Final = Parameter(
    name="offset",
    where="query",
    about="Clusters to pass over. What is no such number is 0; beyond the end the page is empty",
    schema={"type": "integer", "minimum": 0, "default": 0},
)
PLATFORM: Final = Parameter(
    name="platform",
    where="query",
    about="Only with this `spec.platform.type`, in any case; empty for any",
    schema=TEXT,
)
PHASE: Final = Parameter(
    name="status",
    where="query",
    about="Only with this `status.phase`, in any case; empty for any",
    schema=TEXT,
)
CREATED_BY: Final = Parameter(
    name="created_by",
    where="query",
    about="Only of this owner; for privileged callers, others see their own anyway. Empty for any",
    schema=TEXT,
)
WATCH: Final = Parameter(
    name="watch",
    where="query",
    about=(
        "`true` (in any case) answers server-sent events instead: `ADDED` for what is there, then `ADDED`,"
        " `MODIFIED` and `DELETED` as it changes, each with a cluster as data; `BOOKMARK` now and then for"
        " its id alone; `ERROR` before a reader that is too slow is let go. Paging does not apply"
    ),
    schema={"type": "boolean", "default": False},
)
FORCE: Final = Parameter(
    name="force",
    where="query",
    about="`true` (in any case) deletes in whatever phase; all else is false",
    schema={"type": "boolean", "default": False},
)
IF_MATCH: Final = Parameter(
    name="If-Match",
    where="header",
    about="The quoted `resource_version` that the write builds on, or `*` for any; else 409",
    schema={"type": "string", "pattern": r'^("[^"]*"|\*)$'},
)
