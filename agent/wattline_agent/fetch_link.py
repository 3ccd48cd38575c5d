"""The agent's connection to its fetch process, which the keeper runs: started when it is needed.

The process is the keeper's child and outlives the agent. It holds the whole list, so a new agent
sends it again, and so does an agent whose process was replaced.
"""

import os
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from wattline_agent.core.events import CacheSeen
from wattline_agent.executor.layout import CHECKPOINTS_DIR
from wattline_agent.keeper.spec import TASKS_DIR
from wattline_agent.keeper_link import KeeperLink
from wattline_agent.logs import Log
from wattline_agent.secrets.secret_store import SecretStore, SecretUnusable
from wattline_protocol.wire.agents.data_messages import (
    MAX_KEYS_BYTES,
    MAX_LINE_BYTES,
    CacheReport,
    CheckpointsToStore,
    FetchOrder,
    HoldOrder,
    InStore,
)

FETCH_MODULE = "wattline_runtime.data.fetch"
SOCKET_NAME = "fetch.sock"
SEND_S = 1.0
CONNECT_S = 0.1
SECRETS_S = 5.0
"""Interval of reading the secrets of stores again."""
FIRST_START_S, MOST_START_S = 2.0, 60.0
"""Interval of starts: each has so long to open its socket."""
MOST_STARTS = 4
"""Without an answer: at the next one the node is reported as one that has no cache."""
NO_ANSWER = "its fetch process does not start: see tasks/0.0.*.log in the agent's state directory"
RECEIVE_BYTES = 256 * 1024

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(CacheReport).decode


@dataclass(frozen=True, slots=True)
class CacheConfig:
    """Where the cache is, and what it may take."""

    path: Path
    size_bytes: int
    rate_bytes_s: int = 0
    """0 = no limit."""

    @property
    def versions(self) -> Path:
        """Where tasks find versions."""
        return self.path / "versions"


class FetchLink:
    """One connection to the fetch process."""

    def __init__(
        self,
        state_dir: Path,
        config: CacheConfig,
        keeper_link: KeeperLink,
        secrets: SecretStore,
        log: Log,
    ) -> None:
        self._state_dir, self._config = state_dir.resolve(), config
        self._keeper_link, self._secrets, self._log = keeper_link, secrets, log
        self._link: socket.socket | None = None
        self._received = bytearray()
        self._order: HoldOrder | None = None
        self._is_wanted = _has_versions(config.versions)
        self._sent: FetchOrder | None = None
        self._secrets_at_s = 0.0
        self._connect_at_s = self._start_at_s = 0.0
        self._starts = 0
        """Since it was connected."""

    def order(self, order: HoldOrder) -> None:
        """Pass the list on, now or once there is a process."""
        if self._order is None or order.versions != self._order.versions:
            self._log.info("data_listed", versions=[one.reference for one in order.versions])
        self._order = msgspec.structs.replace(
            order, to_store=tuple(map(self._placed, order.to_store))
        )
        self._is_wanted |= bool(order.versions or order.to_store or order.outputs)
        self._send()
        self.tick()

    def _placed(self, one: CheckpointsToStore) -> CheckpointsToStore:
        """With the directory of the checkpoints, which only the node knows."""
        root = one.root or str(self._state_dir / CHECKPOINTS_DIR)
        return msgspec.structs.replace(one, root=root)

    def fileno(self) -> int | None:
        """Readable when there may be a report."""
        return None if self._link is None else self._link.fileno()

    def tick(self) -> list[CacheSeen]:
        """Connect, or have the process started, where it is needed and due. A process that does
        not answer after several starts is reported as one without a cache."""
        now_s = time.monotonic()
        if self._link is not None and now_s >= self._secrets_at_s:
            self._send_if_changed()
        if not self._is_wanted or self._link is not None or now_s < self._connect_at_s:
            return []
        self._connect_at_s = now_s + CONNECT_S
        if self._connect():
            self._starts = 0
            self._send()
        elif now_s >= self._start_at_s:
            self._start_at_s = now_s + min(FIRST_START_S * 2**self._starts, MOST_START_S)
            self._starts = min(self._starts + 1, MOST_STARTS + 1)
            self._start()
            if self._starts > MOST_STARTS:
                return [CacheSeen(CacheReport((), 0, 0, NO_ANSWER))]
        return []

    def reports(self) -> list[CacheSeen]:
        """The newest report since the last call, if there is one."""
        if self._link is None:
            return []
        lost = self._receive(self._link)
        *lines, rest = bytes(self._received).split(b"\n")
        self._received = bytearray(rest)
        if lost:  # what it sent last may say why
            self._lose(lost)
        return [CacheSeen(report) for line in lines[-1:] if (report := self._report(line))]

    def _receive(self, link: socket.socket) -> str:
        """Why the connection is lost; empty = it is not."""
        link.setblocking(False)
        try:
            while data := link.recv(RECEIVE_BYTES):
                self._received += data
                if len(self._received) > MAX_LINE_BYTES:
                    return "its report is too long"
        except BlockingIOError:
            return ""
        except OSError as error:
            return str(error)
        return "it has ended"

    def close(self) -> None:
        """Disconnect; the process continues under the keeper."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def _report(self, line: bytes) -> CacheReport | None:
        try:
            return _decode(line)
        except (msgspec.MsgspecError, RecursionError) as error:
            self._log.warning("malformed_cache_report", error=str(error))
            return None

    def _send(self) -> None:
        self._sent = None
        self._send_if_changed()

    def _send_if_changed(self) -> None:
        """Secrets may have been stored or replaced since."""
        self._secrets_at_s = time.monotonic() + SECRETS_S
        if self._link is None or self._order is None:
            return
        tasks_dir = str(self._state_dir / TASKS_DIR)
        order = FetchOrder(self._order, self._values(self._order), tasks_dir)
        if order == self._sent:
            return
        self._link.settimeout(SEND_S)
        try:
            self._link.sendall(_encode(order) + b"\n")
            self._sent = order
        except OSError as error:
            self._lose(str(error))

    def _values(self, order: HoldOrder) -> dict[str, bytes]:
        """What opens the stores of all; entries that cannot be read, or that no store has, are
        not there."""
        found: dict[str, bytes] = {}
        opened: tuple[InStore, ...] = (*order.versions, *order.to_store, *order.outputs)
        for one in opened:
            if one.secret and one.opened_by not in found:
                with suppress(SecretUnusable):  # the fetch process names what it lacks
                    value = self._secrets.read(one.user, one.secret)
                    if len(value) <= MAX_KEYS_BYTES:
                        found[one.opened_by] = value
        return found

    def _lose(self, why: str) -> None:
        self._log.warning("fetch_process_lost", error=why)
        self.close()
        self._received.clear()

    def _connect(self) -> bool:
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        link.settimeout(SEND_S)
        try:
            folder = os.open(self._state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:  # via the descriptor, because a socket path is limited to 107 characters
                link.connect(f"/proc/self/fd/{folder}/{SOCKET_NAME}")
            finally:
                os.close(folder)
        except OSError:
            link.close()
            return False
        self._link = link
        return True

    def _start(self) -> None:
        config = self._config
        argv = [sys.executable, "-P", "-m", FETCH_MODULE]
        argv += ["--socket", str(self._state_dir / SOCKET_NAME)]
        argv += ["--cache-dir", str(config.path), "--cache-size", str(config.size_bytes)]
        argv += ["--rate", str(config.rate_bytes_s)]
        self._keeper_link.do(lambda runner: runner.begin_service(argv))
        self._log.info("fetch_process_started")


def _has_versions(path: Path) -> bool:
    """Whether an earlier process has left any: they are reported, so that work finds them."""
    try:
        with os.scandir(path) as entries:
            return next(entries, None) is not None
    except OSError:
        return False
