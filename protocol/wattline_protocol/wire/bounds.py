"""Bounds of all message fields: numbers, texts, bytes and sequences, as annotated types.

Each field of a message has one of these, so that an invalid value is refused while bytes are
decoded, with the field's name, and never reaches a core. A bound is far above any honest value and
far below the range of a sum, a clock or SQLite's 64 bits. Non-finite numbers are in no range and
thus refused too. `clipping` brings a value inside the bounds of its type.
"""

import re
import sys
from typing import Annotated, TypeVar

import msgspec

from wattline_protocol.text.quantities import MAX_AMOUNT, MAX_DURATION_S, MAX_SIZE_BYTES

N = TypeVar("N", bound=int)
F = TypeVar("F", bound=float)
S = TypeVar("S", bound=str)
T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")

# --- Numbers ------------------------------------------------------------------------------

MAX_SERIAL = 2**63 - 1
"""SQLite's maximum."""

MAX_COUNT = 2**31 - 1

MAX_NODE_MW = 10**10
"""Ten megawatts. No host and no GPU comes near it, and sums over a site stay exact."""

MAX_SITE_MW = 10**13
"""Ten gigawatts, as in a site file."""

MAX_USED_MJ = 10**16
"""Energy of a host of ten kilowatts in thirty years."""

MAX_STEP_MJ = 10**15
"""Of one roll-up. The sum over the GPUs of a node stays inside 64 bits."""

MAX_STEP_MS = 10**12
"""Thirty years."""

MAX_UNIX_S = 7_258_204_800.0
"""2200-01-02: the year 2199 is over in every time zone, and each can represent it."""

MAX_CELSIUS = 2.0**32
"""Far above any temperature: a driver's value for a missing sensor must not spoil a beat."""

Serial = Annotated[N, msgspec.Meta(ge=0, le=MAX_SERIAL)]
"""Consecutive numbers, and counters of a driver."""

Count = Annotated[N, msgspec.Meta(ge=0, le=MAX_COUNT)]
"""Numbers of things, and positions among them."""

Offset = Annotated[int, msgspec.Meta(ge=-MAX_SERIAL, le=MAX_SERIAL)]
"""Below 0: counted from the end."""

Reading = Annotated[int, msgspec.Meta(ge=0, le=MAX_SERIAL)]
"""A driver's reading: even if implausible, it is no reason to refuse a beat."""

Bytes = Annotated[int, msgspec.Meta(ge=0, le=MAX_SIZE_BYTES)]

Permille = Annotated[int, msgspec.Meta(ge=1, le=1_000)]

Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]

Milliwatts = Annotated[int, msgspec.Meta(ge=0, le=MAX_NODE_MW)]
"""Of one node or GPU."""

SiteMilliwatts = Annotated[int, msgspec.Meta(ge=-MAX_SITE_MW, le=MAX_SITE_MW)]
"""Of a domain. The core refuses negative values with a text."""

Millijoules = Annotated[int, msgspec.Meta(ge=0, le=MAX_USED_MJ)]

StepMillijoules = Annotated[int, msgspec.Meta(ge=0, le=MAX_STEP_MJ)]

StepMilliseconds = Annotated[int, msgspec.Meta(ge=0, le=MAX_STEP_MS)]

Megahertz = Count[int]

WholeCelsius = Annotated[int, msgspec.Meta(ge=-int(MAX_CELSIUS), le=int(MAX_CELSIUS))]

Celsius = Annotated[float, msgspec.Meta(ge=-MAX_CELSIUS, le=MAX_CELSIUS)]

Seconds = Annotated[float, msgspec.Meta(ge=0.0, le=MAX_DURATION_S)]
"""A duration: up to ten years."""

Span = Annotated[float, msgspec.Meta(gt=0.0, le=MAX_DURATION_S)]
"""A duration used as a divisor."""

Time = Annotated[F, msgspec.Meta(ge=0.0, le=MAX_UNIX_S)]
"""Seconds since 1970, for display and records."""

Amount = Annotated[float, msgspec.Meta(ge=0.0, le=MAX_AMOUNT)]
"""Used or permitted amounts, in any unit."""

Ratio = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]
"""Shares and percentages. The core refuses values outside 0 to 1 with a text."""

Number = Annotated[float, msgspec.Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
"""Any finite number."""

MAX_GPUS = 1_024

Index = Annotated[N, msgspec.Meta(ge=0, lt=MAX_GPUS)]
"""Of a GPU in its node."""


def encodable(total: int) -> int:
    """At most `MAX_SERIAL`: totals of bounded parts may exceed 64 bits, on the wire and on disk."""
    return min(total, MAX_SERIAL)


# --- Texts --------------------------------------------------------------------------------

MAX_NAME_CHARS = 128
MAX_WORD_CHARS = 256
MAX_LINE_CHARS = 1_000
MAX_FLAG_CHARS = 2_000
MAX_PATH_CHARS = 4_096
MAX_SENTENCE_CHARS = 8_192
MAX_ARGUMENT_CHARS = 128 * 1024
"""What Linux accepts for one argument, or one variable with its value."""

_CONTROLS = r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069"
"""C0, DEL and C1, which control a terminal or end a line; and Unicode characters that end a line or
change its direction."""

PLAIN = rf"\A[^{_CONTROLS}]*\Z"
NO_NUL = r"\A[^\x00]*\Z"

CONTROL = re.compile(f"[{_CONTROLS}]")

CONTROLS: tuple[str, ...] = tuple(CONTROL.findall("".join(map(chr, range(0x3000)))))
"""All of them; `visible` makes each visible."""

Name = Annotated[S, msgspec.Meta(max_length=MAX_NAME_CHARS, pattern=PLAIN)]
"""Name of a job, node, account, domain …, as entered by a user; and patterns for names."""

Line = Annotated[str, msgspec.Meta(max_length=MAX_LINE_CHARS, pattern=PLAIN)]
"""A reason, or a value of a flag, as entered by a user."""

Flag = Annotated[str, msgspec.Meta(max_length=MAX_FLAG_CHARS)]
"""The value of a flag, including lists of names. Its control characters are refused where it is
parsed: in a union with a sequence a pattern makes msgspec 0.22 write outside its memory."""

Path = Annotated[str, msgspec.Meta(max_length=MAX_PATH_CHARS, pattern=PLAIN)]

Argument = Annotated[str, msgspec.Meta(max_length=MAX_ARGUMENT_CHARS, pattern=NO_NUL)]
"""A word of a command, or the value of a variable: any text that the kernel accepts."""

Word = Annotated[S, msgspec.Meta(max_length=MAX_WORD_CHARS)]
"""An identifier or a version, from a program or a driver."""

Sentence = Annotated[str, msgspec.Meta(max_length=MAX_SENTENCE_CHARS)]
"""A reason or a detail, from a program."""

MAX_LOG_TAIL_BYTES = 4_096
MAX_LOG_CHUNK_BYTES = 256 * 1024

LogTail = Annotated[str, msgspec.Meta(max_length=MAX_LOG_TAIL_BYTES)]
"""The last lines of a log."""

LogBytes = Annotated[bytes, msgspec.Meta(max_length=MAX_LOG_CHUNK_BYTES)]

Blob = Annotated[bytes, msgspec.Meta(max_length=64)]
"""A nonce."""

# --- Sequences ----------------------------------------------------------------------------

MAX_CHANGES = 32
MAX_FEW = 100
MAX_SOME = 1_024
MAX_MANY = 10_000
MAX_TASKS_TOLD = 4_096
"""Attempts reported by one node: sixteen times an agent's limit."""

MAX_PROBLEMS = 16
MAX_PROBLEM_CHARS = 200

OfGpus = Annotated[tuple[T, ...], msgspec.Meta(max_length=MAX_GPUS)]
"""At most one for each GPU of a node."""

Few = Annotated[tuple[T, ...], msgspec.Meta(max_length=MAX_FEW)]

Some = Annotated[tuple[T, ...], msgspec.Meta(max_length=MAX_SOME)]

Many = Annotated[tuple[T, ...], msgspec.Meta(max_length=MAX_MANY)]

OfTasks = Annotated[tuple[T, ...], msgspec.Meta(max_length=MAX_TASKS_TOLD)]

Table = Annotated[dict[K, V], msgspec.Meta(max_length=MAX_SOME)]

Problems = Annotated[
    tuple[Annotated[str, msgspec.Meta(max_length=MAX_PROBLEM_CHARS)], ...],
    msgspec.Meta(max_length=MAX_PROBLEMS),
]
"""Problems of a node, as sentences."""
