"""One client's attachment to a terminal: output that it has not read yet, input under way. Pure.

One read and one write of the client are under way; the next one replaces the one before, whose
answer its client no longer waits for. Output is retained until the next read shows that it arrived.
"""

from dataclasses import dataclass, field

from wattline_agent.executor.launchers.terminal import (
    ATTACHED,
    INPUT,
    OUTPUT,
    STATUS,
    TAKEN,
    BadFrame,
    Frame,
    attach_frame,
    resize_frame,
    taken_of,
)
from wattline_protocol.wire.task_reports.terminals import (
    MAX_INPUT_BYTES,
    MAX_OUTPUT_BYTES,
    READ_WITHIN_S,
    Attached,
    OpenTerminal,
    Over,
    ReadTerminal,
    TerminalDone,
    TerminalOutput,
    TerminalTaken,
    WindowSize,
    WriteTerminal,
)

MAX_BUFFERED_BYTES = 2 * MAX_OUTPUT_BYTES
"""Of output; beyond it the terminal is not read, and its program waits."""
MAX_UNDER_WAY_BYTES = 2 * MAX_INPUT_BYTES
"""Of input that the terminal has not taken, as that of a frozen task: the rest is sent again."""
FULL_PIECE_S = 1 / 32
"""Interval after a piece of full size: bounds the bytes per second."""


@dataclass(frozen=True, slots=True)
class _Read:
    request: int
    limit_bytes: int
    until_s: float


@dataclass(slots=True)
class Attachment:
    """State of an attachment. Times are monotonic seconds."""

    opened: OpenTerminal
    open_request: int
    heard_s: float
    """When its client last sent something."""
    size: WindowSize = field(init=False)
    output: bytearray = field(default_factory=bytearray)
    first: int = 0
    """Offset of the first byte of `output`."""
    input_sent: int = 0
    taken: int = 0
    """Bytes of input that the terminal was sent, and that it has taken."""
    over: Over = ""
    note: str = ""
    """Why it has ended, where that is not the terminal's end."""
    is_known: bool = False
    """The terminal has answered."""
    _read: _Read | None = None
    _write_request: int | None = None
    _not_before_s: float = 0.0
    _done: list[TerminalDone] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.size = self.opened.size

    @property
    def wants_output(self) -> bool:
        """Whether the terminal is to be read."""
        return not self.over and len(self.output) < MAX_BUFFERED_BYTES

    def begin(self) -> Frame:
        """The first frame for the terminal."""
        size = self.size
        return attach_frame(self.opened.have, size.columns, size.rows, self.opened.token)

    def open_again(self, request: int, act: OpenTerminal, now_s: float) -> bool:
        """The same client attaches again and continues here. False: it is to another attempt, or
        it lacks output that is no longer here; its terminal has more."""
        if self.over or act.ref != self.opened.ref or (self.is_known and act.have < self.first):
            return False
        self.heard_s, self.open_request = now_s, request
        if self.is_known:
            self._done.append(TerminalDone(request, self._attached(act.have)))
        return True

    def _attached(self, have: int) -> Attached:
        start = have if self.first <= have <= self.first + len(self.output) else self.first
        return Attached(self.opened.ref, start, self.taken)

    def receive(self, frame: Frame) -> None:
        """A frame of the terminal. Raises BadFrame: each one must bring something new, since it may
        be a task that sends them."""
        match frame.kind:
            case kind if kind == ATTACHED and not self.is_known:
                self.first, self.is_known = frame.number, True
                self.input_sent = self.taken = taken_of(frame)
                self._done.append(TerminalDone(self.open_request, self._attached(frame.number)))
            case kind if kind == OUTPUT and frame.data:
                if frame.number != self.first + len(self.output):
                    raise BadFrame(f"output from {frame.number} on")
                self.output += frame.data
            case kind if kind == TAKEN and self.taken < frame.number <= self.input_sent:
                self.taken = frame.number
                if self.taken == self.input_sent:
                    self._answer_write()
            case kind if kind == STATUS:
                self.end("ended")
            case _:
                raise BadFrame(f"kind {frame.kind}")

    def end(self, over: Over, note: str = "") -> None:
        """No more output follows."""
        if not self.over:
            self.over, self.note = over, note
            self._answer_write()
            if not self.is_known:
                error = note or f"the terminal has {over}"
                self._done.append(TerminalDone(self.open_request, error=error))

    def read(self, request: int, act: ReadTerminal, now_s: float) -> None:
        """A read of the client, which has all before `offset`."""
        self._answer_read(b"")
        self.heard_s = now_s
        shown = min(max(act.offset - self.first, 0), len(self.output))
        del self.output[:shown]
        self.first += shown
        limit_bytes = max(1, min(act.limit_bytes, MAX_OUTPUT_BYTES))
        self._read = _Read(request, limit_bytes, now_s + READ_WITHIN_S)

    def write(self, request: int, act: WriteTerminal, now_s: float) -> list[Frame]:
        """Input of the client; returns frames for the terminal. What it has been sent is not sent
        again."""
        self._answer_write()
        self.heard_s = now_s
        if act.offset > self.input_sent:
            text = f"input from {act.offset} on, but {self.input_sent} bytes have arrived"
            self._done.append(TerminalDone(request, error=text))
            return []
        frames = []
        if act.size != self.size:
            self.size = act.size
            frames.append(resize_frame(act.size.columns, act.size.rows))
        under_way = self.input_sent - self.taken
        new = act.data[self.input_sent - act.offset :][: MAX_UNDER_WAY_BYTES - under_way]
        if new:
            frames.append(Frame(INPUT, self.input_sent, new))
            self.input_sent += len(new)
        self._write_request = request
        if self.over or self.taken == self.input_sent:
            self._answer_write()
        return frames

    def answers(self, now_s: float) -> list[TerminalDone]:
        """Answers that are due."""
        read = self._read
        if read is not None:
            data = bytes(self.output[: read.limit_bytes])
            is_due = bool(data) and now_s >= self._not_before_s
            if is_due or now_s >= read.until_s or (self.over and not data):
                self._answer_read(data)
                if len(data) == read.limit_bytes:
                    self._not_before_s = now_s + FULL_PIECE_S
        done, self._done = self._done, []
        return done

    def due_s(self) -> float | None:
        """When the next answer is due without an event; None = no read is under way."""
        if self._read is None:
            return None
        return self._not_before_s if self.output or self.over else self._read.until_s

    def _answer_read(self, data: bytes) -> None:
        read, self._read = self._read, None
        if read is not None:
            is_last = bool(self.over) and len(data) == len(self.output)
            over, note = (self.over, self.note) if is_last else ("", "")
            output = TerminalOutput(data, self.first, over, note)
            self._done.append(TerminalDone(read.request, output))

    def _answer_write(self) -> None:
        request, self._write_request = self._write_request, None
        if request is not None:
            self._done.append(TerminalDone(request, TerminalTaken(self.taken)))
