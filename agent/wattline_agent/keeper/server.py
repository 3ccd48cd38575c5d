"""The keeper's event loop: one thread that waits for children, clients, the warden and deadlines.

Clients exchange lines of JSON over a UNIX socket that only root and the keeper's own user may use:
`{"id": 1, "do": "start", "task": {…}}` is answered by `{"id": 1, "ok": true, …}`. A client that has
sent `subscribe` receives `{"changed": KEY, "view": {…}, "n": 7}` after each change of phase, and
nothing else. The `n` of notifications and of answers to `list` increases: a lower one is older.
"""

import json
import os
import selectors
import signal
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wattline_agent.keeper.attempt import boottime_s
from wattline_agent.keeper.attempt_table import AttemptTable
from wattline_agent.keeper.environment import own_account
from wattline_agent.keeper.life import StopReason
from wattline_agent.keeper.processes.account import can_run_as
from wattline_agent.keeper.processes.cgroup import Site
from wattline_agent.keeper.spec import (
    LOCK_NAME,
    MAX_LINE_BYTES,
    PROTOCOL_VERSION,
    SOCKET_NAME,
    BadRequest,
    ExitRecord,
    check_argv,
    check_key,
    is_seconds,
    parse_spec,
)
from wattline_agent.keeper.starting import Loop
from wattline_agent.keeper.warden import WardenLink, fork_warden

MAX_CLIENTS = 16
MAX_UNSENT_BYTES = 2 * MAX_LINE_BYTES
"""A client that does not read is disconnected at this backlog."""
MAX_WAIT_S = 1.0
"""Longest sleep: epoll does not count suspended time, so deadlines are checked this often."""
SHUTDOWN_GRACE_S = 10.0
"""Grace period of tasks when the keeper itself ends on SIGTERM."""
RECEIVE_BYTES = 256 * 1024


class StateDirGone(Exception):
    """The state directory was deleted or replaced: no agent can find this keeper any more."""


class Ending(Exception):
    """This keeper is ending and starts no attempt; the next one will."""


@dataclass
class Client:
    """One connection."""

    link: socket.socket
    received: bytearray = field(default_factory=bytearray)
    unsent: bytearray = field(default_factory=bytearray)
    is_subscribed: bool = False
    is_full: bool = False
    """The client has not read all that was sent; the rest is sent when it does."""


class Server:
    """Everything the keeper process does once its socket is open."""

    def __init__(
        self,
        state_dir: Path,
        site: Site,
        ended: Mapping[str, ExitRecord],
        listener: socket.socket,
        lock: int,
        log: Callable[[str], None],
    ) -> None:
        """`lock`: descriptor of the lock, which this process holds."""
        self._state_dir = state_dir
        self._lock = lock
        self._site = site
        self._log = log
        self._listener = listener
        self._clients: dict[int, Client] = {}
        self._is_ending = self._is_warden_due = False
        self._notified = 0
        self._selector = selectors.DefaultSelector()
        self._wake, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        loop = Loop(self._watch, self._forget)
        self._table = AttemptTable(state_dir, site, ended, self._notify_changed, loop, log)
        self._verbs = self._make_verbs()

    def run(self) -> None:
        """Serve until the end is requested and no task is left.

        Raises StateDirGone: the warden then ends all tasks, as the next keeper would not know that
        they run, and the scheduler would start them a second time.
        """
        self._catch_signals()
        self._start_warden()
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._wake, selectors.EVENT_READ, self._signalled)
        while not (self._is_ending and not self._table.living()):
            for entry, _ in self._selector.select(self._wait_s()):
                entry.data()
            if self._is_warden_due:
                self._replace_warden()
            self._table.tick()
            self._flush_all()
            self._check_place()
        self._flush_all()
        for client in list(self._clients.values()):
            self._drop_client(client)

    def _watch(self, descriptor: int, call: Callable[[], None]) -> None:
        self._selector.register(descriptor, selectors.EVENT_READ, call)

    def _forget(self, descriptor: int) -> None:
        self._selector.unregister(descriptor)

    def _check_place(self) -> None:
        """Raises StateDirGone where the lock is not where the next keeper would look for it."""
        path = self._state_dir / LOCK_NAME
        try:
            is_ours = os.path.samestat(path.stat(), os.fstat(self._lock))
        except (FileNotFoundError, NotADirectoryError):
            is_ours = False
        except OSError:  # a disk that fails now has deleted nothing
            return
        if not is_ours:
            raise StateDirGone(f"{path} was deleted or replaced: ending all tasks")

    def _wait_s(self) -> float:
        due = self._table.next_s()
        return MAX_WAIT_S if due is None else min(max(0.0, due - boottime_s()), MAX_WAIT_S)

    # --- Signals and children -----------------------------------------------------------

    def _catch_signals(self) -> None:
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _signalled(self) -> None:
        numbers = set(os.read(self._wake, 4096))
        self._table.reap()
        if numbers & {signal.SIGTERM, signal.SIGINT} and not self._is_ending:
            self._is_ending = True
            self._log("stopping: ending all tasks")
            reason = StopReason("", "the node's keeper is stopping")
            for key in self._table.living():
                self._table.stop(key, SHUTDOWN_GRACE_S, reason)

    def _start_warden(self) -> None:
        private = [self._listener.fileno(), self._wake, self._waker]
        private += self._table.pipes()
        private += [client.link.fileno() for client in self._clients.values()]
        pid, line = fork_warden(self._state_dir, private)
        warden = WardenLink(line)
        self._selector.register(line, selectors.EVENT_READ, lambda: self._hear_warden(warden))
        self._table.hand_over_all(warden, pid)

    def _hear_warden(self, warden: WardenLink) -> None:
        answers = warden.answers()
        if answers is not None:
            for key, error in answers:
                self._table.written(key, error)
            return
        self._log("the warden died: starting another")
        self._selector.unregister(warden.line)
        warden.line.close()
        self._table.reap()
        self._replace_warden()

    def _replace_warden(self) -> None:
        """Try again in the next turn where this host has no process left for it: until then no end
        is recorded, and tasks whose output pipe is full wait."""
        was_due, self._is_warden_due = self._is_warden_due, False
        try:
            self._start_warden()
        except OSError as error:
            self._is_warden_due = True
            if not was_due:
                self._log(f"no warden can be started: {error.strerror}")

    # --- Clients ------------------------------------------------------------------------

    def _accept(self) -> None:
        link, _ = self._listener.accept()
        peer = struct.unpack("3i", link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if peer[1] not in (0, os.geteuid()) or len(self._clients) >= MAX_CLIENTS:
            self._log(f"refused a connection of user {peer[1]}, process {peer[0]}")
            link.close()
            return
        link.setblocking(False)
        client = self._clients[link.fileno()] = Client(link)
        self._selector.register(link, selectors.EVENT_READ, lambda: self._serve(client))

    def _drop_client(self, client: Client) -> None:
        if self._clients.pop(client.link.fileno(), None) is not None:
            self._selector.unregister(client.link)
            client.link.close()

    def _serve(self, client: Client) -> None:
        """Handle a socket that is ready to read or write. Output is sent at the end of the loop's
        turn, answers and notifications together: the client wakes once."""
        try:
            data = client.link.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop_client(client)
            return
        client.received += data
        while (end := client.received.find(b"\n")) >= 0:
            line = bytes(client.received[:end])
            del client.received[: end + 1]
            self._send(client, self._answer(client, line))
        if len(client.received) > MAX_LINE_BYTES:
            self._log("dropped a client: its request is too long")
            self._drop_client(client)

    def _send(self, client: Client, message: dict[str, Any]) -> None:
        client.unsent += json.dumps(message).encode() + b"\n"
        if len(client.unsent) > MAX_UNSENT_BYTES:
            self._log("dropped a client that does not read")
            self._drop_client(client)

    def _flush_all(self) -> None:
        """Notifications first: a client that has the answer to a thaw already has its effect."""
        for client in sorted(self._clients.values(), key=lambda client: not client.is_subscribed):
            if client.unsent or client.is_full:
                self._flush(client)

    def _flush(self, client: Client) -> None:
        try:
            while client.unsent:
                del client.unsent[: client.link.send(client.unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self._drop_client(client)
            return
        if client.is_full != bool(client.unsent):
            client.is_full = bool(client.unsent)
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.is_full else 0)
            self._selector.modify(client.link, events, self._selector.get_key(client.link).data)

    def _notify_changed(self, key: str, view: dict[str, Any]) -> None:
        self._notified += 1
        for client in list(self._clients.values()):
            if client.is_subscribed:
                self._send(client, {"changed": key, "view": view, "n": self._notified})

    # --- Requests -----------------------------------------------------------------------

    def _answer(self, client: Client, line: bytes) -> dict[str, Any]:
        request: Any = None
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise BadRequest("a request must be a map")
            if request.get("do") == "subscribe":
                client.is_subscribed = True
                result: dict[str, Any] = {}
            else:
                result = self._do(request)
        except Ending as error:
            return {"id": request.get("id"), "ok": False, "error": str(error), "ending": True}
        except (ValueError, KeyError, TypeError, RecursionError, OSError) as error:
            number = request.get("id") if isinstance(request, dict) else None
            words = f"no {error}" if isinstance(error, KeyError) else str(error)
            return {"id": number, "ok": False, "error": words}
        return {"id": request.get("id"), "ok": True, **result}

    def _do(self, request: dict[str, Any]) -> dict[str, Any]:
        verb = self._verbs.get(str(request.get("do")))
        if verb is None:
            raise BadRequest(f"{request.get('do')!r} is none of {', '.join(sorted(self._verbs))}")
        return verb(request) or {}

    def _make_verbs(self) -> dict[str, Callable[[dict[str, Any]], dict[str, Any] | None]]:
        table = self._table

        def key(request: dict[str, Any]) -> str:
            return check_key(request["key"])

        def asked(request: dict[str, Any]) -> StopReason:
            return StopReason(str(request["kind"] or ""), str(request["why"]))

        return {
            "start": self._start,
            "stop": lambda r: table.stop(key(r), _seconds(r["grace_s"]), asked(r)),
            "limit": lambda r: table.limit(key(r), _seconds(r["runtime_limit_s"])),
            "kill": lambda r: table.kill(key(r), asked(r)),
            "freeze": lambda r: table.freeze(key(r)),
            "helper": lambda r: table.help(key(r), check_argv(r["argv"])),
            "thaw": lambda r: table.thaw(key(r)),
            "lease": lambda r: table.lease(key(r), _seconds(r["until_s"])),
            "renew": lambda r: table.renew(_seconds(r["until_s"])),
            "drop": lambda r: table.drop([check_key(one) for one in r["keys"]]),
            "list": self._list,
            "status": self._status,
            "exit": self._exit,
        }

    def _start(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._is_ending:
            raise Ending("the keeper is stopping and starts no tasks")
        return {"view": self._table.start(parse_spec(request["task"]))}

    def _list(self, _: dict[str, Any]) -> dict[str, Any]:
        self._notified += 1
        return {"tasks": self._table.views(), "n": self._notified}

    def _status(self, _: dict[str, Any]) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "protocol": PROTOCOL_VERSION,
            "cgroup": self._site.words,
            "can_run_as": can_run_as(),
            "account": own_account(),
        }

    def _exit(self, _: dict[str, Any]) -> None:
        living = self._table.living()
        if living:
            raise BadRequest(f"tasks are alive: {len(living)}, {living[0]} among them")
        self._is_ending = True


def _seconds(value: object) -> float:
    if is_seconds(value):
        return float(value)
    raise BadRequest(f"{value!r:.100} is not a time in seconds")


def listen(state_dir: Path) -> socket.socket:
    """Open the keeper's socket, mode 0600, replacing one that a dead keeper left."""
    (state_dir / SOCKET_NAME).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    folder = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    before = os.umask(0o177)
    try:  # via the descriptor, because a socket path is limited to 107 characters
        listener.bind(f"/proc/self/fd/{folder}/{SOCKET_NAME}")
    finally:
        os.umask(before)
        os.close(folder)
    listener.listen(MAX_CLIENTS)
    listener.setblocking(False)
    return listener
