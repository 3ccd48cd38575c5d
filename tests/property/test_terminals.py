"""Terminals: whatever is cut, repeated or lost on the way, bytes arrive once and in order."""

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from wattline.foreground.escape_keys import EscapeKeys, Key
from wattline.foreground.terminal_modes import TerminalModes
from wattline_agent.executor.launchers import terminal
from wattline_agent.executor.launchers.terminal import BadFrame, Frame, FrameReader, TerminalState
from wattline_agent.terminals.attachment import MAX_BUFFERED_BYTES, Attachment
from wattline_protocol.ids import AttemptNo, JobId, TaskNo, TaskRef
from wattline_protocol.wire.task_reports.terminals import (
    MAX_INPUT_BYTES,
    OpenTerminal,
    ReadTerminal,
    TerminalOutput,
    TerminalTaken,
    WindowSize,
    WriteTerminal,
)

KINDS = st.sampled_from(sorted(terminal.KINDS))
FRAMES = st.lists(st.builds(Frame, KINDS, st.integers(0, 2**64 - 1), st.binary(max_size=50)))
REF = TaskRef(JobId(1), TaskNo(0), AttemptNo(1))
SIZE = WindowSize()


@given(FRAMES, st.data())
def test_frames_are_read_however_they_are_cut(frames: list[Frame], data: st.DataObject) -> None:
    stream, reader = b"".join(frame.encoded() for frame in frames), FrameReader()
    found: list[Frame] = []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        found += reader.feed(stream[:cut])
        stream = stream[cut:]
    assert found == frames


class Way:
    """A client, an agent's attachment and a terminal, on which anything may be lost."""

    def __init__(self) -> None:
        self.terminal = TerminalState()
        self.typed = self.shown = b""
        """What the program was typed, and what the client has shown."""
        self.printed = self.wanted = b""
        """What the program has printed, and what the user has typed."""
        self.written = 0
        self.token = "a"
        self.now_s = 0.0
        self.number = 0
        self.attach()

    def attach(self) -> None:
        """After the loss of all between the client and the terminal."""
        opened = OpenTerminal(REF, self.token, SIZE, len(self.shown))
        self.attachment = Attachment(opened, 0, self.now_s)
        first = self.attachment.begin()
        attached = self.terminal.attach(self.token.encode(), first.number)
        self.attachment.receive(attached)
        (done,) = self.attachment.answers(self.now_s)
        assert done.error == ""

    def print(self, data: bytes) -> None:
        if self.terminal.may_read:
            self.terminal.put(data)
            self.printed += data

    def carry(self) -> None:
        """Output from the terminal to the agent, as far as the agent reads."""
        while self.attachment.wants_output and (frame := self.terminal.next_output()):
            self.attachment.receive(frame)
        assert len(self.attachment.output) < MAX_BUFFERED_BYTES + terminal.READ_BYTES

    def read(self, *, is_lost: bool) -> None:
        self.number, self.now_s = self.number + 1, self.now_s + 1.0
        self.attachment.read(self.number, ReadTerminal(self.token, len(self.shown)), self.now_s)
        for done in self.attachment.answers(self.now_s):
            output = done.answer
            if isinstance(output, TerminalOutput) and done.request == self.number and not is_lost:
                assert output.offset == len(self.shown)
                self.shown += output.data

    def write(self, *, is_lost: bool, reaches_terminal: bool) -> None:
        self.number += 1
        piece = self.wanted[self.written :][:MAX_INPUT_BYTES]
        act = WriteTerminal(self.token, self.written, piece, SIZE)
        for frame in self.attachment.write(self.number, act, self.now_s):
            if not reaches_terminal:
                self.attach()
                return
            taken = self.terminal.take(frame.number, frame.data)
            self.typed += bytes(self.terminal.input)
            self.terminal.input.clear()
            self.attachment.receive(taken)
        for done in self.attachment.answers(self.now_s):
            if isinstance(done.answer, TerminalTaken) and not is_lost:
                self.written = done.answer.taken


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("print"), st.binary(min_size=1, max_size=700)),
        st.tuples(st.just("want"), st.binary(min_size=1, max_size=6000)),
        st.tuples(st.sampled_from(["carry", "read", "write", "lose", "cut"]), st.booleans()),
    ),
    max_size=40,
)


@given(STEPS)
def test_each_byte_arrives_once_and_in_order(steps: list[tuple[str, object]]) -> None:
    way = Way()
    for what, with_what in steps:
        match what, with_what:
            case "print", bytes() as data:
                way.print(data)
            case "want", bytes() as data:
                way.wanted += data
            case "carry", _:
                way.carry()
            case "read", bool() as is_lost:
                way.read(is_lost=is_lost)
            case "write", bool() as is_lost:
                way.write(is_lost=is_lost, reaches_terminal=True)
            case "cut", _:
                way.write(is_lost=True, reaches_terminal=False)
            case _:
                way.attach()
        assert way.printed.startswith(way.shown)
        assert way.wanted.startswith(way.typed)
    while len(way.shown) < len(way.printed) or way.written < len(way.wanted):
        before = len(way.shown), way.written
        way.carry()
        way.read(is_lost=False)
        way.write(is_lost=False, reaches_terminal=True)
        assert (len(way.shown), way.written) != before, "nothing moves any more"
    assert (way.shown, way.typed) == (way.printed, way.wanted)


@given(FRAMES)
def test_a_task_that_sends_frames_of_its_own_gets_few_answers_and_holds_little(
    frames: list[Frame],
) -> None:
    attachment = Attachment(OpenTerminal(REF, "a", SIZE, 0), 0, 0.0)
    attachment.read(1, ReadTerminal("a", 0), 0.0)
    attachment.write(2, WriteTerminal("a", 0, b"x", SIZE), 0.0)
    with suppress(BadFrame):
        for frame in frames:
            attachment.receive(frame)
    assert len(attachment.output) <= sum(len(frame.data) for frame in frames)
    assert len(attachment.answers(10.0)) <= 3


def test_an_attachment_continues_for_its_own_attempt_only() -> None:
    attachment = Attachment(OpenTerminal(REF, "a", SIZE, 0), 0, 0.0)
    attachment.receive(TerminalState().attach(b"a", 0))
    other = TaskRef(JobId(1), TaskNo(0), AttemptNo(2))
    assert not attachment.open_again(1, OpenTerminal(other, "a", SIZE, 0), 1.0)
    assert attachment.open_again(2, OpenTerminal(REF, "a", SIZE, 0), 1.0)
    assert [done.request for done in attachment.answers(1.0)] == [0, 2]


@given(st.binary(max_size=80), st.data())
def test_keys_reach_the_program_but_for_those_of_the_client(
    typed: bytes, data: st.DataObject
) -> None:
    keys, found, rest = EscapeKeys(), list[bytes | Key](), typed
    while rest:
        cut = data.draw(st.integers(1, len(rest)))
        found += keys.feed(rest[:cut])
        rest = rest[cut:]
    for_program = b"".join(one for one in found if isinstance(one, bytes))
    if b"~" not in typed:
        assert for_program == typed
    whole = EscapeKeys().feed(typed)
    assert for_program == b"".join(one for one in whole if isinstance(one, bytes))
    assert [k for k in found if isinstance(k, Key)] == [k for k in whole if isinstance(k, Key)]


@given(st.lists(st.tuples(st.sampled_from([1, 7, 25, 1000, 1049, 2004]), st.booleans())), st.data())
def test_modes_that_differ_from_their_defaults_are_restored(
    changes: list[tuple[int, bool]], data: st.DataObject
) -> None:
    modes, state = TerminalModes(), dict.fromkeys([1, 7, 25, 1000, 1049, 2004], False)
    state |= {7: True, 25: True}
    defaults = dict(state)
    stream = "text".join(f"\x1b[?{mode}{'h' if on else 'l'}" for mode, on in changes).encode()
    state |= dict(changes)
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        modes.feed(stream[:cut])
        stream = stream[cut:]
    restoring = modes.restoring()
    for mode, on in state.items():
        sequence = f"\x1b[?{mode}{'h' if defaults[mode] else 'l'}".encode()
        assert (sequence in restoring) == (on != defaults[mode])
