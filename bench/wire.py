"""The leanest correct HTTP/1.1 clients: a keep-alive connection, one request at a time.

A client is part of what it measures: aiohttp's takes about 0.5 ms a request, the blocking one here under
0.05. They know only what our answers use: a status line, headers, and a body of `Content-Length` bytes.
"""

import asyncio
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and body of one answer."""

    status: int
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Connection:
    """A keep-alive connection."""

    def __init__(self, host: str, port: int, *, timeout: float = 30.0) -> None:
        self._socket = socket.create_connection((host, port), timeout=timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def exchange(self, request: bytes) -> Answer:
        """Send a request as `request_bytes` made it, and wait for its answer.

        Raises: ConnectionError: the server hung up. TimeoutError: it says nothing.
        """
        self._socket.sendall(request)
        data = self._received(b"")
        while (end := data.find(b"\r\n\r\n")) < 0:
            data = self._received(data)
        head = data[:end].lower()
        length = _content_length(head)
        while len(data) < end + 4 + length:
            data = self._received(data)
        return Answer(int(head[9:12]), data[end + 4 :])

    def _received(self, data: bytes) -> bytes:
        more = self._socket.recv(65536)
        if not more:
            raise ConnectionError("the server hung up")
        return data + more


class AsyncConnection:
    """The same for many clients on one event loop; connects when needed, and again after a failure."""

    def __init__(self, host: str, port: int, *, timeout: float = 30.0) -> None:
        self._address = (host, port)
        self._timeout = timeout
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def exchange(self, request: bytes) -> Answer:
        """Send a request and wait for its answer.

        Raises: OSError, EOFError, TimeoutError: there is none; whether the request took effect is unknown.
        """
        try:
            async with asyncio.timeout(self._timeout):
                if self._streams is None:
                    self._streams = await asyncio.open_connection(*self._address)
                reader, writer = self._streams
                writer.write(request)
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                return Answer(int(head[9:12]), await reader.readexactly(_content_length(head)))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Drop the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def _content_length(head: bytes) -> int:
    _, found, rest = head.partition(b"\r\ncontent-length:")
    return int(rest.split(b"\r\n", 1)[0]) if found else 0


def request_bytes(
    method: str, path: str, *, email: str, body: Any = None, headers: Mapping[str, str] | None = None
) -> bytes:
    """A request as it goes over the wire; made beforehand, so that making it isn't measured."""
    payload = b"" if body is None else json.dumps(body).encode()
    more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nX-User-Email: {email}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n{more}\r\n"
    )
    return head.encode() + payload
