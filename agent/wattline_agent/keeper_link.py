"""The agent's connection to the keeper: starts one when there is none, reconnects when it died."""

import os
import signal
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from wattline_agent.core.ports import KeeperAbsent, LogSlice, RecordParts, TaskRunner, TaskSeen
from wattline_agent.logs import Log
from wattline_agent.statefile import StateUnusable
from wattline_protocol.ids import TaskRef

START_PATIENCE_S = 20.0
"""A new keeper may have to wait for its predecessor's processes to end."""
START_POLL_S = 0.05
RETRY_S = 1.0
MAX_WAITING = 1024
"""Maximum of orders queued without a keeper; the core has far fewer attempts."""

Order = Callable[[TaskRunner], None]


class NoKeeper(Exception):
    """A keeper could not be started; the text names its log."""


class KeeperLink:
    """A TaskRunner that survives the keeper: orders are queued while there is none."""

    def __init__(
        self,
        state_dir: Path,
        open_runner: Callable[[Path], TaskRunner],
        log: Log,
        *,
        may_start: bool = True,
    ) -> None:
        """Without `may_start` the keeper is a separate service and only waited for: one started by
        a confined agent would pass its confinement on to all tasks."""
        self._state_dir = state_dir
        self._pid_file = state_dir / "keeper.pid"
        self._open_runner = open_runner
        self._may_start = may_start
        self._log = log
        self._runner: TaskRunner | None = None
        self._waiting: deque[Order] = deque()
        self._child: int | None = None
        self._retry_at_s = 0.0

    def open(self) -> None:
        """Connect to the node's keeper; start one if there is none.

        Raises NoKeeper, or StateUnusable when the state directory is full; so does every method
        that may detect that the keeper has died.
        """
        deadline_s = time.monotonic() + START_PATIENCE_S
        while self._runner is None:
            if self._connect():
                return
            if time.monotonic() > deadline_s:
                raise NoKeeper(
                    f"no keeper answers in {self._state_dir} after {START_PATIENCE_S:g} s; "
                    f"its log is {self._state_dir / 'keeper' / 'log'}"
                )
            self._start()
            time.sleep(START_POLL_S)

    def can_run_as(self) -> bool:
        """Whether it starts tasks as other accounts of the host."""
        return self._runner is not None and self._runner.can_run_as()

    def keeper_account(self) -> str:
        """The keeper's own account; empty: unknown."""
        return "" if self._runner is None else self._runner.keeper_account()

    def takes_recovery(self) -> bool:
        """Whether it grants task leases to running attempts, and knows stop signals."""
        return self._runner is not None and self._runner.takes_recovery()

    def takes_secrets(self) -> bool:
        """Whether it reads variables of tasks from files."""
        return self._runner is not None and self._runner.takes_secrets()

    def do(self, order: Order) -> None:
        """Send an order to the keeper, now or as soon as there is one again."""
        self._waiting.append(order)
        if len(self._waiting) > MAX_WAITING:
            raise NoKeeper(f"{MAX_WAITING} commands wait for a keeper in {self._state_dir}")
        self._work_off()

    def observe(self) -> tuple[TaskSeen, ...] | None:
        """All attempts; None while there is no keeper."""
        if self._runner is None:
            self._try_again()
        if self._runner is None or not self._work_off():
            return None
        try:
            return tuple(self._runner.observe())
        except KeeperAbsent as error:
            self._lose(error)
            return None

    def privileged(self) -> frozenset[TaskRef]:
        """Attempts that may set caps; empty while there is no keeper."""
        return self._runner.privileged() if self._runner is not None else frozenset()

    def read_log(
        self, ref: TaskRef, offset: int, limit_bytes: int, local_rank: int | None = None
    ) -> LogSlice:
        """A piece of an attempt's log, or of one rank's."""
        if self._runner is None:
            return LogSlice(b"", offset, at_end=False, error="the keeper is being restarted")
        return self._runner.read_log(ref, offset, limit_bytes, local_rank)

    def read_record(self, ref: TaskRef) -> RecordParts:
        """The record of an attempt's run."""
        if self._runner is None:
            return RecordParts(b"", b"", error="the keeper is being restarted")
        return self._runner.read_record(ref)

    def fileno(self) -> int | None:
        """Readable when the keeper may have notifications."""
        return self._runner.fileno() if self._runner is not None else None

    @property
    def pid(self) -> int | None:
        """Process number of the keeper; None while there is none."""
        return self._peer_pid()

    def end_if_idle(self) -> None:
        """Ends a keeper that an agent started, with the agent, if it has no attempts.

        One that runs as a separate service was not started here and is left running.
        """
        tasks = self.observe()
        if tasks is None or any(task.phase != "ended" or not task.group_ended for task in tasks):
            return
        pid = self._peer_pid()
        if pid is not None and pid == self._started_pid():
            os.kill(pid, signal.SIGTERM)
            self._pid_file.unlink(missing_ok=True)

    def close(self) -> None:
        """Disconnect; keeper and tasks continue."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None

    def _work_off(self) -> bool:
        """Execute queued orders in turn; False when the keeper has died and the rest waits."""
        while self._waiting and self._runner is not None:
            try:
                self._waiting[0](self._runner)
            except KeeperAbsent as error:
                self._lose(error)
                break
            self._waiting.popleft()
        return not self._waiting

    def _lose(self, error: KeeperAbsent) -> None:
        self._log.error("keeper_lost", error=str(error))
        self.close()
        self._retry_at_s = 0.0

    def _try_again(self) -> None:
        if time.monotonic() < self._retry_at_s or self._connect():
            return
        self._start()
        self._retry_at_s = time.monotonic() + RETRY_S

    def _connect(self) -> bool:
        try:
            self._runner = self._open_runner(self._state_dir)
        except KeeperAbsent:
            return False
        except OSError as error:
            raise self._unusable(error) from error
        self._log.info("keeper_connected")
        return True

    def _start(self) -> None:
        """Start a keeper in a session of its own, unless the last one is still starting."""
        if not self._may_start:
            return
        if self._child is not None and os.waitpid(self._child, os.WNOHANG)[0] == 0:
            return
        self._child = None
        argv = [sys.executable, "-P", "-m", "wattline_agent.keeper"]
        argv += ["--state-dir", str(self._state_dir)]
        null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in range(3)]
        try:
            self._child = os.posix_spawn(
                sys.executable, argv, os.environ, file_actions=null, setsid=True
            )
        except OSError as error:  # this host has no process left now: it is tried again
            self._log.warning("keeper_not_started", error=error.strerror)
            return
        try:
            self._pid_file.write_text(str(self._child), encoding="ascii")
        except OSError as error:
            raise self._unusable(error) from error
        self._log.info("keeper_started", pid=self._child)

    def _unusable(self, error: OSError) -> StateUnusable:
        return StateUnusable(
            f"cannot write {error.filename or self._state_dir}: {error.strerror}; tasks require "
            "a writable state directory with free space"
        )

    def _started_pid(self) -> int | None:
        """Process number of the keeper that this or an earlier agent started here."""
        try:
            return int(self._pid_file.read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            return None

    def _peer_pid(self) -> int | None:
        """Process number of the peer at the keeper's socket, as reported by the kernel."""
        descriptor = self.fileno()
        if descriptor is None:
            return None
        with socket.socket(fileno=os.dup(descriptor)) as peer:
            size = struct.calcsize("3i")
            credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        pid: int = struct.unpack("3i", credentials)[0]
        return pid
