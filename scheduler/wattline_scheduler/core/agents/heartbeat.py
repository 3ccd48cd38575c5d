"""Heartbeats: each is acknowledged, none changes the books. Also detects silent nodes."""

from wattline_protocol.ids import Instant, Now
from wattline_protocol.text.wording import power_text
from wattline_protocol.wire.agent_messages import Beat, BeatSeen, GpuSample
from wattline_scheduler.core.agents.node_problems import gpu_subject, update_conditions
from wattline_scheduler.core.agents.progress import watch_progress
from wattline_scheduler.core.agents.raised_caps import update_raises
from wattline_scheduler.core.agents.task_reports import lose, take_digest
from wattline_scheduler.core.leases.distrust import (
    ask_for_hello,
    contradiction,
    distrust,
    impossible_floor,
)
from wattline_scheduler.core.leases.lease_load import (
    booking_of,
    demand_of,
    is_leased,
    saves_energy,
    update_load,
)
from wattline_scheduler.core.leases.measured_draw import power_doubt
from wattline_scheduler.core.lifecycle.stragglers import watch_ranks
from wattline_scheduler.core.model.foreign_processes import is_due_for_reading, take_foreign
from wattline_scheduler.core.model.jobs.job import Attempt, Running
from wattline_scheduler.core.model.node import NodeNow, Unheard
from wattline_scheduler.core.model.problems import begin, end
from wattline_scheduler.core.model.queue.remaining_time import ends
from wattline_scheduler.core.model.state import State

BOOKED_BEATS = 16
"""Heartbeats between two updates of the node's booked watts from learned demand."""

KILL_TIME_S = 2.0
"""Upper bound of the time a keeper takes to kill a process group."""

CLOCK_DRIFT = 0.01
"""Upper bound of the clock rate difference between scheduler and node."""

LEASE_MARGIN_S = 5.0
"""Additional margin for scheduling delays and suspended virtual machines."""

DOUBTED_BEATS = 5
"""A BMC reading is up to some seconds old; only one implausible for this many beats is an alarm."""

WARMTH_BEATS = 8
"""Heartbeats between two observations of temperatures, which change slowly."""


def beat(state: State, node: NodeNow, message: Beat, now: Now) -> None:
    """Acknowledges a heartbeat, then processes it if it is newer than the last one."""
    node.answered_at = now.mono_s
    state.journal.send(node.id, BeatSeen(state.epoch, message.incarnation, message.seq))
    if node.beat is not None and message.seq <= node.beat.seq:
        return
    if node.beat is None:
        state.wants_rebalance = state.wants_plan = True
        node.outdate_offer()
    update_conditions(state, node, message, now)
    update_raises(state, node, message, now)
    node.beat = message
    problem = contradiction(state, node, message)
    if problem:
        distrust(state, node, problem, now)
    elif _must_greet(state, node):
        ask_for_hello(state, node, "its reports contradict the books", now)
    elif is_due_for_reading(state, node, message, now):
        ask_for_hello(state, node, "foreign processes use its GPUs, not covered by a lease", now)
    _measured_base(state, node, message, now)
    _judge_power(state, node, message, now)
    _take_samples(state, node, message.gpus, now)
    if message.seq % BOOKED_BEATS == 0:
        _update_booked(state, node, now)
    if message.seq % WARMTH_BEATS == 0 or not node.warmth:
        _learn_warmth(state, node, message, now)
    take_digest(state, node, message.seq, message.tasks, now)
    watch_progress(state, node, now)
    watch_ranks(state, node, message.gpus, now)
    update_load(state, node, now)
    _judge_floor(state, node, now)


def _judge_floor(state: State, node: NodeNow, now: Now) -> None:
    """Once for each load of the node, whatever event computed it: most beats change nothing."""
    if node.load is not None and node.load is node.judged_load:
        return
    node.judged_load = node.load
    if is_leased(state, node) and (text := impossible_floor(node)):
        distrust(state, node, text, now)


def _must_greet(state: State, node: NodeNow) -> bool:
    """Whether the node counts in full, which only the Hello of a newer incarnation ends."""
    is_full = node.id in state.contradicted or state.books.entry(node.id).standing == "full"
    return is_full and not node.record.is_quarantined


def _update_booked(state: State, node: NodeNow, now: Now) -> None:
    """Updates the offer if the learned demand or the expected ends of its jobs have changed."""
    offer = state.fleet_view.offers[state.fleet_view.position[node.id]]
    known_ends = ends(state.work.runtime_bounds, node, now)
    if booking_of(state, node) != offer.booking or known_ends != offer.ends:
        node.outdate_offer()


def _take_samples(state: State, node: NodeNow, samples: tuple[GpuSample, ...], now: Now) -> None:
    for sample in samples:
        if sample.index not in node.gpus:
            continue
        holders = node.holders.get(sample.index)
        # One holder is the rule, and this runs for every GPU of every heartbeat.
        if holders and (
            isinstance(holders[0].gang.phase, Running)
            or any(isinstance(other.gang.phase, Running) for other in holders[1:])
        ):
            _take_draw(state, node, holders, sample, now)
        if sample.is_idle != (sample.index in node.idle):
            (node.idle.add if sample.is_idle else node.idle.discard)(sample.index)
            node.load = None
        if sample.foreign or sample.index in node.foreign:
            take_foreign(state, node, sample)
        if sample.lost != (sample.index in node.lost):
            _gpu_lost_or_back(state, node, sample, now)


DEMAND_ROSE_MW = 2_000
DEMAND_FELL_MW = 8_000
"""Smaller changes of a GPU's demand need no new allocation: its ramp margin is larger."""


def _take_draw(
    state: State, node: NodeNow, holders: tuple[Attempt, ...], sample: GpuSample, now: Now
) -> None:
    gpu = node.gpus[sample.index]
    state.demand.observe(node.id, gpu, sample, now.mono_s)
    demand_mw = demand_of(state, node, gpu, holders, now)
    known_mw = node.demand_mw.get(sample.index, 0)
    if not known_mw - DEMAND_FELL_MW <= demand_mw <= known_mw + DEMAND_ROSE_MW:
        node.demand_mw[sample.index] = demand_mw
        node.load = None
    if state.demand.is_bound(node.id, sample.index, now.mono_s) != (sample.index in node.bound):
        node.bound ^= {sample.index}
        node.load = None
    if _all_save_energy(holders) != (sample.index in node.efficient):
        node.efficient ^= {sample.index}
        node.load = None


def _all_save_energy(holders: tuple[Attempt, ...]) -> bool:
    return saves_energy(holders[0]) and all(saves_energy(other) for other in holders[1:])


def _learn_warmth(state: State, node: NodeNow, message: Beat, now: Now) -> None:
    """Learns GPU temperatures, so that placement avoids the warmest."""
    if message.inlet_c is not None:
        for sample in message.gpus:
            state.thermal.observe(node.id, sample, message.inlet_c, now.mono_s)
    warmth = {
        gpu.index: state.thermal.warmth(node.id, gpu, message.inlet_c) for gpu in node.gpus.values()
    }
    if warmth != node.warmth:
        node.warmth = warmth
        node.outdate_offer()


def _gpu_lost_or_back(state: State, node: NodeNow, sample: GpuSample, now: Now) -> None:
    node.outdate()
    state.forget_verdicts()
    if sample.lost:
        node.lost.add(sample.index)
        text = f"GPU {sample.index} of {node.id} is lost: no task is placed on it"
        subject = gpu_subject(node.id, sample.index)
        begin(state, "gpu_lost", subject, text, now, by=node.id, node=node.id)
    else:
        node.lost.discard(sample.index)
        state.wants_plan = True


def _measured_base(state: State, node: NodeNow, message: Beat, now: Now) -> None:
    """Counts a base load measured above the site file's worst case, and raises an alarm."""
    measured_mw, allowed_mw = message.non_gpu_mw, node.site.non_gpu_worst_mw
    if measured_mw is None or measured_mw <= allowed_mw:
        return
    text = (
        f"{node.id} draws {power_text(measured_mw)} apart from its GPUs, the site file allows "
        f"{power_text(allowed_mw)}"
    )
    begin(state, "base_above_worst", node.id, text, now, node=node.id)
    # Nothing but GPUs draws above the nameplate, so one key cannot take the watts of others.
    counted_mw = min(measured_mw, node.site.nameplate_mw)
    if counted_mw > node.non_gpu_worst_mw:
        node.non_gpu_worst_mw = counted_mw
        node.outdate()
        state.forget_verdicts()


def _judge_power(state: State, node: NodeNow, message: Beat, now: Now) -> None:
    """Discards an implausible power reading of a node; the model is used instead."""
    node.power_doubt = power_doubt(node, message)
    if node.power_doubt:
        node.doubted_beats += 1
        if node.doubted_beats >= DOUBTED_BEATS:
            text = f"the power sensor of {node.id} {node.power_doubt}: its draw is estimated"
            begin(state, "power_implausible", node.id, text, now, node=node.id)
        return
    node.doubted_beats = 0
    text = f"the power sensor of {node.id} is plausible again"
    end(state, "power_implausible", node.id, now, text)


def watch_silence(state: State, now: Now) -> None:
    """Marks nodes not heard for long as silent; their leases stay in the books (I3)."""
    limit_s = state.site.timing.isolation_after_s
    for node in state.nodes.values():
        since = node.heard_at if node.heard_at is not None else state.started_at
        is_due = now.mono_s - since > limit_s
        node.is_isolated = is_due and _was_ever_heard(node)
        if is_due and not node.is_silent and _was_ever_heard(node):
            node.is_silent = True
            node.outdate()
            text = f"{node.id} has not reported for {limit_s:.0f} s; its lease stays committed"
            begin(state, "node_silent", node.id, text, now, node=node.id)
        if not node.is_reachable and node.attempts:
            _end_expired(state, node, now)


def _was_ever_heard(node: NodeNow) -> bool:
    return not node.record.is_off and not (
        isinstance(node.link, Unheard) and node.record.incarnation == 0
    )


def expires_at(state: State, node: NodeNow) -> Instant:
    """Time at which task leases of a node have certainly expired if it was not heard since (I7)."""
    lease_s = max(state.site.timing.task_lease_s, node.record.task_lease_s)
    return Instant(node.answered_at + lease_s * (1 + CLOCK_DRIFT) + KILL_TIME_S + LEASE_MARGIN_S)


def _end_expired(state: State, node: NodeNow, now: Now) -> None:
    if now.mono_s < expires_at(state, node):
        return
    for attempt in list(node.attempts.values()):
        if attempt.record.has_task_lease and attempt.is_live and attempt.is_ordered:
            lose(state, attempt, f"{node.id} is silent and its task lease has run out", now)
