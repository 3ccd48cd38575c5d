"""Samples in, beats out; learned values, and roll-ups during outages."""

from wattline_agent.core.effects import SaveUsage, Send, Spool
from wattline_agent.core.events import Sampled
from wattline_agent.core.link import session
from wattline_agent.core.link.outage import Increment
from wattline_agent.core.link.report import conditions, host_load, samples, sentences
from wattline_agent.core.model import PROBLEM_RETENTION_S, Member, NodeState
from wattline_agent.core.ports import DeviceEvent, HostReading
from wattline_agent.core.power import foreign_processes, held_watts, raised_caps
from wattline_agent.core.power.gpus import (
    READING_GAP_S,
    Gpu,
    Step,
    learn_idle,
    overshoot_seen,
    take_reading,
)
from wattline_agent.core.tasks.attempts import reports
from wattline_agent.core.tasks.usage import at_wall, book, non_gpu_mw, snapshot
from wattline_protocol.ids import GpuIndex, Now, Sequence
from wattline_protocol.text.wording import power_text
from wattline_protocol.wire.agent_messages import Beat
from wattline_protocol.wire.problems import MAX_PART, MAX_TEXT, Condition

USAGE_SAVE_S = 10.0
"""Interval of saving usage; a crash loses utilisation of at most this long, no energy."""
BEAT_SLACK_S = 0.1
"""A slightly early sample carries the beat, so that the period is met on average."""
BEAT_PATIENCE_S = 0.5
MAX_INCIDENTS = 64
DEFAULT_BEAT_S = 1.0


def sampled(state: NodeState, event: Sampled, now: Now) -> None:
    """Handle a sample of every GPU: limits, idleness, usage; then beat if one is due."""
    steps: dict[GpuIndex, Step] = {}
    since_s = now.mono_s - state.sampled_s
    state.sampled_s = now.mono_s
    if since_s <= READING_GAP_S:  # a gap without samples confirms nothing and does not count
        state.adopt_wait_s -= since_s
    foreign_processes.take(state, event.foreign, now)
    busy = held_watts.loaded(state)
    for gpu, reading in zip(state.gpus, event.readings, strict=False):
        limit_mw, may_hold, was_lost = gpu.limit_mw, gpu.can_hold or gpu.raised, gpu.is_lost
        step = take_reading(gpu, reading, gpu.index in busy)
        if step is not None:
            steps[gpu.index] = step
        if may_hold and not was_lost:
            _watch_raises(state, gpu, limit_mw, now)
    _learn(state, busy, now)
    book(state, steps, event.use)
    _roll_up(state, steps, now)
    if now.mono_s >= state.usage_due_s:
        state.usage_due_s = now.mono_s + USAGE_SAVE_S
        if any(attempt.is_alive for attempt in state.attempts.values()):
            state.emit(SaveUsage(snapshot(state)))
    member = state.session.member
    is_due = state.session.is_connected and now.mono_s >= state.beat_due_s - BEAT_SLACK_S
    if is_due and member is not None and member.adopted is not None:
        state.beat_wanted_s = now.mono_s
        state.beat_due_s = max(state.beat_due_s + member.welcome.beat_period_s, now.mono_s)


def _watch_raises(state: NodeState, gpu: Gpu, before_mw: int, now: Now) -> None:
    if gpu.limit_mw > before_mw and not state.facts.is_observe:
        text = "its limit was raised by another process"
        incident(state, "cap_raised", gpu.subject, text, now)
    raised_caps.take_limit(state, gpu, before_mw, now)
    if raised_caps.is_watched(gpu, now) or gpu.raised is not None:
        gpu.retry_at_s = 0.0  # retry at once: the source of the raises may pause


def beat_if_wanted(state: NodeState, now: Now) -> None:
    """Beat once the caps that the sample required have been read back, so that it reports the state
    after the correction. A slow driver delays it a little.
    """
    member, wanted_s = state.session.member, state.beat_wanted_s
    if wanted_s is None or (state.caps.is_waiting and now.mono_s - wanted_s < BEAT_PATIENCE_S):
        return
    state.beat_wanted_s = None
    if member is not None and member.adopted is not None and state.session.is_connected:
        _beat(state, member, now)


def _learn(state: NodeState, busy: set[GpuIndex], now: Now) -> None:
    """Learn idle draw and overshoot of this hardware; saved on disk."""
    idle_mw = dict(state.file.idle_mw)
    overshoot = dict(state.file.overshoot_permille)
    for gpu in state.gpus:
        if learn_idle(gpu, gpu.index in busy) and gpu.learned_idle_mw is not None:
            idle_mw[gpu.info.uuid] = gpu.learned_idle_mw
        seen = overshoot_seen(gpu)
        if seen > overshoot.get(gpu.info.name, 1000):
            overshoot[gpu.info.name] = seen
            text = f"drew {seen / 10 - 100:g} % above its cap; this factor counts from now on"
            incident(state, "cap_overshoot", gpu.subject, text, now)
    if idle_mw != state.file.idle_mw or overshoot != state.file.overshoot_permille:
        state.change_file(idle_mw=idle_mw, overshoot_permille=overshoot)


def incident(state: NodeState, kind: str, subject: str, text: str, now: Now) -> None:
    """Record an event that cannot be read again: in the log, and in the beats for a while."""
    one = Condition(kind, subject[:MAX_PART], text[:MAX_TEXT])
    known = state.incidents.get((kind, subject))
    if known is None or known[0] != one:
        state.note("incident", one.sentence)
    state.incidents[kind, subject] = one, now.mono_s + PROBLEM_RETENTION_S
    while len(state.incidents) > MAX_INCIDENTS:
        del state.incidents[next(iter(state.incidents))]


def device_reported(state: NodeState, events: tuple[DeviceEvent, ...], now: Now) -> None:
    """Handle XIDs and other events of the driver."""
    for event in events:
        subject, error = f"GPU {event.index}", f"{event.kind} {event.code}"
        incident(state, "device_event", f"{subject} {error}", f"{event.text}", now)


def host_read(state: NodeState, reading: HostReading, now: Now) -> None:
    """Measured load above the site file's worst case raises it and is an alarm (I2)."""
    state.host = reading
    terms = state.file.terms
    if reading.non_gpu_mw is None or reading.source != "hwmon" or terms is None:
        return
    state.non_gpu_recent.append(reading.non_gpu_mw)
    lasting_mw = min(state.non_gpu_recent)
    is_full = len(state.non_gpu_recent) == state.non_gpu_recent.maxlen
    if is_full and lasting_mw > max(terms.non_gpu_worst_mw, state.non_gpu_seen_mw):
        state.non_gpu_seen_mw = lasting_mw
        text = f"measured non-GPU load of {power_text(lasting_mw)} above the worst case"
        incident(state, "non_gpu_load", "", text, now)


def _roll_up(state: NodeState, steps: dict[GpuIndex, Step], now: Now) -> None:
    if not steps:
        return
    seconds = max(step.seconds for step in steps.values())
    gpu_mj = tuple(steps[g.index].energy_mj if g.index in steps else 0 for g in state.gpus)
    node_mw = state.host.node_mw
    if node_mw is None:
        node_mw = at_wall(state, round(sum(gpu_mj) / seconds) + non_gpu_mw(state))
    rollup = state.outage.add(
        Increment(
            at_s=now.mono_s,
            unix_s=now.unix_s,
            seconds=seconds,
            node_energy_mj=round(node_mw * seconds),
            gpu_energy_mj=gpu_mj,
            node_mw=node_mw,
            cap_bound_gpu_ms=round(sum(s.cap_bound_s for s in steps.values()) * 1000),
        ),
        max(state.session.beat_heard_s, state.started_s),
    )
    if rollup is not None:
        state.emit(Spool(rollup))


def _beat(state: NodeState, member: Member, now: Now) -> None:
    period_s = member.welcome.beat_period_s
    current = state.session
    current.beat_seq += 1
    lease, host = state.lease, state.host
    found = conditions(state, now)
    may_be_lost = not member.is_confirmed and now.mono_s - member.adopted_s >= period_s
    if may_be_lost and member.adopted is not None:
        state.emit(Send(member.adopted))
    session.beat_sent(state, current.beat_seq, now)
    state.emit(
        Send(
            Beat(
                epoch=member.welcome.epoch,
                incarnation=member.welcome.incarnation,
                seq=current.beat_seq,
                lease_seq=lease.seq if lease is not None else Sequence(0),
                lease_mw=lease.lease_mw if lease is not None else 0,
                holding_mw=_held_mw(state, member),
                gpus=samples(state),
                tasks=reports(state),
                node_mw=host.node_mw,
                node_source=host.source,
                inlet_c=host.inlet_c,
                cpu_pct=host.cpu_pct,
                memory_used_bytes=host.memory_used_bytes,
                non_gpu_mw=non_gpu_mw(state),
                problems=sentences(found),
                raised=raised_caps.reported(state),
                simulated=state.facts.is_simulated,
                conditions=found,
                host=host_load(host),
            )
        )
    )


def _held_mw(state: NodeState, member: Member) -> int:
    if state.facts.is_observe:
        return member.adopted.holding_mw if member.adopted is not None else 0
    return held_watts.holding_mw(state, planned=False)
