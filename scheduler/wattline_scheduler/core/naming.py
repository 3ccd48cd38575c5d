"""Jobs in sentences."""

from collections.abc import Sequence

from wattline_protocol.ids import JobId

MAX_NAMED = 3
"""Jobs named in one sentence."""


def named(jobs: Sequence[JobId]) -> str:
    """`job 3`, `jobs 3, 7, 9 and 4 more`."""
    shown = ", ".join(map(str, jobs[:MAX_NAMED]))
    more = f" and {len(jobs) - MAX_NAMED} more" if len(jobs) > MAX_NAMED else ""
    return f"job{'s' if len(jobs) > 1 else ''} {shown}{more}"
