"""What a client of an HTTP server may take before its request is understood, and whose it is."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import msgspec

from wattline_protocol.site.model import CONNECTIONS_PER_ADDRESS

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

IPV6_HOST_PREFIX = 64
"""A host chooses its own address within so many bits: they count as one client."""
MAX_HOPS = 32
"""Addresses of one X-Forwarded-For that are read, from the last one on."""
CROWDED_SHARE = 0.75
"""Of all connections; the rest is for addresses that have few."""
CROWDED_PART = 8
"""A server that is so crowded gives one address this part of its usual limit."""


class HttpLimits(msgspec.Struct, frozen=True):
    """Of one server; a client beyond them gets a refusal, or its connection is cut."""

    head_bytes: int = 32 * 1024
    """Request line and headers together."""
    head_s: float = 10.0
    """From the connection, or from the first byte of a further request, to the last header."""
    body_bytes: int = 1024 * 1024
    """Of a body that the application takes; of one that it has refused as many again are read."""
    body_s: float = 10.0
    """For a body, and a second more for each `bytes_per_s` that came."""
    bytes_per_s: int = 16 * 1024
    """Slowest pace of a body that comes and of an answer that is read."""
    unread_s: float = 10.0
    """An answer that is read more slowly for so long is given up."""
    connections: int = 4096
    connections_per_address: int = CONNECTIONS_PER_ADDRESS

    def most_of_one(self, is_open: int) -> int:
        """Connections that one address may have while so many are open."""
        if is_open >= self.connections:
            return 0
        if is_open < CROWDED_SHARE * self.connections:
            return self.connections_per_address
        return max(1, self.connections_per_address // CROWDED_PART)


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """`10.0.0.0/8`, `2001:db8::/32`, or one address. Raises ValueError."""
    return tuple(ip_network(text) for text in texts)


def is_within(address: str, among: Sequence[Network]) -> bool:
    """Whether one of the networks holds the address; False for what is none."""
    parsed = _parsed(address)
    return parsed is not None and any(parsed in network for network in among)


def client_key(address: str) -> str:
    """What connections are counted by: an IPv4 address, the network of an IPv6 one."""
    parsed = _parsed(address)
    if isinstance(parsed, IPv6Address):
        return str(ip_network((int(parsed), IPV6_HOST_PREFIX), strict=False))
    return address if parsed is None else str(parsed)


def forwarded_for(values: Sequence[str], trusted: Sequence[Network]) -> str | None:
    """The client by the X-Forwarded-For headers of a trusted proxy: the last address that is no
    trusted proxy itself. None = they name none: everything is a proxy, or what comes first from the
    end is no address.
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
