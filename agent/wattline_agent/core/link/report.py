"""Reports of the node: GPU abilities, samples, problems and observed anomalies."""

from wattline_agent.core.model import NodeState
from wattline_agent.core.ports import HostReading
from wattline_agent.core.power import clocks, held_watts, raised_caps
from wattline_agent.core.power.capper import Use
from wattline_agent.core.power.gpus import Gpu
from wattline_protocol.ids import Now
from wattline_protocol.text.wording import counted, power_text
from wattline_protocol.wire.agent_messages import GpuInfo, GpuSample
from wattline_protocol.wire.agents.host_load import HostLoad
from wattline_protocol.wire.gpu_process import MAX_FOREIGN, in_use_text
from wattline_protocol.wire.problems import MAX_CONDITIONS, MAX_TEXT, Condition

FAULT_REPORT_S = 3.0
"""A cap that fails for this long is reported as unsupported; the GPU counts at full."""
FOREIGN_S = 10.0
"""Settling time of a GPU without a task before its draw is reported as foreign."""


def gpu_infos(state: NodeState, now: Now) -> tuple[GpuInfo, ...]:
    """All GPUs, as reported in a Hello."""
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
        raised=gpu.raised is not None,
        temp_limit_c=info.temp_limit_c,
    )


def is_cappable(state: NodeState, gpu: Gpu, now: Now) -> bool:
    """Whether the scheduler may rely on its cap; a fault must last before this is False."""
    is_failing = bool(gpu.fault) and now.mono_s - gpu.faulty_since_s >= FAULT_REPORT_S
    return gpu.can_set and not is_failing and gpu.raised is None and not state.facts.is_observe


def samples(state: NodeState) -> tuple[GpuSample, ...]:
    """All GPUs, as reported in a Beat; resets the counts since the last beat."""
    found = tuple(map(_sample, state.gpus, held_watts.uses(state, planned=False)))
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
        foreign=gpu.foreign[:MAX_FOREIGN],
        foreign_more=max(0, len(gpu.foreign) - MAX_FOREIGN),
    )


def host_load(host: HostReading) -> HostLoad:
    """Its disk and network, as reported in a Beat."""
    return HostLoad(host.disk_bytes, host.disk_used_bytes, host.disk_busy, host.link)


def conditions(state: NodeState, now: Now) -> tuple[Condition, ...]:
    """Current problems, the most severe first; bounded."""
    found = [*_about_lease(state, now), *_about_site(state, now)]
    busy = held_watts.loaded(state)
    for gpu in state.gpus:
        of_gpu = _about_gpu(gpu, gpu.index in busy, now)
        found.extend(_condition(kind, gpu.subject, text) for kind, text in of_gpu)
    found.extend(one for one, until_s in state.incidents.values() if now.mono_s < until_s)
    if len(found) > MAX_CONDITIONS:
        more = len(found) - MAX_CONDITIONS + 1
        cut = _condition("more_problems", "", f"and {counted(more, 'more problem')}")
        found = [*found[: MAX_CONDITIONS - 1], cut]
    return tuple(found)


def _condition(kind: str, subject: str, text: str) -> Condition:
    return Condition(kind, subject, text[:MAX_TEXT])


def problems(state: NodeState, now: Now) -> tuple[str, ...]:
    """The same in sentences."""
    return sentences(conditions(state, now))


def sentences(found: tuple[Condition, ...]) -> tuple[str, ...]:
    """Conditions as sentences, for schedulers that do not know them."""
    return tuple(one.sentence for one in found)


def _about_lease(state: NodeState, now: Now) -> list[Condition]:
    found = []
    lease, member = state.lease, state.session.member
    if lease is not None and state.terms is not None and not state.facts.is_observe:
        over_mw = held_watts.holding_mw(state, planned=False, presume=True) - lease.lease_mw
        if over_mw > 0:
            over_w, lease_w = over_mw / 1000, lease.lease_mw / 1000
            text = f"draws up to {over_w:,.0f} W above its lease ({lease_w:,.0f} W)"
            found.append(_condition("lease_exceeded", "", text))
    if member is not None and state.pending is not None and state.pending.is_refused:
        wanted = power_text(state.pending.lease.lease_mw)
        since_s = now.mono_s - state.pending.since_s
        text = f"cannot be limited to the lease of {wanted} sent {since_s:.0f} s ago"
        found.append(_condition("lease_refused", "", text))
    return found


def _about_site(state: NodeState, now: Now) -> list[Condition]:
    found = []
    session, terms = state.session, state.file.terms
    if session.refusal:
        found.append(_condition("agent_refused", "", session.refusal))
    if state.facts.is_observe:
        text = "observe mode: sets no caps, starts no tasks"
        found.append(_condition("observe_mode", "", text))
    silent_s = now.mono_s - max(session.heard_s, state.started_s)
    if terms is not None and silent_s > terms.isolation_after_s:
        text = f"isolated: no heartbeat was answered for {silent_s:.0f} s"
        found.append(_condition("agent_isolated", "", text))
    if terms is not None and state.non_gpu_seen_mw > terms.non_gpu_worst_mw:
        text = (
            f"non-GPU load of {power_text(state.non_gpu_seen_mw)} is above the site file's worst "
            f"case of {power_text(terms.non_gpu_worst_mw)}; the measured value is used"
        )
        found.append(_condition("non_gpu_load", "", text))
    if state.is_keeper_silent:
        text = "its keeper does not answer: no task starts, stops or pauses"
        found.append(_condition("keeper_silent", "", text))
    if refused := state.secrets.problems:
        more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
        found.append(_condition("secret_refused", "", f"{refused[0]}{more}"))
    return found


def _about_gpu(gpu: Gpu, has_load: bool, now: Now) -> list[tuple[str, str]]:
    """Kinds and texts."""
    found = []
    if gpu.stale is not None:
        silent_s = now.mono_s - gpu.stale.since_mono_s
        found.append(("gpu_unread", f"no reading for {silent_s:.0f} s: {gpu.stale.reason}"))
    if not gpu.is_managed:
        return found
    if not gpu.info.can_cap:
        text = f"cannot be capped and counts in full: {gpu.info.why_not}"
        found.append(("gpu_uncappable", text))
    if gpu.is_ineffective:
        text = "draws far more than its cap: the cap has no effect; it counts in full"
        found.append(("cap_ineffective", text))
    if gpu.fault:
        found.append(("cap_fault", gpu.fault))
    if gpu.ceiling_mw is not None:
        text = f"its BMC limits it to {power_text(gpu.ceiling_mw)}: no higher cap is set"
        found.append(("cap_ceiling", text))
    if gpu.raised is not None:
        found.append(("cap_raised", raised_caps.describe(gpu.raised)))
    if gpu.clock_fault:
        found.append(("clock_fault", gpu.clock_fault))
    if gpu.foreign:
        found.append(("foreign_load", in_use_text(gpu.foreign)))
        return found
    quiet_s = now.mono_s - gpu.free_since_s
    draw_mw = gpu.reading.power_mw if gpu.reading is not None else None
    is_free = quiet_s > FOREIGN_S and not has_load
    if is_free and draw_mw is not None and draw_mw > gpu.idle_bound_mw:
        text = f"draws {power_text(draw_mw)} without a Wattline task, and no process is visible"
        found.append(("foreign_load", text))
    return found
