"""Diagnoses why a scheduler does not answer: state of its address in the network."""

import socket

from wattline_protocol.text.endpoints import split_endpoint

PROBE_S = 0.5
"""Time limit for one address."""


class UnknownHost(Exception):
    """The host name has no address; `str(error)` names it."""


def trouble(endpoint: str) -> str:
    """What prevents a connection, as text; empty: something listens there."""
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
