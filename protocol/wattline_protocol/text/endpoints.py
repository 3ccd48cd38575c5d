"""Addresses as the site file and the sockets write them."""

import re

_ENDPOINT = re.compile(r"tcp://(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[^:\[\]/\s]+):(?P<port>\d{1,5}|\*)")
_EVERYWHERE = ("*", "0.0.0.0", "[::]")  # noqa: S104 - named here to be refused


def split_endpoint(endpoint: str) -> tuple[str, str]:
    """Host and port of "tcp://HOST:PORT"; the port may be "*". Raises ValueError."""
    match = _ENDPOINT.fullmatch(endpoint)
    if match is None or (match["port"] != "*" and int(match["port"]) > 65_535):
        raise ValueError(f'"{endpoint}" is not an endpoint; expected "tcp://HOST:PORT"')
    return match["host"], match["port"]


def reachable_endpoint(endpoint: str) -> str:
    """`endpoint` itself, if other hosts can connect to it. Raises ValueError for a wildcard."""
    host, port = split_endpoint(endpoint)
    if host in _EVERYWHERE or port in ("*", "0"):
        raise ValueError(
            'expected the address and port that others connect to, as in "tcp://10.0.0.5:7701"'
        )
    return endpoint


def http_address(address: str) -> str:
    """`address` itself, if it is HOST:PORT. Raises ValueError."""
    try:
        split_endpoint(f"tcp://{address}")
    except ValueError:
        raise ValueError('expected HOST:PORT, as in "127.0.0.1:8080"') from None
    return address
