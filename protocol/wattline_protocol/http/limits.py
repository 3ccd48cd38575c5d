"""Limits of an HTTP client before its request is parsed, and the key it is counted by."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from math import inf

import msgspec

from wattline_protocol.site.model import CONNECTIONS_PER_ADDRESS

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

IPV6_HOST_PREFIX = 64
"""A host chooses its own addresses within this prefix: they count as one client."""
MAX_HOPS = 32
"""Addresses of one X-Forwarded-For that are read, from the last one on."""
CROWDED_SHARE = 0.75
"""Share of all connections; the rest is reserved for addresses with few."""
CROWDED_PART = 8
"""A server above that share limits one address to this fraction of its usual limit."""


class HttpLimits(msgspec.Struct, frozen=True):
    """Limits of one server; a client beyond them is refused, or its connection aborted."""

    head_bytes: int = 32 * 1024
    """Request line and headers together."""
    head_s: float = 10.0
    """From the connection, or from the first byte of a further request, to the last header."""
    body_bytes: int = 1024 * 1024
    """Limit of a body that is accepted; of a refused one as much again is read."""
    body_s: float = 10.0
    """Time for a body, plus a second for each `bytes_per_s` received."""
    bytes_per_s: int = 16 * 1024
    """Minimum rate of a body that is received and of an answer that is read."""
    unread_s: float = 10.0
    """An answer that is read more slowly for this long is aborted."""
    unread_bytes: int = 256 * 1024**2
    """Of the answers of all clients; beyond it those of the client that holds most are aborted."""
    idle_s: float = inf
    """A connection without a request for this long is closed; infinite: uvicorn does that."""
    connections: int = 4096
    connections_per_address: int = CONNECTIONS_PER_ADDRESS

    def most_of_one(self, is_open: int) -> int:
        """Maximum of connections of one address while this many are open in total."""
        if is_open >= self.connections:
            return 0
        if is_open < CROWDED_SHARE * self.connections:
            return self.connections_per_address
        return max(1, self.connections_per_address // CROWDED_PART)


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """`10.0.0.0/8`, `2001:db8::/32`, or one address. Raises ValueError."""
    return tuple(ip_network(text) for text in texts)


def is_within(address: str, among: Sequence[Network]) -> bool:
    """Whether one of the networks contains the address; False for an invalid one."""
    parsed = _parsed(address)
    return parsed is not None and any(parsed in network for network in among)


def client_key(address: str) -> str:
    """Key that connections are counted by: an IPv4 address, the network of an IPv6 one."""
    parsed = _parsed(address)
    if isinstance(parsed, IPv6Address):
        return str(ip_network((int(parsed), IPV6_HOST_PREFIX), strict=False))
    return address if parsed is None else str(parsed)


def forwarded_for(values: Sequence[str], trusted: Sequence[Network]) -> str | None:
    """The client by the X-Forwarded-For headers of a trusted proxy: the last address that is no
    trusted proxy itself. None = no client is named: all are proxies, or an entry reached from
    the end is no address.
    """
    hops = [hop for value in values for hop in value.split(",")]
    for hop in reversed(hops[-MAX_HOPS:]):
        address = _without_port(hop.strip())
        if _parsed(address) is None:
            return None
        if not is_within(address, trusted):
            return address
    return None


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


def _without_port(text: str) -> str:
    """`203.0.113.7:80`, `[2001:db8::1]:80` and `"[2001:db8::1]"` without port and brackets."""
    text = text.strip('"')
    if text.startswith("["):
        return text[1:].partition("]")[0]
    host, colon, _ = text.rpartition(":")
    return host if colon and ":" not in host else text
