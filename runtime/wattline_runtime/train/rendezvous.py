"""Runs torchrun for one node of a gang, over a rendezvous port that is open from the start.

The agent starts it in place of torchrun: `rendezvous.py HOST PORT NODE_RANK FLAGS… SCRIPT…`, or for
a gang of one node `rendezvous.py --standalone FLAGS… SCRIPT…`. A stop ends it with a sentence in
the log in place of torchrun's traceback, and with the status of the signal.

torchrun opens the port of its store seconds after its start, on all addresses of the host. Here the
node of rank 0 opens it at once, on HOST alone where that is an address of its own. If another
program has the port, it ends with status 75, and the scheduler draws another port.

One file, Python 3.9 or later, torch only: it runs in the environment of the program.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import traceback
from ipaddress import ip_address
from typing import Any

PORT_TAKEN_STATUS = 75
"""EX_TEMPFAIL of sysexits.h; the scheduler knows it (`wattline_protocol.wire.task_order`)."""

BACKEND = "wattline"
SIGNALED = 128
"""Exit statuses from here on: stopped by a signal, as in shells."""
JOIN_WITHIN_S = 600
"""How long the launchers of the other nodes are waited for, as in torchrun."""

EVERYWHERE = ("::", "0.0.0.0")  # noqa: S104 - where a name is all that is known
PASS_ON = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


STANDALONE = "--standalone"


def main(argv: list[str]) -> int:
    """Run torchrun until all ranks of this node have ended; its exit status."""
    if argv[0] == STANDALONE:
        return _run(argv)
    host, port, rank = argv[0], int(argv[1]), int(argv[2])
    listener = listen(host, port) if rank == 0 else None
    _register(host, port, rank, listener)
    endpoint = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return _run([f"--rdzv-backend={BACKEND}", f"--rdzv-endpoint={endpoint}", *argv[3:]])


def _run(flags: list[str]) -> int:
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException

    try:
        run.main(flags)
    except SignalException as stop:
        name = signal.Signals(stop.sigval).name
        print(f"wattline: stopped by {name}; all ranks of this task have ended", file=sys.stderr)
        return SIGNALED + stop.sigval
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def _end(status: int) -> None:
    """A failure or a stop ends at once: torch takes half a second to unload, for which the next
    attempt would wait. After a success other nodes may still read from the store."""
    if status:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def listen(host: str, port: int) -> socket.socket:
    """The listening socket of the store. Exits with `PORT_TAKEN_STATUS` or an error message."""
    why = ""
    for address in (*_literal(host), *EVERYWHERE):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, port))
            listener.listen(socket.SOMAXCONN)
        except OSError as error:
            listener.close()
            why = f"rendezvous at {address} port {port}: {error.strerror}"
            if error.errno == errno.EADDRINUSE:
                print(f"{why}; it is retried with another port", file=sys.stderr)
                sys.exit(PORT_TAKEN_STATUS)
            if error.errno not in PASS_ON:
                sys.exit(why)
        else:
            return listener
    sys.exit(why)


def _literal(host: str) -> tuple[str, ...]:
    """The address, if it is one. A name may resolve to loopback on its own host."""
    try:
        return (str(ip_address(host)),)
    except ValueError:
        return ()


def _register(host: str, port: int, rank: int, listener: socket.socket | None) -> None:
    """The static rendezvous of torch, over a socket that listens already."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined] # torch has no __all__
    from torch.distributed.elastic.rendezvous import rendezvous_handler_registry
    from torch.distributed.elastic.rendezvous.static_tcp_rendezvous import StaticTCPRendezvous

    class OpenRendezvous(StaticTCPRendezvous):
        def get_backend(self) -> str:
            return BACKEND

    def create(params: Any) -> OpenRendezvous:
        nodes = params.max_nodes
        handler = OpenRendezvous(host, port, rank, nodes, params.run_id, JOIN_WITHIN_S)
        if listener is not None:
            handler._store = TCPStore(  # noqa: SLF001 - else it opens one of its own
                host,
                port,
                nodes,
                True,
                handler.timeout,
                multi_tenant=True,
                master_listen_fd=listener.detach(),
            )
        return handler

    rendezvous_handler_registry.register(BACKEND, create)


if __name__ == "__main__":
    del sys.path[0]  # the folder of this file, whose modules must not hide those of the program
    _end(main(sys.argv[1:]))
