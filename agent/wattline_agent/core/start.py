"""Start and stop of the agent: adoption of running tasks, or floors; driver reloads (I6)."""

from dataclasses import replace

import msgspec

from wattline_agent.core.durable import AgentState, UsageState
from wattline_agent.core.effects import LockClocks, RestoreCaps, SaveUsage, Send
from wattline_agent.core.events import DriverReloaded, Started
from wattline_agent.core.link import telemetry
from wattline_agent.core.model import NodeState
from wattline_agent.core.ports import DeviceInfo
from wattline_agent.core.power import clocks, held_watts, steer
from wattline_agent.core.power.capper import Use
from wattline_agent.core.power.gpus import IDLE_CONFIRM_S, Gpu, below_ceiling, take_read
from wattline_agent.core.tasks.attempt import Attempt, Observed
from wattline_agent.core.tasks.usage import snapshot, take_run
from wattline_protocol.ids import Now
from wattline_protocol.text.wording import power_text
from wattline_protocol.wire.agent_messages import Farewell

SETTLE_WAIT_S = IDLE_CONFIRM_S + 2.0
"""Longest wait for idleness to be confirmed: after a restart before Adopted is sent anyway, at a
stop before the agent ends anyway."""


def started(state: NodeState, event: Started, usage: UsageState | None, now: Now) -> None:
    """Keep the caps if they provably fit the lease on file, else first of all set floors."""
    state.started_s = state.sampled_s = now.mono_s
    state.is_started = True
    if not _is_same_driver(state.file, event):
        state.file = msgspec.structs.replace(state.file, ceiling_mw={})
    state.gpus = [_gpu(state, info, now) for info in event.gpus]
    for result in event.limits:
        take_read(state.gpus[result.index], result, now.mono_s)
    save_ceilings(state)  # before any write hides a BMC's limit
    _find_locks(state, event)
    _take_over(state, event, usage)
    on_file = state.file
    if on_file.lease is not None:
        state.adopt_mw = on_file.lease.lease_mw
        state.adopt_wait_s = SETTLE_WAIT_S
    if state.facts.is_observe:
        state.file = msgspec.structs.replace(on_file, lease=None)
    elif _may_adopt(state, event):
        state.note("caps_adopted", f"limits in force fit the lease of {power_text(state.adopt_mw)}")
    else:
        _floor(state, event, now)
    state.change_file(boot_id=event.boot_id, driver_instance=event.driver_instance)


def _gpu(state: NodeState, info: DeviceInfo, now: Now) -> Gpu:
    managed = state.facts.managed
    return Gpu(
        info=info,
        is_managed=managed is None or info.index in managed,
        learned_idle_mw=state.file.idle_mw.get(info.uuid),
        ceiling_mw=state.file.ceiling_mw.get(info.uuid),
        limit_since_s=now.mono_s,
        free_since_s=now.mono_s,
    )


def _is_same_driver(on_file: AgentState | UsageState, event: Started) -> bool:
    """Whether boot and driver are those on file, so that what is on file is still valid."""
    seen = (event.boot_id, event.driver_instance)
    return (on_file.boot_id, on_file.driver_instance) == seen


def save_ceilings(state: NodeState) -> None:
    """Save BMC limits: after the next write the readings no longer show them."""
    ceilings = {g.info.uuid: g.ceiling_mw for g in state.gpus if g.ceiling_mw is not None}
    if ceilings != state.file.ceiling_mw:
        state.change_file(ceiling_mw=ceilings)


def _find_locks(state: NodeState, event: Started) -> None:
    """Locks of a dead agent: those on file are adopted or undone, as wanted now (I6)."""
    is_same, is_fresh = _is_same_driver(state.file, event), not state.file.driver_instance
    for gpu in state.gpus:
        gpu.locked_mhz = clocks.found_mhz(
            state, gpu.info.uuid, is_same_driver=is_same, is_fresh=is_fresh
        )


def _take_over(state: NodeState, event: Started, usage: UsageState | None) -> None:
    """Adopt the tasks that run under the keeper, with their usage so far."""
    booked = {entry.ref: entry for entry in usage.attempts} if usage is not None else {}
    for task in event.tasks:
        attempt = Attempt(task.order, Observed(task), notice=task.notice)
        if task.ref in booked:
            attempt.usage = booked[task.ref].usage
            attempt.readopted = booked[task.ref].readopted
        if attempt.is_alive:
            attempt.readopted += 1
        attempt.is_metered = True
        take_run(attempt, task, state.facts.cpus)
        state.attempts[task.ref] = attempt
    if usage is not None and _is_same_driver(usage, event):
        for gpu in state.gpus:
            gpu.counters = usage.counters.get(gpu.info.uuid)


def _may_adopt(state: NodeState, event: Started) -> bool:
    """Same boot, same driver, and every limit read back fits the lease on file (I6).

    A GPU without load at its minimum cap is presumed idle, as it was when the lease came into
    force; samples confirm or refute that before anything is reported about it.
    """
    file = state.file
    if not _is_same_driver(file, event) or file.lease is None or state.terms is None:
        return False
    if any(gpu.can_set and gpu.fault for gpu in state.gpus):
        return False
    for gpu in state.gpus:
        is_free = not held_watts.has_load(state, gpu.index)
        gpu.is_presumed_idle = is_free and gpu.limit_mw <= gpu.info.cap_min_mw
    fits = held_watts.holding_mw(state, presume=True) <= file.lease.lease_mw
    if not fits:
        for gpu in state.gpus:
            gpu.is_presumed_idle = False
    return fits


def _floor(state: NodeState, event: Started, now: Now) -> None:
    file = state.file
    is_fresh = (file.boot_id, file.driver_instance) != (event.boot_id, event.driver_instance)
    found = {
        gpu.info.uuid: _as_found(gpu)
        for gpu in state.gpus
        if gpu.can_set and (is_fresh or gpu.info.uuid not in file.found_mw)
    }
    state.file = msgspec.structs.replace(file, lease=None, found_mw={**file.found_mw, **found})
    state.note("floors_first", "no record confirms the limits in force: minimum caps are set")
    steer.apply_floors(state, now)


def _as_found(gpu: Gpu) -> int:
    """The limit to restore at a stop. One at its minimum was left by a dead agent whose file is
    lost, or by the boot unit: nothing else sets it so low."""
    return gpu.limit_mw if gpu.limit_mw > gpu.info.cap_min_mw else gpu.info.cap_default_mw


def driver_reloaded(state: NodeState, event: DriverReloaded, now: Now) -> None:
    """Every cap is lost: the next step of `steer`, right after this, sets them again.

    Unless only the MIG partitioning changed: that does not affect caps and counters.
    """
    if _are_only_divided(state, event):
        for gpu, info in zip(state.gpus, event.gpus, strict=True):
            gpu.info = info
        state.note("gpus_divided", "the MIG devices of GPUs were repartitioned")
        return
    text = "the GPU driver was reloaded (or GPUs changed); caps were set again"
    telemetry.incident(state, "driver_reloaded", "", text, now)
    state.file = msgspec.structs.replace(state.file, ceiling_mw={})
    was_free = {gpu.info.uuid: gpu.free_since_s for gpu in state.gpus}
    state.gpus = [_gpu(state, info, now) for info in event.gpus]
    for gpu in state.gpus:
        gpu.free_since_s = was_free.get(gpu.info.uuid, now.mono_s)
    state.caps.generation += 1
    state.caps.is_waiting = state.is_locking = False
    if not state.facts.is_observe:
        steer.apply_floors(state, now)
    state.change_file(driver_instance=event.driver_instance, locked_mhz={})


def _are_only_divided(state: NodeState, event: DriverReloaded) -> bool:
    known = [replace(gpu.info, mig=None) for gpu in state.gpus]
    is_same = state.file.driver_instance == event.driver_instance
    return is_same and known == [replace(info, mig=None) for info in event.gpus]


def is_settled(state: NodeState) -> bool:
    """A stop can restore all limits now; waiting would not add any."""
    return not _returns_limits(state) or all(use == "idle" for _, use in _own(state))


def stop(state: NodeState) -> None:
    """Send Farewell; tasks continue under the keeper; without tasks the limits found are restored.

    Not on a GPU whose idleness is unconfirmed (I2): what has ended on it may still be drawing.
    """
    member = state.session.member
    state.is_stopping = True
    state.emit(SaveUsage(snapshot(state)))
    if member is not None and member.adopted is not None:
        state.emit(Send(Farewell(member.welcome.epoch, member.welcome.incarnation)))
    if not _returns_limits(state):
        return
    found = state.file.found_mw
    caps = {
        gpu.index: below_ceiling(gpu, found.get(gpu.info.uuid, gpu.info.cap_default_mw))
        for gpu, use in _own(state)
        if use == "idle"
    }
    if caps:
        state.emit(RestoreCaps(caps))
    unlocked = {gpu.index: 0 for gpu in state.gpus if clocks.can_lock(gpu) and gpu.locked_mhz}
    if unlocked:
        state.emit(LockClocks(unlocked))


def _returns_limits(state: NodeState) -> bool:
    is_free = not any(attempt.holds_gpus for attempt in state.attempts.values())
    return is_free and not state.facts.is_observe


def _own(state: NodeState) -> list[tuple[Gpu, Use]]:
    """GPUs whose limits this agent restores, and their use."""
    uses = zip(state.gpus, held_watts.uses(state), strict=True)
    return [(gpu, use) for gpu, use in uses if gpu.can_set and not gpu.is_lost]
