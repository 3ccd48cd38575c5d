"""How long work that runs will run yet."""

from dataclasses import dataclass

from wattline_protocol.ids import Now
from wattline_scheduler.core.jobs import Attempt, Ending, Gang, Paused
from wattline_scheduler.core.longest import Longest
from wattline_scheduler.core.nodes import NodeNow


def most_left_s(attempt: Attempt) -> float | None:
    """By its run time limit, which does not count pauses; None where it has none."""
    limit_s = attempt.gang.job.spec.limits.runtime_s
    return max(0.0, limit_s - attempt.usage.run_s) if limit_s else None


@dataclass(frozen=True, slots=True)
class Left:
    """How long a gang holds its GPUs yet, and how that is known."""

    s: float
    why: str
    """As the end of "once job 7 has ended, ..."."""


def left_of(longest: Longest, gang: Gang, now: Now) -> Left | None:
    """The least that is known; None where nobody knows."""
    if isinstance(gang.phase, Paused):
        return None
    if isinstance(gang.phase, Ending):
        left_s = gang.phase.since + gang.job.spec.recovery.grace_s - now.mono_s
        return Left(max(0.0, left_s), "which is being stopped")
    known = [_by_limit(gang), _by_runs(longest, gang)]
    return min((left for left in known if left is not None), key=lambda left: left.s, default=None)


def _by_limit(gang: Gang) -> Left | None:
    left = [most_left_s(attempt) for attempt in gang.live]
    if None in left:
        return None
    return Left(max(s for s in left if s is not None), "by its limit at the latest")


def _by_runs(longest: Longest, gang: Gang) -> Left | None:
    """One that runs longer than all before it says nothing any more."""
    took_s = longest.learned_s(gang.job.kind)
    ran_s = max((attempt.usage.run_s for attempt in gang.live), default=0.0)
    if took_s is None or ran_s >= took_s:
        return None
    return Left(took_s - ran_s, "going by how long such jobs took")


def empty_within_s(node: NodeNow) -> float | None:
    """When the node is empty by the limits of what runs there; None where one has no limit."""
    left = [most_left_s(attempt) for attempt in node.attempts.values()]
    return None if None in left else max((s for s in left if s is not None), default=0.0)
