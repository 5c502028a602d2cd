"""Requests as bytes, for what no HTTP client would send."""

from collections.abc import Iterable
from uuid import uuid4

CLUSTERS = "/api/v1/clusters"
ONE = str(uuid4())
BODY = b'{"name":"one","spec":{"platform":{"type":"gcp"}},"controller_name":"c","observed_generation":1}'


def request(method: str, path: str, headers: Iterable[tuple[str, bytes]], body: bytes = BODY) -> bytes:
    """A request as it goes over the wire."""
    sent = body if method in ("POST", "PUT") else b""
    fields = b"".join(b"%b: %b\r\n" % (name.encode(), value) for name, value in headers)
    line = f"{method} {path} HTTP/1.1\r\nHost: x\r\n".encode()
    return b"%bContent-Length: %d\r\n%b\r\n%b" % (line, len(sent), fields, sent)
