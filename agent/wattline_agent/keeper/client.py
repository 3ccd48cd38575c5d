"""A client's end of the keeper's socket: one request, one answer, within a second."""

import json
import os
import select
import socket
from pathlib import Path
from typing import Any

from wattline_agent.keeper.spec import MAX_LINE_BYTES, SOCKET_NAME

TIMEOUT_S = 1.0
START_TIMEOUT_S = 5.0
"""A start forks; on a host that is out of memory this takes long."""
RECEIVE_BYTES = 256 * 1024


class KeeperGone(Exception):
    """Nobody answers at the socket, or not in time."""


class KeeperRefused(Exception):
    """The keeper would not do it; the text is its reason."""


class KeeperClient:
    """Two connections: one for requests, one on which the keeper tells of changes."""

    def __init__(self, state_dir: Path) -> None:
        """Raises KeeperGone."""
        self._requests = _connect(state_dir)
        self._number = 0
        self._received = bytearray()
        try:
            self.news = _connect(state_dir)
            self.news.sendall(b'{"id": 0, "do": "subscribe"}\n')
        except (OSError, KeeperGone) as error:
            self._requests.close()
            raise KeeperGone(f"no keeper at {state_dir}: {error}") from error
        self.news.setblocking(False)

    def ask(self, do: str, *, timeout_s: float = TIMEOUT_S, **request: Any) -> dict[str, Any]:
        """The answer. Raises KeeperRefused, or KeeperGone when none comes in time."""
        self._number += 1
        line = json.dumps({"id": self._number, "do": do, **request}).encode() + b"\n"
        if len(line) > MAX_LINE_BYTES:
            raise KeeperRefused(f"the request is {len(line)} bytes, {MAX_LINE_BYTES} are allowed")
        self._requests.settimeout(timeout_s)
        try:
            self._requests.sendall(line)
            answer = self._read_answer()
        except OSError as error:
            raise KeeperGone(f"the keeper does not answer to {do}: {error}") from error
        if answer.get("ending"):
            raise KeeperGone(answer["error"])
        if not answer["ok"]:
            raise KeeperRefused(answer["error"])
        return answer

    def _read_answer(self) -> dict[str, Any]:
        while True:
            end = self._received.find(b"\n")
            while end < 0:
                data = self._requests.recv(RECEIVE_BYTES)
                if not data:
                    raise ConnectionResetError("it has closed the connection")
                self._received += data
                end = self._received.find(b"\n")
            answer: dict[str, Any] = json.loads(self._received[:end])
            del self._received[: end + 1]
            if answer.get("id") == self._number:  # an older one came after its time-out
                return answer

    def clear_news(self) -> None:
        """Read away what has been told; the next `ask("list")` says it all. Raises KeeperGone."""
        while True:
            try:
                if not self.news.recv(RECEIVE_BYTES):
                    raise KeeperGone("the keeper has closed the connection")
            except BlockingIOError:
                return
            except OSError as error:
                raise KeeperGone(f"the keeper is gone: {error}") from error

    def wait_for_news(self, timeout_s: float) -> bool:
        """Whether something changed, within the time."""
        return bool(select.select([self.news], [], [], timeout_s)[0])

    def close(self) -> None:
        """Disconnect; the keeper and its tasks go on."""
        self._requests.close()
        self.news.close()


def _connect(state_dir: Path) -> socket.socket:
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    link.settimeout(TIMEOUT_S)
    try:
        folder = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:  # through the descriptor: a socket's own path may have 107 characters only
            link.connect(f"/proc/self/fd/{folder}/{SOCKET_NAME}")
        finally:
            os.close(folder)
    except OSError as error:
        link.close()
        raise KeeperGone(f"no keeper at {state_dir / SOCKET_NAME}: {error}") from error
    return link
