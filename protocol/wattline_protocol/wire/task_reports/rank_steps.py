"""Step times of the ranks of a task, as the task library measures them in each rank."""

from typing import Annotated

import msgspec

from wattline_protocol.wire.bounds import Count, Seconds, Serial

MAX_RANKS = 64
"""Ranks of one task whose steps are reported."""


class RankSteps(msgspec.Struct, frozen=True):
    """One rank now. Times are medians of its newest steps, so that a save counts in none."""

    rank: Count[int]
    """In the gang."""
    pid: Count[int]
    step: Serial[int]
    """The newest."""
    step_s: Seconds
    """Of a whole step."""
    busy_s: Seconds
    """Of the part without waits for other ranks; `step_s` where no waits are marked."""
    count: Count[int]
    """Steps that the medians are of; 0 = none has ended yet."""


OfRanks = Annotated[tuple[RankSteps, ...], msgspec.Meta(max_length=MAX_RANKS)]
