"""Messages about terminals of tasks: a client attaches, reads and writes by offsets.

Each request has one answer, and a client has one read and one write under way, so that nothing on
the way to a task grows (docs/interactive.md).
"""

from typing import Annotated, Literal

import msgspec

from wattline_protocol.ids import JobId, TaskRef
from wattline_protocol.wire.bounds import Count, Sentence, Serial

MAX_INPUT_BYTES = 4 * 1024
MAX_OUTPUT_BYTES = 32 * 1024
"""Of one message."""
MAX_CELLS = 4_096
READ_WITHIN_S = 2.0
"""A read is answered after this time at the latest, even without output."""

Cells = Annotated[int, msgspec.Meta(ge=1, le=MAX_CELLS)]
Token = Annotated[str, msgspec.Meta(max_length=64, pattern=r"\A[0-9A-Za-z]+\Z")]
"""Random name of one client of one user: distinguishes its repeats from other clients."""
Over = Literal["", "ended", "detached"]
Input = Annotated[bytes, msgspec.Meta(max_length=MAX_INPUT_BYTES)]
Output = Annotated[bytes, msgspec.Meta(max_length=MAX_OUTPUT_BYTES)]


class WindowSize(msgspec.Struct, frozen=True, array_like=True):
    """Of a terminal, in characters."""

    columns: Cells = 80
    rows: Cells = 24


# --- Clients ------------------------------------------------------------------------------


class Attach(msgspec.Struct, frozen=True, tag_field="t", tag="attach"):
    """Attach to the terminal of a running job. The same token again continues after `have`."""

    job: Serial[JobId]
    token: Token
    size: WindowSize = WindowSize()
    have: Serial[int] = 0
    """Offset of the first byte of output that the client has not shown; 0 = it has none."""
    is_again: bool = False
    """The client was attached before: it does not take the terminal over from another client."""


class ReadTerminal(msgspec.Struct, frozen=True, tag_field="t", tag="read_terminal"):
    """Output from `offset` on, as soon as there is some."""

    token: Token
    offset: Serial[int]
    limit_bytes: Count[int] = MAX_OUTPUT_BYTES


class WriteTerminal(msgspec.Struct, frozen=True, tag_field="t", tag="write_terminal"):
    """Input, of which the first byte is number `offset` of this token; and the window's size."""

    token: Token
    offset: Serial[int]
    data: Input = b""
    size: WindowSize = WindowSize()


class Detach(msgspec.Struct, frozen=True, tag_field="t", tag="detach"):
    """End the attachment; the job runs on."""

    token: Token


TerminalRequest = Attach | ReadTerminal | WriteTerminal | Detach


class Attached(msgspec.Struct, frozen=True, tag_field="t", tag="attached"):
    """The terminal's output follows from `offset` on; `taken` bytes of input have arrived."""

    ref: TaskRef
    offset: Serial[int]
    taken: Serial[int]


class TerminalOutput(msgspec.Struct, frozen=True, tag_field="t", tag="terminal_output"):
    """Output, perhaps none."""

    data: Output
    offset: Serial[int]
    """Of its first byte."""
    over: Over = ""
    """With these bytes the terminal has ended, or this attachment to it."""
    note: Sentence = ""
    """Why it has ended, or what holds up its input."""


class TerminalTaken(msgspec.Struct, frozen=True, tag_field="t", tag="terminal_taken"):
    """Bytes of input of the token that have arrived."""

    taken: Serial[int]


TerminalAnswer = Attached | TerminalOutput | TerminalTaken


# --- Scheduler and agent ------------------------------------------------------------------


class OpenTerminal(msgspec.Struct, frozen=True, tag_field="t", tag="open_terminal"):
    """Attach to the terminal of an attempt; an attachment of another token ends."""

    ref: TaskRef
    token: Token
    size: WindowSize
    have: Serial[int]


class CloseTerminal(msgspec.Struct, frozen=True, tag_field="t", tag="close_terminal"):
    """End an attachment. Has no answer."""

    token: Token


TerminalAct = OpenTerminal | ReadTerminal | WriteTerminal | CloseTerminal


class TerminalOrder(msgspec.Struct, frozen=True, tag_field="t", tag="terminal_order"):
    """An act on a terminal of the node. Not resent; answered by TerminalDone."""

    request: Serial[int]
    act: TerminalAct


class TerminalDone(msgspec.Struct, frozen=True, tag_field="t", tag="terminal_done"):
    """The answer; None: `error` says why not."""

    request: Serial[int]
    answer: TerminalAnswer | None = None
    error: Sentence = ""
