"""One planning cycle: the queue in order, each gang placed whole or passed over.

Policy (chosen, see docs/scheduler.md): strict order by priority, then age. A gang that does not fit
is passed over by later ones, until it has waited `PATIENCE_S`; then the first such gang gets a
reservation: the nodes that will be free for it soonest, and its watts, are kept from everybody
behind it. So small jobs fill holes, and a big gang is not starved.
"""

from wattline_protocol.ids import JobId
from wattline_scheduler.plan.explain import wait_reason
from wattline_scheduler.plan.feasible import fits_when_empty
from wattline_scheduler.plan.gang import GangPlacer
from wattline_scheduler.plan.snapshot import Placement, Plan, Shape, Snapshot, Waiting
from wattline_scheduler.plan.trial import Trial

MAX_PLACEMENTS = 256
"""Gangs placed in one cycle: keeps a burst of submissions from delaying beats."""

MAX_EVALUATIONS = 20_000
"""Filter runs in one cycle, about a tenth of a second: beats wait no longer than that."""

PATIENCE_S = 60.0
"""Waiting time after which a gang that could fit gets room reserved."""


def plan(snapshot: Snapshot) -> Plan:
    """Place what fits; pure and deterministic."""
    return _Cycle(snapshot).run()


class _Cycle:
    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.trial = Trial(snapshot)
        self.placer = GangPlacer(self.trial)
        self.placements: list[Placement] = []
        self.waits: dict[JobId, str] = {}
        self.hopeless: dict[Shape, str] = {}
        """Room only shrinks within a cycle: what did not fit once does not fit later."""
        self.reserved_for: JobId | None = None

    def run(self) -> Plan:
        is_cut = any(self._is_cut_short_at(waiting) for waiting in self.snapshot.waiting)
        return Plan(tuple(self.placements), self.waits, self.reserved_for, is_cut)

    def _is_at_limit(self) -> bool:
        is_full = len(self.placements) >= MAX_PLACEMENTS
        return is_full or self.trial.evaluations >= MAX_EVALUATIONS

    def _is_cut_short_at(self, waiting: Waiting) -> bool:
        """Place what fits of a job; True = the limit was reached before all of it was tried."""
        known = self.hopeless.get(waiting.shape)
        if known is not None:
            self.waits[waiting.job] = known
            return False
        for gang in waiting.gangs:
            if self._is_at_limit():
                return True
            places = self.placer.place(waiting.shape)
            if places is None:
                self._pass_over(waiting)
                return False
            self.placements.append(Placement(waiting.job, gang, places))
        return False

    def _pass_over(self, waiting: Waiting) -> None:
        reason = wait_reason(self.trial, waiting.shape)
        self.waits[waiting.job] = reason
        is_patient = waiting.is_late or self.snapshot.now - waiting.since < PATIENCE_S
        if self.reserved_for is None and not is_patient and reserve(self.trial, waiting.shape):
            self.reserved_for = waiting.job
        self.hopeless[waiting.shape] = reason


def reserve(trial: Trial, shape: Shape) -> bool:
    """Keep the nodes and watts that a gang will have soonest; False if no nodes would ever do."""
    by_rack: dict[str, list[int]] = {}
    for at in range(len(trial.offers)):
        if fits_when_empty(trial, at, shape):
            by_rack.setdefault(trial.offers[at].rack if shape.same_rack else "", []).append(at)
    choices = [_freest(trial, nodes, shape.nodes) for nodes in by_rack.values()]
    choices = [nodes for nodes in choices if len(nodes) == shape.nodes]
    if not choices:
        return False
    for at in max(choices, key=lambda nodes: sum(len(trial.free[at]) for at in nodes)):
        trial.hold(at, shape)
    return True


def _freest(trial: Trial, nodes: list[int], count: int) -> list[int]:
    return sorted(nodes, key=lambda at: (-len(trial.free[at]), at))[:count]
