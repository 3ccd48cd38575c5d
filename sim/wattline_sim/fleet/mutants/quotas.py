"""Rules of quotas and of what accounts and queues have used, each removed.

The scheduler's own check of its quotas is removed as well, so that only the disk can show the harm.
"""

from collections.abc import Sequence
from dataclasses import replace

from wattline_protocol.job.spec import WHOLE_GPU
from wattline_scheduler.core import invariants, recovery
from wattline_scheduler.core.admission import quota_checks
from wattline_scheduler.core.lifecycle import preemption, starting
from wattline_scheduler.core.model.calendar import Calendar
from wattline_scheduler.core.model.jobs.job import Attempt, Ending, Gang
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.model.usage.quota_book import QuotaBook
from wattline_scheduler.core.model.usage.usage_ledger import Ledger
from wattline_scheduler.core.requests import update
from wattline_scheduler.plan.model.shape import Shape
from wattline_scheduler.plan.model.snapshot import ENDING_PRIORITY, Placement, RunningGang
from wattline_scheduler.plan.policies.running_work import RunningWork
from wattline_scheduler.plan.search import quota_headroom as planned
from wattline_scheduler.plan.search.quota_headroom import Held, Quotas
from wattline_scheduler.records import Record, UseRecord
from wattline_sim.fleet.mutants.mutant import Mutant, Swap
from wattline_sim.fleet.scheduler_shell import SchedulerShell

UNWATCHED: Swap = (
    invariants,
    "CHECKS",
    tuple(check for check in invariants.CHECKS if check is not invariants._quotas),
)
SOURCE = "scheduling"
"""The page of the manual on which they stand."""


def _never_refuses(self: Quotas, numbers: Sequence[int], shape: Shape) -> str:
    del self, numbers, shape
    return ""


def _nowhere_barred(self: Quotas, numbers: Sequence[int], shape: Shape) -> None:
    del self, numbers, shape


def _never_breaks(self: Quotas, numbers: Sequence[int], shape: Shape, placement: Placement) -> str:
    del self, numbers, shape, placement
    return ""


def _counts_nowhere(state: State, attempt: Attempt) -> None:
    del state, attempt


def _alone(self: QuotaBook, account: str) -> list[str]:
    return [account] if account in self._parents else []


def _without_watts(*of: object) -> Held:
    return Held(_held(*of).milli, 0)  # type: ignore[arg-type]  # as it was called


_held = planned.task_held


def _may_move(*of: object) -> str:
    del of
    return ""


def _from_nothing(half_life_s: float, calendar: Calendar, *on_record: object) -> Ledger:
    del on_record
    return Ledger(half_life_s, calendar)


def _use_later(self: SchedulerShell, records: list[Record]) -> None:
    """What was used in a transaction of its own, after the one with the ends."""
    uses = [record for record in records if isinstance(record, UseRecord)]
    _commit(self, [record for record in records if not isinstance(record, UseRecord)])
    _commit(self, list(uses))


_commit = SchedulerShell._commit


def _below_all(state: State, gang: Gang) -> int:
    """Whatever it is: it may go for anybody."""
    return ENDING_PRIORITY if isinstance(state.work.phase_of(gang), Ending) else 0


def _all_of_the_site(self: RunningWork, number: int) -> tuple[RunningGang, ...]:
    """Of every quota: all that runs, as if it counted there."""
    busy = {one.key: one for at in range(len(self._running)) for one in self.on(at)}
    alike = (
        replace(one, quotas=(number,), quota_milli=WHOLE_GPU * sum(len(t.gpus) for t in one.tasks))
        for one in busy.values()
    )
    return tuple(sorted(alike, key=lambda one: one.priority))


MUTANTS = (
    Mutant(
        "start-beyond-quota",
        "a placement is checked against its quotas again",
        (
            UNWATCHED,
            (Quotas, "breaks", _never_breaks),
            (Quotas, "refuses", _never_refuses),
            (Quotas, "barred", _nowhere_barred),
        ),
        SOURCE,
        covered_by="the plan starts nothing that exceeds a quota",
    ),
    Mutant(
        "held-uncounted",
        "the allocation of an attempt counts in its quotas from its placement",
        (UNWATCHED, (starting, "count", _counts_nowhere)),
        SOURCE,
    ),
    Mutant(
        "accounts-alone",
        "the quota of an account counts the accounts below it",
        (UNWATCHED, (QuotaBook, "_chain", _alone)),
        SOURCE,
    ),
    Mutant(
        "watts-uncounted",
        "a quota of watts counts the admission watts of an attempt's GPUs",
        (
            UNWATCHED,
            (quota_checks, "task_held", _without_watts),
            (planned, "task_held", _without_watts),
        ),
        SOURCE,
    ),
    Mutant(
        "moved-beyond-quota",
        "an update moves running work only into quotas with headroom for it",
        (UNWATCHED, (update, "would_break", _may_move)),
        SOURCE,
    ),
    Mutant(
        "preempted-from-above",
        "only work of lower priority is preempted",
        ((preemption, "_present_priority", _below_all),),
        SOURCE,
    ),
    Mutant(
        "preempted-elsewhere",
        "only work that counts in a quota is preempted for it",
        ((RunningWork, "within", _all_of_the_site),),
        SOURCE,
    ),
    Mutant(
        "use-forgotten",
        "a restart continues from the usage on record",
        ((recovery, "Ledger", _from_nothing),),
        SOURCE,
    ),
    Mutant(
        "use-after-the-end",
        "the usage of an attempt is recorded in the transaction of its end",
        ((SchedulerShell, "_commit", _use_later),),
        "I9",
    ),
)
