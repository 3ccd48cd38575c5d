"""How long work that runs will run yet."""

from wattline_scheduler.core.jobs import Attempt
from wattline_scheduler.core.nodes import NodeNow


def most_left_s(attempt: Attempt) -> float | None:
    """By its run time limit, which does not count pauses; None where it has none."""
    limit_s = attempt.gang.job.spec.limits.runtime_s
    return max(0.0, limit_s - attempt.usage.run_s) if limit_s else None


def empty_within_s(node: NodeNow) -> float | None:
    """When the node is empty by the limits of what runs there; None where one has no limit."""
    left = [most_left_s(attempt) for attempt in node.attempts.values()]
    return None if None in left else max((s for s in left if s is not None), default=0.0)
