"""The names that a request may call this service by: the rule behind `Host`.

A page whose own name is made to point here (DNS rebinding) is of one origin with what it asks for, and no
browser keeps it from anything. What gives it away is the name it was called by, which no page can change. An
address in the place of a name points where it says, so no page from elsewhere comes with one.
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
    """A name or an address, brackets or not, as it is compared: lower case, no last dot, addresses short."""
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
    """The hosts that are ours: loopback, the address we listen on, and those that are named.

    Args:
        bound: The address or name we listen on. Where it stands for all addresses (`0.0.0.0`, `::`), every
            address is ours, as probes and port mappings have it, and no name follows from it.
        named: Names and addresses without ports.
    """

    def __init__(self, bound: str, named: Iterable[str] = ()) -> None:
        self._ours = LOOPBACK | {canonical(host) for host in (bound, *named)}
        self.any_address = canonical(bound) in _UNSPECIFIED
        self._known = lru_cache(maxsize=256)(self._is_ours)

    def admits(self, given: str | None) -> bool:
        """Whether the value of a `Host` is one of ours, with whatever port; asked of every read."""
        return given is not None and len(given) <= _MAX_HOST_CHARACTERS and self._known(given)

    def require(self, given: str | None) -> None:
        """Refuse a `Host` that is not ours; None is that of a program that speaks HTTP/1.0, no browser.

        Raises: Rejected: `VALIDATION_FAILED` for what is neither name nor address, `MISDIRECTED_REQUEST`
            for one of somebody else.
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
