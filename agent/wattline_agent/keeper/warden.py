"""Warden, the keeper's second process: writes the tasks' logs, and ends tasks if the keeper dies.

It has two duties that must not depend on the keeper's loop. Disk writes may stall (logs, and the
synced exit records), and task leases must be enforced all the same. And when the keeper is killed,
the kernel ends each task's first process only (PR_SET_PDEATHSIG), so the warden ends the rest at
once. It holds the keeper's lock meanwhile: a successor waits until no process of its predecessor is
left.
"""

import json
import os
import selectors
import signal
import socket
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from wattline_agent.keeper import spawn
from wattline_agent.keeper.journal import Fact, Journal
from wattline_agent.keeper.logfile import LogWriter
from wattline_agent.keeper.processes import tree
from wattline_agent.keeper.processes.cgroup import Group
from wattline_agent.keeper.spec import ENDS_FILE

CHUNK_BYTES = 64 * 1024
MAX_PACKET_BYTES = 64 * 1024
MAX_DROPPED = 256
"""Maximum of dropped keys in one message."""
LAST_KILL_S = 5.0
"""How long the warden keeps killing after the keeper's death; a process that still exists then
hangs in the kernel."""
SCAN_PERIOD_S = 0.02


@dataclass
class Stream:
    """One task's output."""

    folder: str
    pid: int
    cgroup: str
    pipe: int
    writer: LogWriter

    def drain(self, limit_bytes: int) -> bool:
        """Move what is in the pipe to the log; False once no process has its other end open."""
        while limit_bytes > 0:
            try:
                data = os.read(self.pipe, CHUNK_BYTES)
            except BlockingIOError:
                return True
            if not data:
                return False
            self.writer.write(data)
            limit_bytes -= len(data)
        return True


class Warden:
    """The warden's loop. Runs in its own process, forked from the keeper."""

    def __init__(self, keeper: socket.socket, ends: Journal) -> None:
        self._keeper = keeper
        self._ends = ends
        self._streams: dict[str, Stream] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(keeper, selectors.EVENT_READ, None)

    def run(self) -> None:
        """Run until the keeper has ended and no process of its tasks is left."""
        while True:
            for entry, _ in self._selector.select():
                if entry.data is None:
                    if not self._obey():
                        self._end_tasks()
                        return
                else:
                    self._drain(entry.data)

    def _drain(self, stream: Stream) -> None:
        if stream.pipe >= 0 and not stream.drain(CHUNK_BYTES):
            self._selector.unregister(stream.pipe)
            os.close(stream.pipe)
            stream.pipe = -1

    def _obey(self) -> bool:
        """Handle all packets from the keeper; False when the keeper has closed the line."""
        finished: list[dict[str, Any]] = []
        is_there = True
        while is_there and self._has_packet():
            data, descriptors, _, _ = socket.recv_fds(self._keeper, MAX_PACKET_BYTES, 1)
            is_there = bool(data)
            request = json.loads(data) if data else {}
            if request.get("do") == "open":
                self._open(request, descriptors[0])
            elif data:
                finished.append(request)
        if finished:
            self._finish(finished)
        return is_there

    def _has_packet(self) -> bool:
        """Whether a packet, or the end, has arrived: `recv_fds` itself would block."""
        try:
            self._keeper.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        return True

    def _open(self, request: dict[str, Any], pipe: int) -> None:
        folder = request["folder"]
        os.set_blocking(pipe, False)
        writer = LogWriter(f"{folder}.", request["limit_bytes"])
        stream = Stream(folder, request["pid"], request["cgroup"], pipe, writer)
        self._streams[request["key"]] = stream
        self._selector.register(pipe, selectors.EVENT_READ, stream)

    def _finish(self, requests: list[dict[str, Any]]) -> None:
        """Write what is left in the pipes, then the exit records; later writes to the pipes are
        lost. Repeated when a record could not be written or the answer is late."""
        facts: list[Fact] = []
        for request in requests:
            stream = self._streams.pop(request["key"], None)
            if stream is not None:
                self._close(stream)
            facts += [(key, None) for key in request["dropped"]]
            facts.append((request["key"], json.dumps(request["end"]).encode()))
        problem = ""
        try:
            self._ends.put(facts)
        except OSError as error:
            problem = str(error)
        answers = [(request["key"], problem) for request in requests]
        self._keeper.send(json.dumps(answers).encode())

    def _close(self, stream: Stream) -> None:
        if stream.pipe >= 0:
            stream.drain(16 * 1024 * 1024)
            self._selector.unregister(stream.pipe)
            os.close(stream.pipe)
            stream.pipe = -1
        stream.writer.close()

    def _end_tasks(self) -> None:
        """After the keeper's death: kill all remaining task processes, then save their output."""
        identities = {
            key: tree.Identity(stream.pid, tree.marker_of(stream.folder))
            for key, stream in self._streams.items()
        }
        groups = [Group(s.cgroup) for s in self._streams.values() if s.cgroup]
        kill_all(identities, groups, time.monotonic() + LAST_KILL_S)
        for stream in self._streams.values():
            self._close(stream)
        for parent in {Path(group.path).parent for group in groups}:
            Group(str(parent)).remove()


def kill_all(identities: dict[str, tree.Identity], groups: list[Group], until_s: float) -> set[int]:
    """Send SIGKILL to all processes with these identities or in these groups, anywhere on the host,
    until none is found or the monotonic time `until_s` passes. Returns the processes left."""
    while True:
        for group in groups:
            group.kill()
        table = tree.all_processes()
        left: set[int] = set()
        for processes in tree.members(table, identities, table).values():
            left |= {process.pid for process in processes}
        for group in groups:
            left |= {p for p in group.pids() if p in table and not table[p].is_dead}
        left -= {os.getpid()}
        if not left or time.monotonic() >= until_s:
            break
        for process in tree.parents_first(table[pid] for pid in left):
            send_signal(process.pid, signal.SIGKILL)
        time.sleep(SCAN_PERIOD_S)
    for group in groups:
        group.remove()
    return left


def send_signal(pid: int, number: int) -> None:
    """Signal a process. One that has ended is ignored, and so is one of another user, which is
    reported as left over."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def fork_warden(state_dir: Path, close_in_child: list[int]) -> tuple[int, socket.socket]:
    """Start the warden. Returns its process number and the keeper's end of the line to it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        ours.close()
        _be_warden(state_dir, theirs, close_in_child)
    theirs.close()
    return pid, ours


def _be_warden(state_dir: Path, keeper: socket.socket, close: list[int]) -> NoReturn:
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # it ends when the keeper has ended
        for descriptor in close:
            os.close(descriptor)
        spawn.prctl(spawn.PR_SET_NAME, b"wattline-warden")
        Warden(keeper, Journal(state_dir / ENDS_FILE, is_synced=True)).run()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


class WardenLink:
    """The keeper's side of the line to the warden: never blocks."""

    def __init__(self, line: socket.socket) -> None:
        self.line = line
        self._dropped: list[str] = []
        line.setblocking(False)

    def open(
        self, key: str, folder: str, pid: int, cgroup: str, limit_bytes: int, pipe: int
    ) -> None:
        """Hand a task's output over. Raises OSError when the warden does not respond."""
        packet = {
            "do": "open",
            "key": key,
            "folder": folder,
            "pid": pid,
            "cgroup": cgroup,
            "limit_bytes": limit_bytes,
        }
        socket.send_fds(self.line, [json.dumps(packet).encode()], [pipe])

    def finish(self, key: str, end: object) -> None:
        """Request that the rest of the log and the exit record be written; `answers` reports when.
        Raises OSError when the warden does not respond."""
        dropped = self._dropped[:MAX_DROPPED]
        packet = {"do": "finish", "key": key, "end": end, "dropped": dropped}
        self.line.send(json.dumps(packet).encode())
        del self._dropped[: len(dropped)]

    def drop(self, keys: list[str]) -> None:
        """Drop exit records; sent with the next request, as it is not urgent."""
        self._dropped += keys

    def answers(self) -> list[tuple[str, str]] | None:
        """(key, error) of attempts whose exit record is on disk (no error) or could not be written;
        None when the warden has died."""
        found: list[tuple[str, str]] = []
        while True:
            try:
                data = self.line.recv(MAX_PACKET_BYTES)
            except BlockingIOError:
                return found
            except ConnectionResetError:
                return None
            if not data:
                return None
            found += [(key, error) for key, error in json.loads(data)]
