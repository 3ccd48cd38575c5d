"""Recent history of domains, nodes and GPUs: columns of readings at even steps."""

from typing import Annotated, Literal

import msgspec

from wattline_protocol.ids import GpuIndex, UnixTime
from wattline_protocol.wire.bounds import Count, Index, Name, Time

HISTORY_STEP_S = 5
"""A chart of 15 minutes has 80 to 240 points. At 1 s a site of 16,000 GPUs would keep 90 MB, and
read 16,000 sensors a second; at 5 s it keeps 18 MB."""

HISTORY_S = 900
"""How far back readings are retained."""

MAX_SUBJECTS = 64
"""In one request: the rows of a screen."""


class Subject(msgspec.Struct, frozen=True):
    """A domain, a node, or one GPU of a node."""

    kind: Literal["domain", "node", "gpu"]
    name: Name[str]
    """Of the domain or node."""
    gpu: Index[GpuIndex] = GpuIndex(0)


class GetHistory(msgspec.Struct, frozen=True, tag_field="t", tag="get_history"):
    """Recent readings of each subject."""

    subjects: Annotated[tuple[Subject, ...], msgspec.Meta(max_length=MAX_SUBJECTS)]
    since_unix_s: Time[UnixTime] = UnixTime(0.0)
    """Before the oldest reading: all of them."""
    step_s: Count[int] = HISTORY_STEP_S
    """Rounded up to a multiple of `HISTORY_STEP_S`; the mean of the readings within a step."""


class Series(msgspec.Struct, frozen=True):
    """Readings of one subject by column, the oldest first. None = nothing was read."""

    subject: Subject
    columns: dict[str, tuple[float | None, ...]]
    """domain: measured_w, committed_w, budget_w. node: drawn_w, committed_w, inlet_c, cpu_pct.
    gpu: power_w, cap_w, temp_c, util_pct."""


class History(msgspec.Struct, frozen=True, tag_field="t", tag="history"):
    """All series have values for the same moments."""

    since_unix_s: UnixTime
    """Begin of the first step."""
    step_s: int
    series: tuple[Series, ...]
