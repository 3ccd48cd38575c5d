"""The HTTP server behind the bridge: its process, and whether it answers."""

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException

from wattline_protocol.http.exchange_limit import shut_down_after
from wattline_runtime.serve.bridge.port_owner import other_account

POLL_S = 0.1
"""Interval of health checks until the first success."""
CHECK_S = 2.0
"""Interval of health checks afterwards."""
ANSWER_S = 5.0
"""Time for the connection of a health check, and for its answer."""
PORT = "{port}"


@dataclass(frozen=True, slots=True)
class Health:
    """The server answers its health check, or does so no longer."""

    is_well: bool
    detail: str = ""


class HttpServer:
    """A child process that serves HTTP on a port of loopback."""

    def __init__(self, command: Sequence[str], health: str) -> None:
        self._command = command
        self._health = health
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = threading.Event()
        self.address = ("127.0.0.1", 0)

    def start(self, post: Callable[[Health], None]) -> None:
        """Start it, and check its health on a thread. Raises OSError."""
        self.address = ("127.0.0.1", _free_port())
        port = str(self.address[1])
        command = [part.replace(PORT, port) for part in self._command]
        self._process = subprocess.Popen(command, env={**os.environ, "WATTLINE_HTTP_PORT": port})
        checks = threading.Thread(target=self._check, args=(post,), name="health", daemon=True)
        checks.start()

    @property
    def exit_status(self) -> int | None:
        """None: it runs."""
        return None if self._process is None else self._process.poll()

    def stop(self, grace_s: float) -> None:
        """SIGTERM, and SIGKILL to what is left after the grace."""
        self._stopped.set()
        process = self._process
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _check(self, post: Callable[[Health], None]) -> None:
        is_well = was_well = False
        known = ""
        while not self._stopped.wait(CHECK_S if is_well else POLL_S):
            detail = self._problem()
            # Before its first success each other problem is news: it may listen at another port.
            if is_well != (not detail) or (not was_well and detail != known):
                is_well, known = not detail, detail
                was_well |= is_well
                post(Health(is_well, detail))

    def _problem(self) -> str:
        """Empty: it is well."""
        where = f"GET http://{self.address[0]}:{self.address[1]}{self._health}"
        connection = HTTPConnection(*self.address, timeout=ANSWER_S)
        late = threading.Event()
        try:
            connection.connect()
            with shut_down_after(ANSWER_S, connection.sock, late):
                connection.request("GET", self._health)
                status = connection.getresponse().status
        except (OSError, HTTPException) as error:
            why = f"no answer within {ANSWER_S:g} s" if late.is_set() else ""
            return f"{where}: {why or f'{type(error).__name__}: {error}'}"
        finally:
            connection.close()
        if (other := other_account(self.address[1])) is not None:
            return f"{where}: account {other} listens there, not this service's server"
        return "" if 200 <= status < 300 else f"{where}: status {status}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
