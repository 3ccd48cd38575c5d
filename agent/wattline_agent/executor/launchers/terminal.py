"""Runs a command on a pseudo-terminal, and serves the terminal to one client at a time.

The agent puts it in front of the command: `terminal.py COMMAND…`. It runs as the account of the
task. It copies the output to its own standard output, which is the log of the task, and retains the
newest part for clients: the agent connects to `.wattline-terminal` in the task's directory. It ends
as the command has ended.

Theory of operation. Output and input are numbered by bytes. A client names the first byte of output
that it lacks; what it sends again of its input is ignored. Where a client does not read, the
terminal is not read, and its program waits; without a client nothing waits.

Standard library only, one file, Python 3.9 or later: it runs isolated, and without this package.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import socket
import struct
import sys
import termios
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, NoReturn

MARKER = "WATTLINE_TASK_DIR"
SOCKET_NAME = ".wattline-terminal"
RETAINED_BYTES = 256 * 1024
"""Bytes of output retained for a client that lost its connection."""
REPLAYED_BYTES = 32 * 1024
"""Bytes of that which a new client gets."""
WINDOW_BYTES = 64 * 1024
"""Output that was read from the terminal and not sent to the client."""
MAX_INPUT_BYTES = 16 * 1024
"""Input that the terminal does not take: further input stays in the socket."""
READ_BYTES = 16 * 1024
LAST_READS = 4
"""More than a pseudo-terminal holds, 8 KiB, and less than is retained."""
CLOSED_POLL_MS = 200
FAREWELL_S = 2.0
"""Time that a client has to read the rest, which is in the log."""
NOT_FOUND_STATUS, NOT_EXECUTABLE_STATUS = 127, 126
SIGNALED_STATUS = 128
PYTHON_IGNORES = (signal.SIGPIPE, signal.SIGXFSZ)
IGNORED = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGPIPE)
"""Ignored rather than handled: the keeper sends one to the topmost programs that handle it."""

# --- Frames -------------------------------------------------------------------------------

_HEAD = struct.Struct(">BQI")
_SIZE = struct.Struct(">HH")
_COUNT = struct.Struct(">Q")
MAX_FRAME_BYTES = 64 * 1024
ATTACH, INPUT, RESIZE = 1, 2, 3
"""From the client: an offset of output, window and token; an offset of input, bytes; window."""
ATTACHED, OUTPUT, TAKEN, STATUS = 11, 12, 13, 14
"""To it: where the output begins, input that has arrived; offset, bytes; input that has arrived;
exit status."""
KINDS = frozenset((ATTACH, INPUT, RESIZE, ATTACHED, OUTPUT, TAKEN, STATUS))


class Frame(NamedTuple):
    """A message on the socket."""

    kind: int
    number: int
    """Offset, count or status."""
    data: bytes = b""

    def encoded(self) -> bytes:
        """Its bytes."""
        return _HEAD.pack(self.kind, self.number, len(self.data)) + self.data


class BadFrame(ValueError):
    """Bytes that are no frame."""


class FrameReader:
    """Frames in a stream of bytes."""

    def __init__(self) -> None:
        self._received = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Frames that are complete with these bytes. Raises BadFrame."""
        self._received += data
        found, at = [], 0
        while len(self._received) - at >= _HEAD.size:
            kind, number, size = _HEAD.unpack_from(self._received, at)
            if kind not in KINDS or size > MAX_FRAME_BYTES:
                raise BadFrame(f"kind {kind} with {size} bytes")
            end = at + _HEAD.size + size
            if end > len(self._received):
                break
            found.append(Frame(kind, number, bytes(self._received[at + _HEAD.size : end])))
            at = end
        del self._received[:at]
        return found


def attach_frame(have: int, columns: int, rows: int, token: str) -> Frame:
    """The first frame of a client."""
    return Frame(ATTACH, have, _SIZE.pack(columns, rows) + token.encode())


def resize_frame(columns: int, rows: int) -> Frame:
    """The size of its window."""
    return Frame(RESIZE, 0, _SIZE.pack(columns, rows))


def taken_of(attached: Frame) -> int:
    """Bytes of input that have arrived, of an ATTACHED. Raises BadFrame."""
    if len(attached.data) != _COUNT.size:
        raise BadFrame("no count")
    taken: int = _COUNT.unpack(attached.data)[0]
    return taken


# --- State --------------------------------------------------------------------------------


@dataclass
class TerminalState:
    """Output that is retained, input that is under way, and what the client has of both. Pure."""

    retained: bytearray = field(default_factory=bytearray)
    end: int = 0
    """Bytes of output so far."""
    sent: int = 0
    """Bytes of output that the client was sent."""
    token: bytes = b""
    taken: int = 0
    """Bytes of input that have arrived of the token."""
    input: bytearray = field(default_factory=bytearray)
    is_attached: bool = False

    @property
    def may_read(self) -> bool:
        """Whether more output may be read: a client that does not read makes its program wait."""
        return not self.is_attached or self.end - self.sent < WINDOW_BYTES

    @property
    def may_take(self) -> bool:
        """Whether more input may be received."""
        return len(self.input) < MAX_INPUT_BYTES

    def put(self, data: bytes) -> None:
        """Output of the program."""
        self.retained += data
        self.end += len(data)
        del self.retained[: max(0, len(self.retained) - RETAINED_BYTES)]

    def attach(self, token: bytes, have: int) -> Frame:
        """A client: the same token continues, another one begins. Returns ATTACHED."""
        oldest = self.end - len(self.retained)
        if token != self.token:
            self.token, self.taken = token, 0
        if have == 0 or have > self.end:
            have = self._first_replayed(oldest)
        self.sent, self.is_attached = max(have, oldest), True
        return Frame(ATTACHED, self.sent, _COUNT.pack(self.taken))

    def _first_replayed(self, oldest: int) -> int:
        """Begins after a line feed, so as not to begin inside an escape sequence."""
        start = max(oldest, self.end - REPLAYED_BYTES)
        if start == 0:
            return 0
        line_end = self.retained.find(b"\n", start - oldest)
        return start if line_end < 0 else oldest + line_end + 1

    def detach(self) -> None:
        """The client has disconnected."""
        self.is_attached = False

    def take(self, offset: int, data: bytes) -> Frame:
        """Input from an offset on, without what has arrived before. Returns TAKEN; raises BadFrame
        where bytes before it are missing."""
        if offset > self.taken:
            raise BadFrame(f"input from {offset} on, after {self.taken} bytes")
        new = data[self.taken - offset :]
        self.input += new
        self.taken += len(new)
        return Frame(TAKEN, self.taken)

    def next_output(self) -> Frame | None:
        """The next piece for the client; None = it has all."""
        oldest = self.end - len(self.retained)
        self.sent = max(self.sent, oldest)
        at = self.sent - oldest
        if not self.is_attached or at >= len(self.retained):
            return None
        piece = bytes(self.retained[at : at + READ_BYTES])
        frame = Frame(OUTPUT, self.sent, piece)
        self.sent += len(piece)
        return frame


# --- Processes and descriptors ------------------------------------------------------------


def main(argv: list[str]) -> None:
    """Run the command; ends as it has ended."""
    if len(argv) < 2:
        sys.exit("terminal: no command")
    try:
        listener = _listen(os.environ.get(MARKER, "."))
        pid, master = pty.fork()
    except OSError as error:
        sys.exit(f"terminal: this node has none for the task: {error}")
    if pid == 0:
        listener.close()
        _become(argv[1:])
    _set_size(master, 80, 24)
    status = Terminal(pid, master, listener).run()
    _end_as(status)


def _become(command: list[str]) -> NoReturn:
    os.environ.setdefault("TERM", "xterm-256color")
    for number in PYTHON_IGNORES:
        signal.signal(number, signal.SIG_DFL)
    status = NOT_EXECUTABLE_STATUS
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell wanted
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            status = NOT_FOUND_STATUS
        os.write(2, f"terminal: {command[0]}: {error.strerror}\r\n".encode())
    finally:
        os._exit(status)


def _end_as(status: int) -> NoReturn:
    """`status` as of `os.waitstatus_to_exitcode`."""
    if status < 0:
        number = -status
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    sys.exit(status if status >= 0 else SIGNALED_STATUS - status)


def _listen(folder: str) -> socket.socket:
    """The socket in the task's directory, for this account and root; it listens when it gets its
    name."""
    path, unnamed = f"{folder}/{SOCKET_NAME}", f"{folder}/{SOCKET_NAME}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(unnamed)  # noqa: PTH108 - one way of naming it
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    before = os.umask(0o177)
    try:  # via the descriptor, because a socket path is limited to 107 characters
        listener.bind(f"/proc/self/fd/{place}/{SOCKET_NAME}.new")
    finally:
        os.umask(before)
        os.close(place)
    listener.listen(1)
    os.rename(unnamed, path)  # noqa: PTH104
    return listener


def _set_size(master: int, columns: int, rows: int) -> None:
    with contextlib.suppress(OSError):
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


class Terminal:
    """The loop: the command's terminal, its log, and the client."""

    def __init__(self, pid: int, master: int, listener: socket.socket) -> None:
        self._pid, self._master, self._listener = pid, master, listener
        self._state = TerminalState()
        self._client: socket.socket | None = None
        self._frames = FrameReader()
        self._unsent = bytearray()
        self._unlogged = bytearray()
        self._size = b""
        self._is_closed = False
        """No process had the terminal open a moment ago."""
        self._wake, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        os.set_blocking(master, False)
        os.set_blocking(1, False)

    def run(self) -> int:
        """Serve until the command has ended; returns its status."""
        signal.set_wakeup_fd(self._waker)
        for number in IGNORED:
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: self._hang_up())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        status = self._ended()
        while status is None:
            self._turn()
            status = self._ended()
        self._read_rest()
        self._say_farewell(status)
        return status

    def _ended(self) -> int | None:
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None

    def _turn(self) -> None:
        state, client = self._state, self._client
        frame = state.next_output() if len(self._unsent) < READ_BYTES else None
        if frame is not None:
            self._unsent += frame.encoded()
        may_read = state.may_read and not self._unlogged
        may_take = state.may_take and len(self._unsent) < WINDOW_BYTES
        ready = self._wait(may_read=may_read, may_take=may_take)
        if self._wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake, 512)
        if self._listener.fileno() in ready:
            self._accept()
        if ready.get(self._master, 0) & select.POLLIN:
            self._read_output()
        if ready.get(self._master, 0) & select.POLLOUT:
            self._write_input()
        if self._unlogged:
            self._log()
        if client is not None and client is self._client and client.fileno() in ready:
            self._serve(ready[client.fileno()])

    def _wait(self, *, may_read: bool, may_take: bool) -> dict[int, int]:
        """Descriptors that are ready, and for what."""
        poller = select.poll()
        poller.register(self._wake, select.POLLIN)
        poller.register(self._listener, select.POLLIN)
        wanted = _wanted(read=may_read, write=bool(self._state.input))
        if wanted and not self._is_closed:
            poller.register(self._master, wanted)
        if self._unlogged:
            poller.register(1, select.POLLOUT)
        if self._client is not None:
            poller.register(self._client, _wanted(read=may_take, write=bool(self._unsent)))
        ready = dict(poller.poll(CLOSED_POLL_MS if self._is_closed else None))
        # No process has the terminal open: it is ready at all times, and one may open it again.
        events = ready.get(self._master, 0)
        self._is_closed = bool(events & select.POLLHUP) and not events & select.POLLIN
        return ready

    # --- The command ------------------------------------------------------------------------

    def _read_output(self) -> bool:
        """Read what the terminal has; False = nothing, or no process has it open any more."""
        try:
            data = os.read(self._master, READ_BYTES)
        except OSError:  # EIO: the last process has closed it; EAGAIN
            data = b""
        if data:
            self._state.put(data)
            self._unlogged += data
        return bool(data)

    def _read_rest(self) -> None:
        """What the terminal still has; another process may write to it without end."""
        left = LAST_READS
        while self._read_output() and left:
            self._log(is_last=True)
            left -= 1
        self._log(is_last=True)

    def _write_input(self) -> None:
        state = self._state
        try:
            del state.input[: os.write(self._master, state.input)]
        except BlockingIOError:
            return
        except OSError:  # no process has the terminal open
            state.input.clear()

    def _log(self, *, is_last: bool = False) -> None:
        """Standard output is not read while the disk stalls: then the terminal is not read."""
        if is_last:
            os.set_blocking(1, True)
        try:
            while self._unlogged:
                del self._unlogged[: os.write(1, self._unlogged)]
        except BlockingIOError:
            return
        except OSError:  # nothing reads it any more
            self._unlogged.clear()

    def _hang_up(self) -> None:
        """A stop: the command has its SIGTERM from the keeper. One that ignores it, as interactive
        shells do, gets SIGHUP, as when a terminal is closed."""
        if _ignores(self._pid, signal.SIGTERM):
            for number in (signal.SIGHUP, signal.SIGCONT):
                with contextlib.suppress(OSError):
                    os.kill(self._pid, number)

    # --- The client -------------------------------------------------------------------------

    def _accept(self) -> None:
        """A new client replaces the one before."""
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        peer = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if peer[1] not in (0, os.geteuid()):
            client.close()
            return
        self._drop_client()
        client.setblocking(False)
        self._client, self._frames = client, FrameReader()

    def _drop_client(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
        self._unsent.clear()
        self._state.detach()

    def _serve(self, events: int) -> None:
        client = self._client
        assert client is not None  # noqa: S101 - only called with one
        try:
            if events & (select.POLLIN | select.POLLHUP | select.POLLERR):
                data = client.recv(READ_BYTES)
                if not data:
                    self._drop_client()
                    return
                for frame in self._frames.feed(data):
                    self._take(frame)
            if self._unsent:
                del self._unsent[: client.send(self._unsent)]
        except BlockingIOError:
            return
        except (OSError, BadFrame, struct.error):
            self._drop_client()

    def _take(self, frame: Frame) -> None:
        if frame.kind == ATTACH:
            token = frame.data[_SIZE.size :]
            self._unsent += self._state.attach(token, frame.number).encoded()
            self._resize(frame.data[: _SIZE.size], is_new=True)
        elif frame.kind == INPUT and self._state.is_attached:
            self._unsent += self._state.take(frame.number, frame.data).encoded()
            self._write_input()
        elif frame.kind == RESIZE:
            self._resize(frame.data)

    def _resize(self, size: bytes, *, is_new: bool = False) -> None:
        """The kernel signals a change of the size; a new client is to be drawn for in any case."""
        columns, rows = _SIZE.unpack(size)
        if size != self._size:
            self._size = size
            _set_size(self._master, columns, rows)
        elif is_new:
            with contextlib.suppress(OSError):
                os.killpg(os.tcgetpgrp(self._master), signal.SIGWINCH)

    def _say_farewell(self, status: int) -> None:
        """Send the client what it lacks, and the status."""
        client = self._client
        if client is None or not self._state.is_attached:
            return
        client.settimeout(FAREWELL_S)
        shown = status if status >= 0 else SIGNALED_STATUS - status
        with contextlib.suppress(OSError):
            while (frame := self._state.next_output()) is not None:
                self._unsent += frame.encoded()
            client.sendall(bytes(self._unsent) + Frame(STATUS, shown).encoded())
            client.close()


def _wanted(*, read: bool, write: bool) -> int:
    return (select.POLLIN if read else 0) | (select.POLLOUT if write else 0)


def _ignores(pid: int, number: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    masks = [line.split()[1] for line in status.splitlines() if line.startswith("SigIgn:")]
    return bool(masks) and bool(int(masks[0], 16) >> (number - 1) & 1)


if __name__ == "__main__":
    main(sys.argv)
