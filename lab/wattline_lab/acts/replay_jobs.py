"""Replays a trace of jobs under one policy."""

from pathlib import Path

from wattline import exits
from wattline.failures import ActFailed


def replay_jobs(*, trace: str, policy: str, overheads: str | None) -> object:
    """The report; an unreadable file is a usage error."""
    from wattline_lab.replay.jobs.replay import replay_jobs as replay
    from wattline_lab.replay.jobs.trace import TraceUnreadable

    try:
        return replay(Path(trace), policy, Path(overheads) if overheads else None)
    except TraceUnreadable as unreadable:
        raise ActFailed(str(unreadable), exits.USAGE) from unreadable
