"""The address of this host that others of its site reach."""

import socket

from wattline_protocol.text.endpoints import split_endpoint


def address_towards(endpoint: str) -> str:
    """The host's own address on the way to an endpoint, an IP address; empty: there is no way.

    The kernel picks it when a datagram socket is connected, for which nothing is sent.
    """
    host, port = split_endpoint(endpoint)
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as end:
            end.connect(address)
            return str(end.getsockname()[0])
    except OSError:
        return ""
