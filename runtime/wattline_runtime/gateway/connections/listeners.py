"""The gateway's listening sockets: its own, or those that systemd or a predecessor holds."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from errno import EADDRINUSE

from wattline_protocol.wire.transport import TransportError
from wattline_runtime.gateway.config import GatewayConfig

BACKLOG = 1024
FIRST_FD = 3
"""SD_LISTEN_FDS_START of sd_listen_fds(3)."""


@dataclass(frozen=True, slots=True)
class Listeners:
    """Both listening sockets."""

    http: socket.socket
    workers: socket.socket
    is_lasting: bool = False
    """The client socket outlives this process: what it does not accept, its successor will."""
    others: tuple[socket.socket, ...] = ()
    """More sockets of clients, each with a queue of its own (SO_REUSEPORT)."""
    spare: Mapping[int, socket.socket] = field(default_factory=dict)
    """Those of other processes of this gateway, by number; used while these are down."""

    @property
    def clients(self) -> tuple[socket.socket, ...]:
        """All sockets of clients that this process accepts from."""
        return (self.http, *self.others)

    def close(self) -> None:
        """Close them here; other processes that have them continue to listen."""
        self.close_spare()
        for one in (*self.clients, self.workers):
            one.close()

    def close_spare(self) -> None:
        """Leave those of other processes to them."""
        for one in self.spare.values():
            one.close()


def open_listeners(config: GatewayConfig, environ: Mapping[str, str]) -> Listeners:
    """The client socket of systemd, if it gives one, else a new one; a new one for workers.

    Raises OSError for an address that cannot be bound and a socket of systemd that listens
    elsewhere, TransportError for the address of workers.
    """
    given = from_systemd(config, environ)
    http = given or open_listener(config.http_host, config.http_port)
    try:
        return Listeners(http, open_for_workers(config), is_lasting=given is not None)
    except TransportError:
        http.close()
        raise


def open_listener(
    host: str, port: int, what: str = "serve HTTP", *, is_shared: bool = False
) -> socket.socket:
    """Listen for clients. `is_shared`: where others may listen too (SO_REUSEPORT). Raises OSError
    with the address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    host = host.strip("[]")
    # The protocol is named because asyncio turns Nagle's delay off only for sockets that name TCP.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if is_shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)  # clients queue from here on, so the address may be published
    except OSError as error:
        listener.close()
        text = f"cannot {what} on {host}:{port}: {error.strerror}"
        if error.errno == EADDRINUSE:
            text += "; stop the program that listens there, or start with --takeover"
        raise OSError(error.errno, text) from error
    return listener


def open_for_workers(config: GatewayConfig) -> socket.socket:
    """Listen for workers, where a successor can listen too. Raises TransportError."""
    host = "" if config.worker_host == "*" else config.worker_host
    what = "accept workers"
    try:
        if config.worker_port and not config.takeover:
            open_listener(host, config.worker_port, what).close()  # the port is free
        return open_listener(host, config.worker_port, what, is_shared=True)
    except OSError as error:
        raise TransportError(error.strerror) from error


def from_systemd(config: GatewayConfig, environ: Mapping[str, str]) -> socket.socket | None:
    """The socket that systemd passed to this process (sd_listen_fds(3)). Raises OSError."""
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    if environ.get("LISTEN_FDS") != "1":
        raise OSError(f"systemd gave {environ.get('LISTEN_FDS')} sockets; one is needed")
    os.set_inheritable(FIRST_FD, False)
    listener = socket.socket(fileno=FIRST_FD)
    name = listener.getsockname()
    if not isinstance(name, tuple) or name[1] != config.http_port:
        listener.close()
        raise OSError(f"systemd listens on {name}, not on http_address (port {config.http_port})")
    return listener
