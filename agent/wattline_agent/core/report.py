"""What the node says about itself: GPU abilities, samples, problems; and observed anomalies."""

from wattline_agent.capper import Use
from wattline_agent.core import clocks, holds
from wattline_agent.core.gpus import Gpu
from wattline_agent.core.model import MAX_PROBLEMS, NodeState
from wattline_protocol.ids import Now
from wattline_protocol.messages import GpuInfo, GpuSample

FAULT_TELL_S = 3.0
"""A cap that fails for this long is told as an inability, and the GPU counts at full."""
FOREIGN_S = 10.0
"""A GPU without a task has this long to settle before its draw is called foreign."""
MAX_PROBLEM_CHARS = 200


def gpu_infos(state: NodeState, now: Now) -> tuple[GpuInfo, ...]:
    """All GPUs, as a Hello tells them."""
    return tuple(_info(state, gpu, now) for gpu in state.gpus)


def _info(state: NodeState, gpu: Gpu, now: Now) -> GpuInfo:
    info = gpu.info
    return GpuInfo(
        index=info.index,
        uuid=info.uuid,
        name=info.name,
        memory_bytes=info.memory_bytes,
        cap_min_mw=info.cap_min_mw,
        cap_default_mw=info.cap_default_mw,
        cap_max_mw=info.cap_max_mw,
        idle_mw=gpu.idle_bound_mw,
        overshoot_permille=state.overshoot_permille(gpu),
        can_cap=is_cappable(state, gpu, now),
        managed=gpu.is_managed,
        healthy=gpu.is_healthy(now.mono_s),
        can_lock_clocks=clocks.can_lock(gpu) and not state.facts.is_observe,
        can_share=info.can_share,
        mig=info.mig,
    )


def is_cappable(state: NodeState, gpu: Gpu, now: Now) -> bool:
    """Whether the scheduler may count on its cap; a fault must last before it says no."""
    is_failing = bool(gpu.fault) and now.mono_s - gpu.faulty_since_s >= FAULT_TELL_S
    return gpu.can_set and not is_failing and not state.facts.is_observe


def samples(state: NodeState) -> tuple[GpuSample, ...]:
    """All GPUs, as a Beat tells them; clears what counts since the last beat."""
    found = tuple(map(_sample, state.gpus, holds.uses(state, planned=False)))
    for gpu in state.gpus:
        gpu.cap_bound_s = 0.0
    return found


def _sample(gpu: Gpu, use: Use) -> GpuSample:
    reading = gpu.reading
    if reading is None:
        return GpuSample(gpu.index, None, None, lost=gpu.is_lost)
    return GpuSample(
        index=gpu.index,
        power_mw=reading.power_mw,
        cap_mw=gpu.enforced_mw,
        temp_c=reading.temp_c,
        memory_temp_c=reading.memory_temp_c,
        util_pct=reading.util_pct,
        sm_clock_mhz=reading.sm_clock_mhz,
        memory_used_bytes=reading.memory_used_bytes,
        reasons=reading.reasons,
        energy_mj=reading.energy_mj,
        cap_bound_ms=round(gpu.cap_bound_s * 1000),
        locked_mhz=max(0, gpu.locked_mhz),
        is_idle=use == "idle",
    )


def problems(state: NodeState, now: Now) -> tuple[str, ...]:
    """What is wrong now, in sentences, the gravest first; bounded."""
    found = [*_about_lease(state, now), *_about_site(state, now)]
    busy = holds.loaded(state)
    for gpu in state.gpus:
        found.extend(f"GPU {gpu.index}: {t}" for t in _about_gpu(gpu, gpu.index in busy, now))
    found.extend(text for text, until_s in state.incidents.items() if now.mono_s < until_s)
    cut = [text[:MAX_PROBLEM_CHARS] for text in found]
    if len(cut) > MAX_PROBLEMS:
        more = len(cut) - MAX_PROBLEMS + 1
        cut = [*cut[: MAX_PROBLEMS - 1], f"and {more} more problems"]
    return tuple(cut)


def _about_lease(state: NodeState, now: Now) -> list[str]:
    found = []
    lease, member = state.lease, state.session.member
    if lease is not None and state.terms is not None and not state.facts.is_observe:
        over_mw = holds.holding_mw(state, planned=False, presume=True) - lease.lease_mw
        if over_mw > 0:
            found.append(
                f"held {over_mw / 1000:g} W above the lease of {lease.lease_mw / 1000:g} W"
            )
    if member is not None and state.pending is not None and state.pending.is_refused:
        wanted_w = state.pending.lease.lease_mw / 1000
        since_s = now.mono_s - state.pending.since_s
        found.append(f"cannot be held to the lease of {wanted_w:g} W asked for {since_s:.0f} s ago")
    return found


def _about_site(state: NodeState, now: Now) -> list[str]:
    found = []
    session, terms = state.session, state.file.terms
    if session.refusal:
        found.append(session.refusal)
    if state.facts.is_observe:
        found.append("observe mode: caps nothing, starts nothing")
    silent_s = now.mono_s - max(session.heard_s, state.started_s)
    if terms is not None and silent_s > terms.isolation_after_s:
        found.append(f"isolated: no beat was answered for {silent_s:.0f} s")
    if terms is not None and state.non_gpu_seen_mw > terms.non_gpu_worst_mw:
        found.append(
            f"non-GPU load of {state.non_gpu_seen_mw / 1000:g} W is above the site file's worst "
            f"case of {terms.non_gpu_worst_mw / 1000:g} W; the measured figure is used"
        )
    return found


def _about_gpu(gpu: Gpu, has_load: bool, now: Now) -> list[str]:
    found = []
    if gpu.stale is not None:
        found.append(
            f"no reading for {now.mono_s - gpu.stale.since_mono_s:.0f} s: {gpu.stale.reason}"
        )
    if not gpu.is_managed:
        return found
    if not gpu.info.can_cap:
        found.append(f"cannot be capped and counts in full: {gpu.info.why_not}")
    if gpu.is_ineffective:
        found.append("draws far more than its cap: the cap has no effect, it counts in full")
    if gpu.fault:
        found.append(gpu.fault)
    if gpu.clock_fault:
        found.append(gpu.clock_fault)
    quiet_s = now.mono_s - gpu.free_since_s
    draw_mw = gpu.reading.power_mw if gpu.reading is not None else None
    is_free = quiet_s > FOREIGN_S and not has_load
    if is_free and draw_mw is not None and draw_mw > gpu.idle_bound_mw:
        found.append(f"draws {draw_mw / 1000:.0f} W without a task of ours (foreign load)")
    return found
