"""Formats job numbers in sentences."""

from collections.abc import Sequence

from wattline_protocol.ids import JobId
from wattline_protocol.text.names import listed

MAX_NAMED = 3
"""Maximum number of jobs named in one sentence."""


def named(jobs: Sequence[JobId]) -> str:
    """Formats `job 3`, `jobs 3, 7, 9 and 4 more`."""
    return f"job{'s' if len(jobs) > 1 else ''} {listed(jobs, MAX_NAMED)}"
