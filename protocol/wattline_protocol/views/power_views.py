"""Views of power: which domains limit work."""

import msgspec

from wattline_protocol.ids import JobId, UnixTime

MAX_BOUND_JOBS = 5
"""Jobs named that a domain limits."""


class BindingView(msgspec.Struct, frozen=True):
    """Work that a domain limits below its demand, in the newest division of watts."""

    gpus: int
    jobs: int
    first_jobs: tuple[JobId, ...]
    """The oldest of them, at most `MAX_BOUND_JOBS`."""
    short_w: float
    """Wall watts that their demand lacks."""
    given_share: float
    """Watts of these GPUs as a share of their demand, 0..1, median."""
    since_unix_s: UnixTime | None
    """Since when it limits a node more than others do; None = another domain does everywhere."""
