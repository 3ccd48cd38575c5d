"""Client of the keeper's socket: one request, one answer, within a second."""

import json
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wattline_agent.keeper.spec import MAX_LINE_BYTES, SOCKET_NAME

TIMEOUT_S = 1.0
START_TIMEOUT_S = 5.0
"""A start forks, which takes long on a host that is out of memory."""
RECEIVE_BYTES = 256 * 1024


class KeeperDown(Exception):
    """The socket does not answer, or not in time."""


class KeeperRefused(Exception):
    """The keeper refused the request; the text is its reason."""


class KeeperClient:
    """Two connections: one for requests, one for notifications of changes."""

    def __init__(self, state_dir: Path, timeout_s: float = TIMEOUT_S) -> None:
        """`timeout_s`: how long to wait for an answer. Raises KeeperDown."""
        self._timeout_s = timeout_s
        self._requests = _connect(state_dir)
        self._number = 0
        self._received = bytearray()
        self._notified = bytearray()
        try:
            self.news = _connect(state_dir)
            self.news.sendall(b'{"id": 0, "do": "subscribe"}\n')
        except (OSError, KeeperDown) as error:
            self._requests.close()
            raise KeeperDown(f"no keeper at {state_dir}: {error}") from error
        self.news.setblocking(False)

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """Send a request and return the answer. Raises KeeperRefused, or KeeperDown on timeout."""
        return self._answer_to(do, self._send(do, request, self._timeout_s), self._timeout_s)

    def ask_all(
        self, do: str, requests: Sequence[dict[str, Any]], *, timeout_s: float
    ) -> list[dict[str, Any] | KeeperRefused]:
        """Pipelined requests: one answer or refusal to each, in order. The keeper works on the
        first while the last is being written. Raises KeeperDown when an answer takes longer than
        `timeout_s` or the client's own timeout, whichever is longer."""
        timeout_s = max(timeout_s, self._timeout_s)
        numbers: list[int | KeeperRefused] = []
        for request in requests:
            try:
                numbers.append(self._send(do, request, timeout_s))
            except KeeperRefused as error:
                numbers.append(error)
        answers: list[dict[str, Any] | KeeperRefused] = []
        for number in numbers:
            try:
                if isinstance(number, KeeperRefused):
                    raise number
                answers.append(self._answer_to(do, number, timeout_s))
            except KeeperRefused as error:
                answers.append(error)
        return answers

    def notify(self, do: str, **request: Any) -> None:
        """Send a request without waiting for its answer. Raises KeeperDown."""
        self._send(do, request, self._timeout_s)

    def _send(self, do: str, request: dict[str, Any], timeout_s: float) -> int:
        """Send a request and return its number. Raises KeeperRefused where it is too long."""
        self._number += 1
        line = json.dumps({"id": self._number, "do": do, **request}).encode() + b"\n"
        if len(line) > MAX_LINE_BYTES:
            raise KeeperRefused(f"the request is {len(line)} bytes, {MAX_LINE_BYTES} are allowed")
        self._requests.settimeout(timeout_s)
        try:
            self._requests.sendall(line)
        except OSError as error:
            raise KeeperDown(f"the keeper does not answer to {do}: {error}") from error
        return self._number

    def _answer_to(self, do: str, number: int, timeout_s: float) -> dict[str, Any]:
        self._requests.settimeout(timeout_s)
        try:
            answer = self._read_answer(number)
        except OSError as error:
            raise KeeperDown(f"the keeper does not answer to {do}: {error}") from error
        if answer.get("ending"):
            raise KeeperDown(answer["error"])
        if not answer["ok"]:
            raise KeeperRefused(answer["error"])
        return answer

    def _read_answer(self, number: int) -> dict[str, Any]:
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
            if answer.get("id") == number:  # a lower number: that request was not waited for
                return answer

    def take_changes(self) -> list[dict[str, Any]]:
        """Notifications since the last call, oldest first. Raises KeeperDown."""
        while True:
            try:
                data = self.news.recv(RECEIVE_BYTES)
            except BlockingIOError:
                break
            except OSError as error:
                raise KeeperDown(f"the keeper has exited: {error}") from error
            if not data:
                raise KeeperDown("the keeper has closed the connection")
            self._notified += data
        *lines, rest = bytes(self._notified).split(b"\n")
        self._notified = bytearray(rest)
        return [news for line in lines if "changed" in (news := json.loads(line))]

    def close(self) -> None:
        """Disconnect; the keeper and its tasks continue."""
        self._requests.close()
        self.news.close()


def _connect(state_dir: Path) -> socket.socket:
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    link.settimeout(TIMEOUT_S)
    try:
        folder = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:  # via the descriptor, because a socket path is limited to 107 characters
            link.connect(f"/proc/self/fd/{folder}/{SOCKET_NAME}")
        finally:
            os.close(folder)
    except OSError as error:
        link.close()
        raise KeeperDown(f"no keeper at {state_dir / SOCKET_NAME}: {error}") from error
    return link
