"""How long work that runs will run yet."""

from wattline_protocol.ids import Now
from wattline_scheduler.core.jobs import Attempt, Ending, Gang, Paused
from wattline_scheduler.core.nodes import NodeNow


def most_left_s(attempt: Attempt) -> float | None:
    """By its run time limit, which does not count pauses; None where it has none."""
    limit_s = attempt.gang.job.spec.limits.runtime_s
    return max(0.0, limit_s - attempt.usage.run_s) if limit_s else None


def gone_within_s(gang: Gang, now: Now) -> float | None:
    """When a gang gives its GPUs back at the latest; None where nobody knows."""
    match gang.phase:
        case Ending(since):
            return max(0.0, since + gang.job.spec.recovery.grace_s - now.mono_s)
        case Paused():
            return None
        case _:
            left = [most_left_s(attempt) for attempt in gang.live]
            return None if None in left else max((s for s in left if s is not None), default=0.0)


def empty_within_s(node: NodeNow) -> float | None:
    """When the node is empty by the limits of what runs there; None where one has no limit."""
    left = [most_left_s(attempt) for attempt in node.attempts.values()]
    return None if None in left else max((s for s in left if s is not None), default=0.0)
