"""The address of this host that others of its site reach, and the network interface that has it."""

import ipaddress
import socket

import psutil

from wattline_protocol.text.endpoints import split_endpoint


def address_towards(endpoint: str) -> str:
    """The host's own address on the way to an endpoint, an IP address; empty: there is no way.

    The kernel picks it when a datagram socket is connected, for which nothing is sent.
    """
    host, port = split_endpoint(endpoint)
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_DGRAM)
        family, kind, _, _, address = found[0]
        with socket.socket(family, kind) as end:
            end.connect(address)
            return str(end.getsockname()[0])
    except OSError:
        return ""


def interface_towards(endpoint: str) -> str:
    """Name of the interface with that address; empty: loopback, or there is no way now."""
    own = address_towards(endpoint).partition("%")[0]
    if not own or ipaddress.ip_address(own).is_loopback:
        return ""
    for name, addresses in psutil.net_if_addrs().items():
        if any(one.address.partition("%")[0] == own for one in addresses):
            return str(name)
    return ""
