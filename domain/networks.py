"""A network cut into blocks, out of which addresses are handed out."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha1
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, Final

from domain.values import Meta

BLOCK: Final = 256
"""Addresses of a block."""

MOST_ASKED: Final = 256
"""The most blocks that are asked for one address; a /16 has as many."""

Address = Annotated[str, Meta(min_length=1, max_length=45)]


@dataclass(frozen=True, slots=True)
class Blocks:
    """The blocks of a network, each named by its first address; a small network is one block."""

    network: IPv4Network | IPv6Network

    @property
    def count(self) -> int:
        """How many there are."""
        return max(1, self.network.num_addresses // BLOCK)

    @property
    def asked(self) -> int:
        """How many of them are asked for one address at most."""
        return min(self.count, MOST_ASKED)

    def first_for(self, holder: str) -> str:
        """The block that a holder asks first; holders are spread over all."""
        drawn = int.from_bytes(sha1(holder.encode(), usedforsecurity=False).digest()[:8])
        return self._block(drawn % self.count)

    def after(self, block: str) -> str:
        """The next block, after the last one the first."""
        return self._block((int(ip_address(block)) - self._first) // BLOCK + 1)

    def addresses(self, block: str) -> Iterator[str]:
        """The addresses of a block that a machine may have.

        The first and the last are left out, unless there are no others: in a network of one block they are
        those of the network and of all its machines (RFC 919), in a larger one some take them for that.
        """
        start = int(ip_address(block))
        end = min(start + BLOCK, int(self.network.broadcast_address) + 1)
        for number in range(start + 1, end - 1) if end - start > 2 else range(start, end):
            yield self._named(number)

    @property
    def _first(self) -> int:
        return int(self.network.network_address)

    def _block(self, index: int) -> str:
        return self._named(self._first + index % self.count * BLOCK)

    def _named(self, number: int) -> str:
        return str(type(self.network.network_address)(number))


def blocks_of(network: str) -> Blocks:
    """The blocks of a network in the form of a CIDR. Raises: ValueError: it is none."""
    return Blocks(ip_network(network))
