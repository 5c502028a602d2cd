"""The words in which routes say what a caller may send and gets back; `web/routes.py` lists them all."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from aiohttp import web

from serving.ids import REQUEST_ID_PATTERN
from web.requests import MAX_KEY

Schema = dict[str, Any]

JSON: Final = "application/json"
EVENT_STREAM: Final = "text/event-stream"
HTML: Final = "text/html"
ANY: Final = "*/*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """Something a caller may send beside the body.

    Attributes:
        where: `path`, `query` or `header`.
        component: Its name in the document, where another one has the same `name`.
    """

    name: str
    where: str
    about: str
    schema: Schema
    component: str = ""

    @property
    def key(self) -> str:
        """Its name in the document."""
        return self.component or self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer that is no error.

    Attributes:
        body: The type it is encoded from; None for text of this media type.
        headers: Names out of HEADERS, beside those on every answer.
        media: Empty where there is no body at all.
        stream: Whether the same status may also bring the change feed.
        many: Whether it is an array of such bodies.
    """

    status: int
    about: str
    body: type | None = None
    media: str = JSON
    headers: tuple[str, ...] = ()
    stream: bool = False
    many: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What a route takes and answers.

    Attributes:
        body: The type its body is decoded with; `example` is one.
        refusals: The codes of its errors; those that every route has are added.
        public: Whether it asks for no identity.
        slugs: Whether the codes of its errors are slugs.
    """

    tag: str
    parameters: tuple[Parameter, ...] = ()
    body: type | None = None
    example: Mapping[str, Any] = field(default_factory=dict)
    answers: tuple[Answer, ...]
    refusals: tuple[str, ...] = ()
    public: bool = False
    slugs: bool = False


class Route(NamedTuple):
    """One operation.

    Attributes:
        path: As aiohttp takes it, without a trailing slash.
        kind: The kind of the entities it is about, as log lines name it beside `entity_id`. None for
            clusters, whose lines have a `cluster_id` instead, and where it is about no entity.
        strict: Whether the path with a trailing slash is another one, that there is not.
        name, about: What describes it, where a handler has no name and docstring that do.
    """

    method: str
    path: str
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    operation: Operation
    kind: str | None = None
    strict: bool = False
    name: str = ""
    about: str = ""

    @property
    def operation_id(self) -> str:
        """The id of the operation in descriptions."""
        return self.name or self.handler.__name__

    @property
    def description(self) -> str:
        """What it does, with a summary as the first paragraph."""
        return self.about or inspect.cleandoc(self.handler.__doc__ or "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A header of an answer; one that is not always there is not required."""

    about: str
    schema: Schema
    required: bool = True


TEXT: Final[Schema] = {"type": "string"}

HEADERS: Final[Mapping[str, Header]] = {
    "X-Request-ID": Header(about="The request's id, in our log too", schema=TEXT),
    "X-Response-Time": Header(
        about="Until the headers were sent, in milliseconds",
        schema={"type": "string", "pattern": r"^\d+(\.\d+)?ms$"},
    ),
    "X-Trace-ID": Header(
        about="The trace of a write to a simple kind; what follows from it has the same",
        schema={"type": "string", "format": "uuid"},
        required=False,
    ),
    "ETag": Header(
        about="The quoted `resource_version`, for `If-Match`", schema={"type": "string", "pattern": '^".*"$'}
    ),
    "Location": Header(about="Where the new cluster is", schema=TEXT),
    "Idempotent-Replayed": Header(
        about="`true` when this repeats the first answer under an `Idempotency-Key`",
        schema={"const": "true"},
        required=False,
    ),
    "X-Next-Cursor": Header(
        about="`cursor` of the next page; absent on the last one", schema=TEXT, required=False
    ),
    "Allow": Header(about="The methods that there are", schema=TEXT),
    "Retry-After": Header(about="Seconds to wait", schema={"type": "integer", "minimum": 1}),
    "X-RateLimit-Limit": Header(about="Requests that may come at once", schema={"type": "integer"}),
    "X-RateLimit-Remaining": Header(about="Those of them that may still come", schema={"type": "integer"}),
    "X-RateLimit-Reset": Header(
        about="When as many as ever may come again, in Unix seconds; absent where that is never",
        schema={"type": "integer"},
        required=False,
    ),
}

RATE_LIMIT: Final = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
"""What the answers of a limited route tell of its limit."""

EVERY_ANSWER: Final = ("X-Request-ID", "X-Response-Time", "X-Trace-ID")
OF_STATUS: Final[Mapping[int, tuple[str, ...]]] = {
    405: ("Allow",),
    429: ("Retry-After",),
    503: ("Retry-After",),
}

REQUEST_ID: Final = Parameter(
    name="X-Request-ID",
    where="header",
    about="An id for this request; one of another form is replaced",
    schema={"type": "string", "pattern": f"^{REQUEST_ID_PATTERN}$"},
)
LAST_EVENT_ID: Final = Parameter(
    name="Last-Event-ID",
    where="header",
    about="With `watch`: go on behind this event. 410 when that is too long ago; then begin anew without it",
    schema=TEXT,
)
LAST_EVENT_ID_QUERY: Final = replace(LAST_EVENT_ID, name="last_event_id", where="query")
IDEMPOTENCY_KEY: Final = Parameter(
    name="Idempotency-Key",
    where="header",
    about="A repeat by the same caller of the same operation within a day gets the first outcome",
    schema={"type": "string", "minLength": 1, "maxLength": MAX_KEY},
)
FILE: Final = Parameter(name="file", where="path", about="One of the files of these pages", schema=TEXT)
