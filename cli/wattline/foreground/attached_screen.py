"""The user's terminal while it is attached to that of a job.

The main thread reads keys and signals; one thread shows output, one sends input, each with one
request under way. The terminal's modes are restored on every way out.
"""

import os
import select
import signal
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

from wattline.client.errors import Busy, Conflict, Unavailable, Unreachable, WattlineError
from wattline.foreground.escape_keys import HELP_TEXT, EscapeKeys, Key
from wattline.foreground.job_terminal import JobTerminal
from wattline.foreground.terminal_modes import TerminalModes
from wattline_protocol.text.visible import visible
from wattline_protocol.wire.task_reports.terminals import MAX_CELLS, WindowSize

MAX_TYPED_BYTES = 64 * 1024
"""Of input that is not sent yet: then no more keys are read."""
READ_BYTES = 4096
RETRY_S = 0.5
LEAVING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""From outside: the keys of the terminal go to the program."""


@dataclass(frozen=True, slots=True)
class Left:
    """How the attachment has ended."""

    over: str
    """ended: the terminal has; detached: by another client; empty: by the user, or a signal."""
    note: str = ""
    signal: int = 0
    error: Exception | None = None


def is_usable() -> bool:
    """Whether this process has a terminal to attach."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def window_size() -> WindowSize:
    """Of the user's terminal."""
    try:
        columns, rows = os.get_terminal_size(sys.stdout.fileno())
    except OSError:
        return WindowSize()
    return WindowSize(min(max(columns, 1), MAX_CELLS), min(max(rows, 1), MAX_CELLS))


class AttachedScreen:
    """Shows the terminal until it ends or the user leaves it."""

    def __init__(self, terminal: JobTerminal) -> None:
        self._terminal = terminal
        self._modes, self._keys = TerminalModes(), EscapeKeys()
        self._typed = bytearray()
        self._typing = threading.Condition()
        self._is_resized = False
        self._gone = threading.Event()
        self._left: Left | None = None
        self._wake, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> Left:
        """Serve; the user's terminal is as before afterwards."""
        threads = [
            threading.Thread(target=self._guarded, args=(work,), daemon=True)
            for work in (self._show, self._type)
        ]
        with _raw(self._restore), self._signals():
            for thread in threads:
                thread.start()
            while self._left is None:
                self._turn()
            left = self._left
            self._gone.set()
            with self._typing:
                self._typing.notify_all()
        if not left.over:
            with suppress(WattlineError):
                self._terminal.detach()
        return left

    def _turn(self) -> None:
        has_room = len(self._typed) < MAX_TYPED_BYTES
        stdin = sys.stdin.fileno()
        ready = select.select([self._wake, *([stdin] if has_room else [])], [], [])[0]
        if self._wake in ready:
            with suppress(BlockingIOError):
                os.read(self._wake, READ_BYTES)
            self._send_size()
        if stdin in ready:
            self._read_keys(stdin)

    def _send_size(self) -> None:
        size = window_size()
        if size != self._terminal.size:
            with self._typing:
                self._terminal.size, self._is_resized = size, True
                self._typing.notify_all()

    def _read_keys(self, stdin: int) -> None:
        try:
            data = os.read(stdin, READ_BYTES)
        except OSError:  # it was closed: SIGHUP follows, or came before
            data = b""
        if not data:
            self._leave(Left("", signal=signal.SIGHUP))
        for one in self._keys.feed(data):
            if one is Key.DETACH:
                self._leave(Left(""))
                return
            if one is Key.HELP:
                self.say(HELP_TEXT)
            elif isinstance(one, bytes):
                with self._typing:
                    self._typed += one
                    self._typing.notify_all()

    def say(self, text: str) -> None:
        """A line of the client itself, on a terminal in raw mode."""
        with suppress(OSError):
            os.write(sys.stderr.fileno(), f"\r\n[{visible(text)}]\r\n".encode())

    def _leave(self, left: Left) -> None:
        """The first reason counts."""
        if self._left is None:
            self._left = left
        self._rouse()

    def _rouse(self) -> None:
        with suppress(BlockingIOError):
            os.write(self._waker, b"!")

    # --- Threads ----------------------------------------------------------------------------

    def _guarded(self, work: Callable[[], None]) -> None:
        """An error is one of the main thread."""
        try:
            work()
        except Exception as error:
            self._leave(Left("", error=error))

    def _show(self) -> None:
        noted = ""
        shown: int | None = None
        while not self._gone.is_set():
            try:
                output = self._terminal.read()
            except Busy:  # sent before the connection was lost, and still under way
                self._gone.wait(RETRY_S)
                continue
            except (Unreachable, Unavailable) as error:
                noted = self._note(str(error), noted)
                self._gone.wait(RETRY_S)
                continue
            except Conflict:  # while the connection was lost
                self._leave(Left("ended", "it has ended meanwhile; its log has the rest"))
                return
            if self._gone.is_set():
                return
            if shown is not None and output.offset > shown and output.data:
                self.say(f"{output.offset - shown} bytes of output are missing; the log has them")
            self._put(output.data)
            shown = output.offset + len(output.data) if output.data else shown
            if output.over:
                self._leave(Left(output.over, output.note))
                return
            noted = self._note(output.note, noted)

    def _note(self, text: str, noted: str) -> str:
        """Says what holds it up once, and when that is over."""
        if text != noted:
            self.say(text or "it continues")
        return text

    def _put(self, data: bytes) -> None:
        self._modes.feed(data)
        with suppress(OSError):  # it was closed: SIGHUP follows
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()

    def _type(self) -> None:
        while True:
            with self._typing:
                while not (self._typed or self._is_resized or self._gone.is_set()):
                    self._typing.wait()
                data, self._is_resized = bytes(self._typed), False
            if self._gone.is_set():
                return
            try:
                taken = self._terminal.write(data)
            except (Unreachable, Unavailable, Busy, Conflict):  # `_show` says why
                self._is_resized = True
                self._gone.wait(RETRY_S)
                continue
            with self._typing:
                del self._typed[:taken]
            self._rouse()

    # --- The user's terminal ----------------------------------------------------------------

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def leave(number: int, _: FrameType | None) -> None:
            self._leave(Left("", signal=number))

        handlers = {**dict.fromkeys(LEAVING, leave), signal.SIGWINCH: lambda *_: self._rouse()}
        before = {number: signal.getsignal(number) for number in handlers}
        for number, handler in handlers.items():
            signal.signal(number, handler)
        try:
            yield
        finally:
            for number, old in before.items():
                signal.signal(number, old)

    def _restore(self) -> int:
        """Returns what becomes of keys that were not read: those for a program that has ended, or
        is another client's now, are not left to the user's shell."""
        self._gone.set()
        with suppress(OSError):
            os.write(sys.stdout.fileno(), self._modes.restoring())
        is_over = self._left is not None and bool(self._left.over)
        return termios.TCSAFLUSH if is_over else termios.TCSADRAIN


@contextmanager
def _raw(restore: Callable[[], int]) -> Iterator[None]:
    """The terminal passes all keys on, and shows output as it is; as before afterwards. `restore`
    returns when its modes take effect (tcsetattr)."""
    stdin = sys.stdin.fileno()
    before = termios.tcgetattr(stdin)
    try:
        tty.setraw(stdin, termios.TCSADRAIN)
        yield
    finally:
        when = restore()
        with suppress(termios.error):
            termios.tcsetattr(stdin, when, before)
