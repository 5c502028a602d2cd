"""The shape of a kind's answers: documents as they are, or each in an object beside a message.

Kinds of the resources contract answer with documents and arrays of them, and the codes of their errors are
slugs. Kinds of the operations contract wrap them, as their clients have always read them:
`{"droplet": {…}, "message": "Droplet created"}`, `{"droplets": […]}`.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from web.described.operations import Answer

Pieces = tuple[bytes, ...]


class Message(Struct, kw_only=True):
    """A sentence about what was done."""

    message: str


class Shape(Protocol):
    """How answers are made of documents, and what describes them."""

    @property
    def slugs(self) -> bool:
        """Whether the codes of errors are slugs."""

    def one(self, document: bytes, done: str) -> Pieces:
        """The answer that shows one entity, after what was done."""

    def many(self, documents: Sequence[bytes]) -> Pieces:
        """The answer that shows a page."""

    def gone(self) -> bytes | None:
        """The body that follows a delete; None if there is none."""

    def one_type(self, document: type) -> type:
        """The type of what `one` makes."""

    def page(self, document: type, about: str) -> Answer:
        """A description of what `many` makes."""

    def deleted(self) -> Answer:
        """A description of what follows a delete."""


class Bare:
    """Documents as they are."""

    slugs = True

    def one(self, document: bytes, done: str) -> Pieces:  # noqa: D102
        return (document,)

    def many(self, documents: Sequence[bytes]) -> Pieces:  # noqa: D102
        return (b"[", *_listed(documents), b"]")

    def gone(self) -> None:  # noqa: D102
        return None

    def one_type(self, document: type) -> type:  # noqa: D102
        return document

    def page(self, document: type, about: str) -> Answer:  # noqa: D102
        headers = ("X-Next-Cursor",)
        return Answer(status=200, about=about, body=document, many=True, headers=headers, stream=True)

    def deleted(self) -> Answer:  # noqa: D102
        return Answer(status=204, about="Deleted", media="")


class Wrapped:
    """Documents in objects, which also hold a message.

    Args:
        kind: The name of the kind, under which they are there.
        title: What the types of answers are called after; the kind unless said otherwise.
    """

    slugs = False

    def __init__(self, kind: str, *, title: str = "") -> None:
        self._kind = kind
        self._title = title or kind.capitalize()
        self._types: dict[type, type] = {}

    def one(self, document: bytes, done: str) -> Pieces:  # noqa: D102
        return (b'{"%b":' % self._kind.encode(), document, b',"message":"%b"}' % self._says(done).encode())

    def many(self, documents: Sequence[bytes]) -> Pieces:  # noqa: D102
        return (b'{"%bs":[' % self._kind.encode(), *_listed(documents), b"]}")

    def gone(self) -> bytes:  # noqa: D102
        return msgspec.json.encode(Message(message=self._says("deleted")))

    def one_type(self, document: type) -> type:  # noqa: D102
        if document not in self._types:
            about = f"A {self._kind}, and a sentence about what was done."
            self._types[document] = self._made("Answer", [(self._kind, document), ("message", str)], about)
        return self._types[document]

    def page(self, document: type, about: str) -> Answer:  # noqa: D102
        members = [(f"{self._kind}s", list[document])]  # type: ignore[valid-type]  # made at run time
        body = self._made("Page", members, f"A page of {self._kind}s.")
        return Answer(status=200, about=about, body=body, headers=("X-Next-Cursor",), stream=True)

    def deleted(self) -> Answer:  # noqa: D102
        return Answer(status=200, about="Deleted", body=Message)

    def _says(self, done: str) -> str:
        return f"{self._kind.capitalize()} {done}"

    def _made(self, name: str, members: Sequence[tuple[str, Any]], about: str) -> type[Struct]:
        return msgspec.defstruct(f"{self._title}{name}", members, kw_only=True, namespace={"__doc__": about})


def _listed(documents: Sequence[bytes]) -> Sequence[bytes]:
    """Documents with commas between them."""
    return [part for document in documents for part in (b",", document)][1:]
