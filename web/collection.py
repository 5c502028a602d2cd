"""The routes of one kind, which describe themselves.

A kind says what its bodies are and which commands they become; the rest is the same for all
(`web/entities.py`).
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from aiohttp import web
from msgspec import structs

from web.command_bodies import bodies, expected_version
from web.described import kind_parameters
from web.described.operations import TEXT, Answer, Operation, Parameter, Route
from web.entities import Entities
from web.keys import SETTINGS

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Codes = tuple[str, ...]

_ONE: Final = "/{id:[^/]+}"
STORED: Final = "Stored while Kafka is away, and decided once it is back (`WRITE_FALLBACK=outbox`)"


class Collection(Entities):
    """A kind at the REST edge, with the routes that lead to it.

    In their methods `refusals` are codes that only the rules of this kind raise, and `about` is a sentence
    for the description.
    """

    def list(self) -> Route:
        """GET of the list: a page, newest first, or the change feed."""
        plural = f"{self.kind}s"
        pages = (kind_parameters.LIMIT, kind_parameters.CURSOR)
        operation = self.operation(
            parameters=(*pages, *self.filter_parameters, *self.watching),
            answers=(
                self.shape.page(self.document, f"A page of {plural}, newest first, or the change feed"),
            ),
            refusals=("INVALID_PARAMETER", "WATCH_EXPIRED", "TOO_MANY_WATCHES"),
        )
        about = f"One page of {plural}, newest first; or all of them and how they change."
        return self.route("GET", "", self.get_page, operation, name=f"list_{plural}", about=about)

    def get(self) -> Route:
        """GET of one entity, or its change feed."""
        answer = Answer(
            status=200,
            about=f"The {self.kind}, or its change feed",
            body=self.shown,
            headers=("ETag",),
            stream=self.watchable,
        )
        operation = self.operation(
            parameters=(self.id_parameter, *self.watching),
            answers=(answer,),
            refusals=("WATCH_EXPIRED", "TOO_MANY_WATCHES"),
        )
        about = f"One {self.kind}, or how it changes."
        return self.route("GET", _ONE, self.get_one, operation, name=f"get_{self.kind}", about=about)

    def post(
        self, command: type[Any], *, example: Mapping[str, Any], refusals: Codes = (), about: str = ""
    ) -> Route:
        """POST to the list by this command, whose own members are the body."""
        body = self.body_of(command)
        read = bodies(body)

        async def create(request: web.Request) -> web.Response:
            members, who = structs.asdict(await read(request)), self.new(request)
            made = command(id=who.entity_id, command_id=who.command_id, **members)
            self.check(made, request.app[SETTINGS].policy)
            return await self.created(request, made, keyed=who.keyed)

        answer = Answer(
            status=201,
            about="Created",
            body=self.shown,
            headers=("ETag", "Location", "Idempotent-Replayed"),
        )
        operation = self.operation(
            parameters=(kind_parameters.KEY,),
            body=body,
            example=example,
            answers=(answer, Answer(status=202, about=STORED, body=self.shown, headers=("Location",))),
            refusals=("IDEMPOTENCY_CONFLICT", *refusals),
        )
        about = about or f"Create a {self.kind}; answered once it exists."
        return self.route("POST", "", create, operation, name=f"create_{self.kind}", about=about)

    def put(
        self, command: type[Any], *, example: Mapping[str, Any], refusals: Codes = (), about: str = ""
    ) -> Route:
        """PUT of one entity by this command, whose own members are the body."""
        body = self.body_of(command)
        read = bodies(body)

        async def update(request: web.Request) -> web.Response:
            who, members = self.known(request), structs.asdict(await read(request))
            ids = {"id": who.entity_id, "command_id": who.command_id}
            made = command(**ids, expected_version=expected_version(request), **members)
            self.check(made, request.app[SETTINGS].policy)
            return await self.written(request, made)

        operation = self.operation(
            parameters=(self.id_parameter, kind_parameters.IF_MATCH),
            body=body,
            example=example,
            answers=(
                Answer(status=200, about="Updated", body=self.shown, headers=("ETag",)),
                Answer(status=202, about=STORED, body=self.shown),
            ),
            refusals=("VERSION_MISMATCH", *refusals),
        )
        about = about or f"Replace a {self.kind}; with `If-Match` only if nobody else has since it was read."
        return self.route("PUT", _ONE, update, operation, name=f"update_{self.kind}", about=about)

    def delete(self, command: Callable[..., Any], *, refusals: Codes = (), about: str = "") -> Route:
        """DELETE of one entity by this command."""

        async def delete(request: web.Request) -> web.Response:
            who, expected = self.known(request), expected_version(request)
            made = command(id=who.entity_id, command_id=who.command_id, expected_version=expected)
            return await self.gone(request, made)

        operation = self.operation(
            parameters=(self.id_parameter, kind_parameters.IF_MATCH),
            answers=(
                deleted := self.shape.deleted(),
                replace(deleted, status=202, about=STORED),
            ),
            refusals=("VERSION_MISMATCH", *refusals),
        )
        about = about or f"Delete a {self.kind}; takes effect at once."
        return self.route("DELETE", _ONE, delete, operation, name=f"delete_{self.kind}", about=about)

    @property
    def watching(self) -> Sequence[Parameter]:
        """What asks for the change feed, if there is one."""
        return kind_parameters.WATCHING if self.watchable else ()

    @property
    def filter_parameters(self) -> Sequence[Parameter]:
        """What lists can be filtered by."""
        return [
            Parameter(
                name=each.name,
                where="query",
                about=f"Only {self.kind}s of this {each.name}",
                schema=TEXT,
                component=f"{self.kind}-{each.name}",
            )
            for each in self.filters
        ]

    def operation(self, **members: Any) -> Operation:
        """What a route of this kind takes and answers."""
        return Operation(tag=self.tag, public=True, slugs=self.shape.slugs, **members)

    @property
    def shown(self) -> type:
        """The type of an answer that shows one entity."""
        return self.shape.one_type(self.document)

    def route(
        self, method: str, below: str, handler: Handler, operation: Operation, *, name: str, about: str
    ) -> Route:
        """A route of this kind.

        Args:
            below: What follows the path of the list.
            name, about: What describes it.
        """
        return Route(
            method,
            self.path + below,
            handler,
            operation,
            kind=self.kind,
            strict=True,
            name=name,
            about=about,
        )
