"""Why no scheduler answers: what the network says of its address."""

import socket

from wattline_protocol.text.endpoints import split_endpoint

PROBE_S = 0.5
"""Longest that one address is tried."""


class UnknownHost(Exception):
    """The name of the host has no address; `str(error)` says which."""


def trouble(endpoint: str) -> str:
    """What keeps a connection from standing, in words; empty: something listens there.

    Raises UnknownHost where waiting does not help.
    """
    host, port = split_endpoint(endpoint)
    try:
        socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            return f"the name server does not answer for host {host}"
        raise UnknownHost(f"unknown host {host}") from error
    try:
        with socket.create_connection((host.strip("[]"), int(port)), PROBE_S):
            return ""
    except ConnectionRefusedError:
        return f"nothing listens at {host}:{port}"
    except OSError as error:
        return f"{host}:{port} cannot be reached ({error.strerror or error})"
