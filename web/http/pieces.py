"""Bodies in pieces: what the view holds is sent as it is, never copied into one."""

from collections.abc import Sequence

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload
from msgspec import Struct

from web.http.errors import JSON_TYPE


class ReadAnswer(Struct, frozen=True, gc=False):
    """What a read answers: JSON in pieces, many of them the view's own.

    They are joined where they are written, behind their head, and long ones not even there: a page is long
    enough for each copy to cost.

    Attributes:
        version: Of the entity it shows, if it shows one: its ETag.
        secret: Whether it shows what is to be stored nowhere.
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
        """Write one by one, as the client reads."""
        for piece in self.pieces:
            await writer.write(piece)


def body_of(response: web.StreamResponse) -> bytes | Pieces | None:
    """The body of a response; None where it has none that is known as a whole."""
    body = response.body if isinstance(response, web.Response) else None
    return body if isinstance(body, bytes | Pieces) else None


def pieces_of(body: bytes | Pieces) -> Sequence[bytes]:
    """A body as what is to be written."""
    return body.pieces if isinstance(body, Pieces) else (body,)
