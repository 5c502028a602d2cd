"""Bodies in pieces, so that documents of the view are sent without copying them into one body."""

from collections.abc import Sequence

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload
from msgspec import Struct

from web.http.errors import JSON_TYPE


class ReadAnswer(Struct, frozen=True, gc=False):
    """The answer of a read: JSON in pieces, many of which are the view's own.

    Short pieces are joined with their head when they are written. Long ones are not joined even then, because
    a page is so long that each copy costs time.

    Attributes:
        version: The ETag of the entity it shows, if it shows one.
        secret: Whether it contains secrets, which no cache may store.
    """

    pieces: tuple[bytes, ...]
    version: str | None = None
    secret: bool = False


class Pieces(Payload):
    """JSON in pieces, for answers that aiohttp writes."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        super().__init__(pieces, content_type=JSON_TYPE)
        self.pieces = pieces
        self._size = sum(map(len, pieces))

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The text."""
        return b"".join(self.pieces).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write the pieces one by one, as the client reads."""
        for piece in self.pieces:
            await writer.write(piece)


def body_of(response: web.StreamResponse) -> bytes | Pieces | None:
    """The body of a response; None if it has no complete one."""
    body = response.body if isinstance(response, web.Response) else None
    return body if isinstance(body, bytes | Pieces) else None


def pieces_of(body: bytes | Pieces) -> Sequence[bytes]:
    """The pieces of a body."""
    return body.pieces if isinstance(body, Pieces) else (body,)
