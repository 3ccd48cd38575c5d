"""Load of the scheduler: the request and its view."""

from typing import Annotated

import msgspec

MAX_LOAD_S = 120
"""Seconds for which the scheduler retains its load."""


class GetLoad(msgspec.Struct, frozen=True, tag_field="t", tag="get_load"):
    """Load of the scheduler in its last seconds."""

    last_s: Annotated[int, msgspec.Meta(ge=1, le=MAX_LOAD_S)] = 60


class Load(msgspec.Struct, frozen=True, tag_field="t", tag="load"):
    """Time used by steps of the scheduler's loop; waiting for work does not count."""

    last_s: int
    """Over how many seconds."""
    steps: int
    busy_share: float
    worst_step_s: float
    worst_step_cpu_s: float
    """Processor time of the loop's own thread."""
