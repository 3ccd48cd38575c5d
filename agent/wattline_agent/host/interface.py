"""Network interface of the host on the way to the scheduler."""

import ipaddress
import socket

import psutil

from wattline_protocol.text.endpoints import split_endpoint

NO_PORT = 9
"""Discard: connecting a UDP socket sends nothing, it only chooses the route."""


def interface_towards(endpoint: str) -> str:
    """Name of the interface whose address the agent speaks to this endpoint from; empty: loopback,
    or no route now."""
    host = split_endpoint(endpoint)[0].strip("[]")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, NO_PORT, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(address)
            own = str(probe.getsockname()[0])
    except OSError:
        return ""
    return "" if ipaddress.ip_address(own.partition("%")[0]).is_loopback else _interface_of(own)


def _interface_of(own: str) -> str:
    for name, addresses in psutil.net_if_addrs().items():
        if any(one.address.partition("%")[0] == own.partition("%")[0] for one in addresses):
            return str(name)
    return ""
