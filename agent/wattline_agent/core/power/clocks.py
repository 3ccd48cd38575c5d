"""Locked SM clocks, the second actuator: they save energy and never lower what is committed (I2).

Theory. A ceiling on the SM clock has two sources. The scheduler: the order of a task names one,
because its work hardly slows down (decoding), or because its user tolerates it on a card whose
minimum cap is too high. The node: the newest lease is exceeded with all caps at their minimum, and
a GPU that no cap limits (unsupported, refused, without effect, or with a minimum above
`WEAK_CAP_PERMILLE` of its maximum) is part of it; then at least its draw is reduced. A lock cannot
be read back, so such a GPU counts as before. A lock is saved on disk before it is set, so that the
next start of a killed agent knows what to adopt or undo.
"""

from msgspec.structs import replace

from wattline_agent.core.effects import LockClocks, SaveState
from wattline_agent.core.events import ClocksLocked
from wattline_agent.core.model import NodeState
from wattline_agent.core.ports import ClockResult
from wattline_agent.core.power import capper, held_watts
from wattline_agent.core.power.gpus import Gpu
from wattline_protocol.ids import GpuIndex, Now
from wattline_protocol.site.wall_power import PERMILLE

WEAK_CAP_PERMILLE = 600
"""Cards whose minimum cap is above this share of their maximum need the clocks as well."""
LEAST_PERMILLE = 300
"""Lowest ceiling: below it the rest of the card costs more than is saved."""
FLAT_VOLTAGE_PERMILLE = 700
"""Up to this share of the highest clock the core voltage stays at its minimum."""
LEAST_VOLTAGE_PERMILLE = 750
STEP_PERMILLE = 10
RETRY_S = 5.0
UNKNOWN_MHZ = -1
"""Nothing on file shows whether its clocks are locked."""


def step(state: NodeState, now: Now) -> None:
    """Request the locks that are wanted and not in force; called after every event."""
    if state.facts.is_observe or state.is_locking:
        return
    shares = _shares(state)
    asked = {
        gpu.index: wanted
        for gpu in state.gpus
        if can_lock(gpu) and gpu.clock_retry_s <= now.mono_s
        if (wanted := _wanted_mhz(state, gpu, shares.get(gpu.index))) != gpu.locked_mhz
    }
    if asked:
        _on_file(state, {index: mhz for index, mhz in asked.items() if mhz})
        state.is_locking = True
        state.emit(LockClocks(asked))


def locked(state: NodeState, event: ClocksLocked, now: Now) -> None:
    """Handle the driver's answer."""
    state.is_locking = False
    for result in event.results:
        if result.index < len(state.gpus):
            _take(state, state.gpus[result.index], result, now)
    _on_file(state, {r.index: r.ceiling_mhz for r in event.results if not r.error})


def _take(state: NodeState, gpu: Gpu, result: ClockResult, now: Now) -> None:
    if not result.error:
        gpu.locked_mhz, gpu.clock_fault = result.ceiling_mhz, ""
        return
    gpu.clock_retry_s = now.mono_s + RETRY_S
    fault = f"its clocks cannot be locked: {result.error}"
    if fault != gpu.clock_fault:
        state.note("clocks_not_locked", f"GPU {gpu.index}: {fault}")
    gpu.clock_fault = fault


def _on_file(state: NodeState, mhz: dict[GpuIndex, int]) -> None:
    before = state.file.locked_mhz
    requested = {state.gpus[index].info.uuid: ceiling for index, ceiling in mhz.items()}
    after = {uuid: ceiling for uuid, ceiling in {**before, **requested}.items() if ceiling}
    if after != before:
        state.file = replace(state.file, locked_mhz=after)
        state.emit(SaveState(state.file))


def can_lock(gpu: Gpu) -> bool:
    """Whether this agent may lock its clocks."""
    return gpu.is_managed and gpu.info.can_lock_clocks and not gpu.is_lost


def _shares(state: NodeState) -> dict[GpuIndex, int]:
    """Per GPU with attempts: the clock share that its orders permit, permille. The highest
    permitted share counts, so that no attempt is slowed down because another one tolerates it."""
    shares: dict[GpuIndex, int] = {}
    for attempt in state.attempts.values():
        if attempt.holds_gpus:
            for index in attempt.gpus:
                share = attempt.order.clock_permille
                shares[index] = max(share, shares.get(index, 0))
    return shares


def _wanted_mhz(state: NodeState, gpu: Gpu, share: int | None) -> int:
    """SM clock ceiling for this GPU; 0 = none."""
    if share is not None and is_weak(gpu):
        share = min(share, _share_for_lease(state, gpu))
    permille = max(PERMILLE if share is None else share, LEAST_PERMILLE)
    return 0 if permille >= PERMILLE else gpu.info.clock_max_mhz * permille // PERMILLE


def is_weak(gpu: Gpu) -> bool:
    """Caps alone do not reduce its draw enough."""
    lowest = gpu.info.cap_min_mw * PERMILLE
    return not gpu.can_hold or lowest > gpu.info.cap_max_mw * WEAK_CAP_PERMILLE


def _share_for_lease(state: NodeState, gpu: Gpu) -> int:
    """Share of its highest clock at which the newest lease would approximately be met, permille."""
    lease = state.pending.lease if state.pending is not None else state.lease
    if lease is None or state.terms is None:
        return PERMILLE
    now = held_watts.holds(state, planned=False)
    if capper.holding_mw(state.terms, now) <= lease.lease_mw:
        return PERMILLE
    pliant = [_as_if_pliant(hold) if is_weak(state.gpus[hold.index]) else hold for hold in now]
    cap_mw = capper.plan(state.terms, pliant, lease.lease_mw, ()).caps_mw[gpu.index]
    return clock_for_draw(cap_mw, gpu.idle_bound_mw, gpu.info.cap_max_mw)


def _as_if_pliant(hold: capper.GpuHold) -> capper.GpuHold:
    """The same GPU if its draw could be set to any value."""
    return replace(hold, can_cap=True, cap_min_mw=min(hold.idle_mw, hold.cap_min_mw))


def clock_for_draw(draw_mw: int, idle_mw: int, full_mw: int) -> int:
    """Share of the highest clock, permille, at which a busy GPU draws at most `draw_mw`.

    By frequency times voltage squared (dynamic CMOS power); an estimate without guarantees.
    """
    permille = PERMILLE
    while permille > LEAST_PERMILLE and _draw_mw(permille, idle_mw, full_mw) > draw_mw:
        permille -= STEP_PERMILLE
    return permille


def _draw_mw(clock_permille: int, idle_mw: int, full_mw: int) -> float:
    above = max(0, clock_permille - FLAT_VOLTAGE_PERMILLE) / (PERMILLE - FLAT_VOLTAGE_PERMILLE)
    voltage = (LEAST_VOLTAGE_PERMILLE + (PERMILLE - LEAST_VOLTAGE_PERMILLE) * above) / PERMILLE
    return idle_mw + (full_mw - idle_mw) * clock_permille / PERMILLE * voltage**2


def found_mhz(state: NodeState, uuid: str, *, is_same_driver: bool, is_fresh: bool) -> int:
    """Ceiling that may be locked on a GPU when the agent starts, according to the file.

    A reloaded driver has no locks. Without a file, those of a dead agent may be in force.
    """
    if is_fresh:
        return UNKNOWN_MHZ
    return state.file.locked_mhz.get(uuid, 0) if is_same_driver else 0
