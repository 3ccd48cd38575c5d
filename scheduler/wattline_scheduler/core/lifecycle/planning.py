"""Runs planning cycles: takes the snapshot, plans, checks each placement, applies the plan."""

from dataclasses import replace

from wattline_protocol.ids import Instant, JobId, Now
from wattline_scheduler.core.admission.output_slots import within_output_slots
from wattline_scheduler.core.admission.planner_view import renew_offers, snapshot
from wattline_scheduler.core.lifecycle.preemption import claimed, preempt, running_gangs
from wattline_scheduler.core.lifecycle.restore_guard import why_nothing_starts
from wattline_scheduler.core.lifecycle.starting import place
from wattline_scheduler.core.lifecycle.usage_limits import end_used_up_in_queue
from wattline_scheduler.core.lifecycle.windows import check_promises
from wattline_scheduler.core.model.state import State
from wattline_scheduler.plan.check import passing
from wattline_scheduler.plan.cycle import INTERACTIVE, Cycle, Limits, plan
from wattline_scheduler.plan.model.memory import EMPTY
from wattline_scheduler.plan.model.shape import Waiting
from wattline_scheduler.plan.model.snapshot import Placement, Plan, Snapshot
from wattline_scheduler.plan.search.trial import Trial
from wattline_scheduler.time_slices import at_once


def plan_now(state: State, now: Now) -> None:
    """Runs one planning cycle: starts what fits, and records wait reasons for the rest."""
    state.wants_plan = False
    end_used_up_in_queue(state, now)
    waiting = state.work.waiting()
    if not waiting:
        _promise(state, {}, now)
        return
    withheld = why_nothing_starts(state)
    if withheld:
        state.work.note_waits({each.job: withheld for each in waiting})
        return
    result = decide(state, waiting, now)
    for placement in result.placements:
        job = state.work.jobs[placement.job]
        place(state, job.gangs[placement.gang], placement, now)
    for preemption in result.preemptions:
        preempt(state, preemption, now)
    state.work.note_waits(result.waits)
    _promise(state, result.promised, now)
    # Other gangs that need preemption are planned once these victims are being stopped.
    state.wants_plan = state.wants_plan or result.is_cut or bool(result.preemptions)


def _promise(state: State, promised: dict[JobId, Instant], now: Now) -> None:
    """Replaces all promised starts, so that a held or removed job has none."""
    before, state.promised = state.promised, promised
    check_promises(state, before, now)


def decide(
    state: State, waiting: tuple[Waiting, ...], now: Now, limits: Limits = INTERACTIVE
) -> Plan:
    """Plans starts, checks each placement again, and finds the wait reasons of the rest."""
    renew_offers(state, now)
    state.fleet_view.renew_prices()
    seen = replace(
        snapshot(state, now, waiting),
        claims=claimed(state),
        running=at_once(running_gangs(state, state.work.queue.top_priority)),
        least_priority=state.work.least_priority,
        quotas=state.work.quotas.headrooms(),
    )
    before = state.newest_cycle.plan.memory if state.newest_cycle is not None else EMPTY
    result = plan(seen, before, limits, state.fleet_view.cache)
    state.newest_cycle = Cycle(seen, before, limits, result)
    checked = within_output_slots(state, _checked(state, seen, result.placements))
    is_refused = len(checked) < len(result.placements)  # refused placements are planned again
    return replace(result, placements=tuple(checked), is_cut=result.is_cut or is_refused)


def _checked(state: State, seen: Snapshot, placements: tuple[Placement, ...]) -> list[Placement]:
    """Placements that pass the check."""
    if not placements:
        return []
    waiting = {each.job: each for each in seen.waiting}
    trial = Trial(seen, state.fleet_view.cache)
    held = passing(trial, [(one, waiting[one.job]) for one in placements])
    trial.close()
    return [one for one, _ in held]
