"""Preemption within a plan: selects victims, and reserves resources until they have ended."""

from collections.abc import Sequence

from wattline_protocol.ids import NodeId
from wattline_protocol.text.wording import joined
from wattline_scheduler.plan.model.memory import PreemptionKey
from wattline_scheduler.plan.model.shape import Shape, Waiting
from wattline_scheduler.plan.model.snapshot import Preemption, RunningGang, Snapshot
from wattline_scheduler.plan.policies.backfill import Promise
from wattline_scheduler.plan.policies.claims import Claims, awaited
from wattline_scheduler.plan.policies.preempt import Choice
from wattline_scheduler.plan.policies.preempt_quota import (
    STEPS_PER_MEMBER,
    Wanted,
    choose_with_quotas,
)
from wattline_scheduler.plan.policies.running_work import RunningWork
from wattline_scheduler.plan.search.blocked_shapes import BlockedShapes
from wattline_scheduler.plan.search.quota_headroom import Held, Quotas
from wattline_scheduler.plan.search.trial import Trial
from wattline_scheduler.time_slices import Parts

MAX_PREEMPTIONS = 8
"""Gangs that preempt others in one cycle: the search takes milliseconds."""

MAX_VAIN_TRIES = 8
"""Maximum number of fruitless searches in one cycle of a larger site. These shapes are retried some
cycles later, so that all have their turn."""


class PreemptionPass:
    """Preemption of one cycle, which places gangs on `trial` and `quotas`."""

    def __init__(
        self, snapshot: Snapshot, trial: Trial, quotas: Quotas, blocked: BlockedShapes
    ) -> None:
        self.preemptions: list[Preemption] = []
        self._snapshot, self._trial, self._quotas = snapshot, trial, quotas
        self._blocked = blocked
        self._vain_tries = 0
        self._vain = set[tuple[Shape, PreemptionKey]]()
        """Resources and quotas only shrink within a cycle."""
        self._runs = RunningWork(snapshot)
        self._lower: dict[tuple[int, int], Held] = {}
        """Allocated in a quota below a priority. Not a `cache` of the method: that would keep this
        object alive until the garbage collector finds the cycle."""
        self._claims = Claims(trial, self._runs)

    def preempt_for(self, waiting: Waiting, gang: int) -> Parts[str]:
        """Preempt work of lower priority if that lets the gang start. Returns what the gang waits
        for; empty = preemption does not help."""
        if not self._may_try(waiting):
            return ""
        with self._claims.settled() as gone:
            wanted = Wanted(waiting.shape, waiting.quotas, self._trial.barred(waiting.stay))
            choice = yield from choose_with_quotas(
                self._trial, self._quotas, wanted, self._runs, gone
            )
        lacking = self._lacking(waiting, choice.nodes) if choice is not None else {}
        victims = awaited(choice, gone, lacking) if choice is not None else ()
        if choice is None or not victims:
            self._note_vain(waiting)
            return ""
        return self._preempt(waiting, gang, choice, victims, tuple(lacking))

    @property
    def newest(self) -> Promise:
        """The newest reservation made for a preempting gang."""
        return self._claims.newest

    def _lacking(self, waiting: Waiting, nodes: Sequence[int] = ()) -> dict[int, Held]:
        """Quotas without headroom for it, and what they lack."""
        if not waiting.quotas:
            return {}
        return self._quotas.missing(waiting.quotas, self._quotas.wants(waiting.shape, nodes))

    def _held_by_lower(self, number: int, priority: int) -> Held:
        """Total of all preemptible gangs in a quota."""
        known = self._lower.get((number, priority))
        if known is not None:
            return known
        lower = [one for one in self._runs.within(number) if one.priority < priority]
        self._trial.effort += STEPS_PER_MEMBER * len(lower)
        milli, mw = sum(one.quota_milli for one in lower), sum(one.quota_mw for one in lower)
        held = self._lower[number, priority] = Held(milli, mw)
        return held

    def _may_try(self, waiting: Waiting) -> bool:
        is_full = len(self.preemptions) >= MAX_PREEMPTIONS
        if is_full or waiting.priority <= self._snapshot.least_priority:
            return False
        for number, lack in self._lacking(waiting).items():
            milli, mw = self._held_by_lower(number, waiting.priority)
            if milli < lack.milli or mw < lack.mw:
                return False  # evaluated for every job class: most return here
        shape, key = waiting.shape, self._key(waiting)
        if (shape, key) in self._vain or self._blocked.is_preemption_vain(shape, key):
            return False
        return not (self._blocked.is_large and self._vain_tries >= MAX_VAIN_TRIES)

    def _key(self, waiting: Waiting) -> PreemptionKey:
        return self._trial.key(waiting.stay), waiting.quotas

    def _note_vain(self, waiting: Waiting) -> None:
        shape, key = waiting.shape, self._key(waiting)
        self._blocked.note_vain(shape, key)
        self._vain.add((shape, key))
        self._vain_tries += 1

    def _preempt(
        self,
        waiting: Waiting,
        gang: int,
        choice: Choice,
        victims: tuple[RunningGang, ...],
        lacking: tuple[int, ...],
    ) -> str:
        nodes = tuple(self._snapshot.nodes[at].node for at in choice.nodes)
        keys = tuple(one.key for one in victims)
        self.preemptions.append(Preemption((waiting.job, gang), keys, nodes, lacking))
        return self.wait_on(waiting, nodes, victims)

    def wait_on(
        self,
        waiting: Waiting,
        nodes: tuple[NodeId, ...],
        victims: tuple[RunningGang, ...] | None = None,
    ) -> str:
        """Reserve free resources of nodes and quotas where others are about to end for it. Returns
        what it waits for. `victims`: those others; None: already notified."""
        at = [self._snapshot.position[node] for node in nodes]
        lacking = [self._snapshot.quotas[number].name for number in self._lacking(waiting, at)]
        self._quotas.expect(waiting.quotas, waiting.shape, at)
        self._claims.hold(waiting, at, victims)
        where = f"in {quotas_named(lacking)}" if lacking else f"on {', '.join(nodes)}"
        return f"waits for work of lower priority to end {where}"


def quotas_named(names: Sequence[str]) -> str:
    """`the quota of queue night`, `the quotas of queue night and account lab`."""
    return f"the quota{'s' if len(names) > 1 else ''} of {joined(names)}"
