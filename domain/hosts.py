"""The names that a request may call this service by: the rule behind `Host`.

A page whose own name is made to point to this service (DNS rebinding) has the same origin as the service, so
browsers allow it everything. It is recognised by the name in `Host`, which no page can change. An IP address
cannot be rebound, so no page from elsewhere has one of ours as its host.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

from domain.errors import Rejected, invalid

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

_UNSPECIFIED: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104  # recognised, not bound
_FORM: Final = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_.-]{1,253})(?::[0-9]{0,5})?")
_MAX_HOST_CHARACTERS: Final = 300


def canonical(host: str) -> str:
    """A name or an address in the form for comparison: lower case, no final dot, addresses shortened."""
    bare = host.removeprefix("[").removesuffix("]").removesuffix(".").lower()
    try:
        return str(ip_address(bare))
    except ValueError:
        return bare


def is_address(host: str) -> bool:
    """Whether a canonical host is an IP address."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


class Hosts:
    """The hosts that are ours: loopback, the address we listen on, and configured ones.

    Args:
        bound: The address or name we listen on. If it means all addresses (`0.0.0.0`, `::`), every address is
            ours, because probes and port mappings use any of them, but no name is.
        named: Configured names and addresses without ports.
    """

    def __init__(self, bound: str, named: Iterable[str] = ()) -> None:
        self._ours = LOOPBACK | {canonical(host) for host in (bound, *named)}
        self.any_address = canonical(bound) in _UNSPECIFIED
        self._known = lru_cache(maxsize=256)(self._is_ours)

    def admits(self, given: str | None) -> bool:
        """Whether the value of a `Host` is one of ours, with any port; called for every read."""
        return given is not None and len(given) <= _MAX_HOST_CHARACTERS and self._known(given)

    def require(self, given: str | None) -> None:
        """Refuse a `Host` that is not ours; only HTTP/1.0 programs, and no browsers, send none.

        Raises: Rejected: `VALIDATION_FAILED` for a value that is neither name nor address,
            `MISDIRECTED_REQUEST` for the name or address of another service.
        """
        if given is None or self.admits(given):
            return
        if len(given) > _MAX_HOST_CHARACTERS or not _FORM.fullmatch(given):
            raise invalid("Host must be a name or an address, with or without a port", field="Host")
        raise Rejected(
            "MISDIRECTED_REQUEST",
            "This service is not known by the name in Host; if it is to be, ALLOWED_HOSTS must name it",
            field="Host",
        )

    def _is_ours(self, given: str) -> bool:
        form = _FORM.fullmatch(given)
        if form is None:
            return False
        host = canonical(form[1])
        return host in self._ours or (self.any_address and is_address(host))
