"""Jobs that wait only for watts: free GPUs would take them, so they count as paused."""

from wattline_scheduler.core.cluster import Cluster
from wattline_sim.facility.works import MIN_ACTIVE_S, WINDOW_S, JobWindow, WorkKey

LOOK_S = 5
"""How often the queue is looked at."""


class WattWaits:
    """Adds up, per waiting gang, the time in which only watts were missing."""

    def __init__(self) -> None:
        self._waited_s: dict[WorkKey, float] = {}
        self._priority: dict[WorkKey, int] = {}

    def second(self, cluster: Cluster, second: int) -> None:
        """Look at the queue now and then."""
        state = cluster.state
        if second % LOOK_S or not state.work.queue:
            return
        free = [
            len(node.gpus) - len(node.holders) for node in state.nodes.values() if node.is_reachable
        ]
        for waiting in state.work.waiting():
            for gang in waiting.gangs:
                if not _take(free, waiting.shape.nodes, waiting.shape.gpus):
                    break
                key = (waiting.job, gang)
                self._waited_s[key] = self._waited_s.get(key, 0.0) + LOOK_S
                self._priority[key] = waiting.priority

    def close_window(self) -> list[JobWindow]:
        """Every window: those that waited for most of it."""
        windows = [
            JobWindow(self._priority[key], 1.0)
            for key, waited_s in self._waited_s.items()
            if min(waited_s, WINDOW_S) >= MIN_ACTIVE_S
        ]
        self._waited_s.clear()
        self._priority.clear()
        return windows


def _take(free: list[int], nodes: int, gpus: int) -> bool:
    """Take a gang's GPUs out of what is free; False = it waits for GPUs, not for watts."""
    fitting = sorted((have, at) for at, have in enumerate(free) if have >= gpus)[:nodes]
    if len(fitting) < nodes:
        return False
    for _, at in fitting:
        free[at] -= gpus
    return True
