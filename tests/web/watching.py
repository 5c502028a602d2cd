"""A client of the change feed: reads server-sent events as a browser does."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.e2e.product import Client

CLUSTERS = "/api/v1/clusters"


@dataclass(frozen=True)
class Seen:
    """One event; a stream that has ended shows an event of kind `end`."""

    kind: str
    id: str | None
    data: Any


END = Seen("end", None, None)


class Watch:
    """One stream, read event by event."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.last_id: str | None = None
        self.comments = 0

    async def next(self, *, within: float = 20.0) -> Seen:
        async with asyncio.timeout(within):
            return await self._next()

    async def _next(self) -> Seen:
        fields: dict[str, str] = {}
        while line := (await self.response.content.readline()).decode():
            if line == "\n":
                if "data" in fields:
                    self.last_id = fields.get("id", self.last_id)
                    return Seen(fields["event"], fields.get("id"), json.loads(fields["data"]))
                fields = {}
            elif line.startswith(":"):
                self.comments += 1
            else:
                name, _, text = line.rstrip("\n").partition(": ")
                fields[name] = text
        return END

    async def beginning(self) -> list[Any]:
        """What is told until the beginning is complete."""
        seen = []
        while (event := await self.next()).kind != "BOOKMARK":
            assert event.kind != "end", seen
            seen.append((event.kind, event.data))
        return seen

    async def rest(self) -> list[Seen]:
        """All until the stream ends."""
        seen = []
        while (event := await self.next()) != END:
            seen.append(event)
        return seen


@asynccontextmanager
async def watching(
    client: Client, path: str = CLUSTERS, *, since: str | None = None, limit: int = 2**22, **query: str
) -> AsyncIterator[Watch]:
    """A watch that was accepted."""
    headers = {"X-User-Email": client.email or ""} | ({} if since is None else {"Last-Event-ID": since})
    path = path if path.startswith("/") else f"{CLUSTERS}/{path}"
    timeout = aiohttp.ClientTimeout(total=None)
    async with client.session.get(
        client.url + path,
        params={"watch": "true", **query},
        headers=headers,
        timeout=timeout,
        read_bufsize=limit,
    ) as response:
        assert response.status == 200, await response.text()
        yield Watch(response)
