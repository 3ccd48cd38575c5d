"""Power leases: granted, acknowledged, refused, and rebalanced once a heartbeat or on demand.

Every lease is booked and saved before it is sent (I9), and only `Books` decides what may be booked,
so that no decision here can break I1; it can only be unfair or slow.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from wattline_protocol.ids import GpuIndex, Instant, NodeId, Now
from wattline_protocol.site.wall_power import PERMILLE
from wattline_protocol.wire.agent_messages import Lease, LeaseAck, LeaseRefused
from wattline_scheduler.core.leases.distrust import distrust
from wattline_scheduler.core.leases.lease_load import (
    booking_of,
    caps_for,
    floor_of,
    is_covered,
    is_leased,
    load_now,
    outdate_moved,
)
from wattline_scheduler.core.leases.overruns import note_recovery
from wattline_scheduler.core.model.command_outbox import LEASE_KEY, drop, next_seq
from wattline_scheduler.core.model.jobs.job import Gang, Paused, Starting
from wattline_scheduler.core.model.node import NodeNow, Outstanding
from wattline_scheduler.core.model.state import State
from wattline_scheduler.power.allocation.allocator import Allocation
from wattline_scheduler.power.allocation.lease_pacing import SURGE_PERMILLE
from wattline_scheduler.power.allocation.lease_plan import LeaseDecision, LeaseWish, plan_leases
from wattline_scheduler.power.allocation.split import split
from wattline_scheduler.power.topology.matrix import Bools, Ints
from wattline_scheduler.records import SentLease

STUCK_AFTER_S = 3.0
"""Time after which an unacknowledged lease is not waited for: others free its watts (I4)."""

LOWEST_HOLD_S = 2.0
"""Time for which "cannot be held below" is believed before a lower lease is tried again."""

START_PRIORITY = 1_000
"""Added to the priority of growth that a start or a resume waits for."""


def send_lease(
    state: State,
    node: NodeNow,
    lease_mw: int,
    now: Now,
    share_mw: Mapping[GpuIndex, int] | None = None,
) -> None:
    """Books, saves and sends a lease within I1. Does nothing where the books forbid it.

    `share_mw`: shares of the busy GPUs, if known already.
    """
    if not node.is_adopted or not state.books.may_send(node.id, lease_mw):
        return
    grows = lease_mw > state.books.committed_mw(node.id)
    if grows and is_growth_stopped(state, node):
        return
    if share_mw is None:
        share_mw = split(load_now(state, node, now), lease_mw)
    caps_mw = caps_for(node, share_mw)
    seq = next_seq(node)
    sent = SentLease(state.epoch, node.incarnation, seq, lease_mw)
    state.journal.save(state.books.send(node.id, sent))
    old = node.outbox.get(LEASE_KEY)
    lease = Lease(state.epoch, node.incarnation, seq, lease_mw, caps_mw)
    first_sent = old.first_sent if old is not None else now.mono_s
    drop(node, LEASE_KEY)
    node.outbox[LEASE_KEY] = Outstanding(lease, first_sent, now.mono_s)
    node.lease_seq = seq
    state.journal.send(node.id, lease)


def is_growth_stopped(state: State, node: NodeNow) -> bool:
    """Whether a node that contradicts the books shares a domain with this node (I9)."""
    above = state.domains.of
    return any(not set(above[node.id]).isdisjoint(above[other]) for other in state.contradicted)


def acknowledged(state: State, node: NodeNow, ack: LeaseAck, now: Now) -> bool:
    """Counts an acknowledgement of an outstanding lease; False = it changed nothing."""
    entry = state.books.entry(node.id)
    sent = next((s for s in entry.sent if s.seq == ack.seq and s.epoch == ack.epoch), None)
    if sent is not None and sent.lease_mw != ack.lease_mw:
        text = f"acknowledges {ack.lease_mw} mW for a lease of {sent.lease_mw} mW"
        distrust(state, node, text, now)
        return False
    record = state.books.acknowledge(node.id, ack.epoch, ack.incarnation, ack.seq)
    if record is None:
        return False
    state.journal.save(record)
    node.acked_seq = max(node.acked_seq, ack.seq)
    _answered(node, ack.seq)
    note_recovery(state, now)
    state.wants_rebalance |= state.wants_headroom
    return True


def refused(state: State, node: NodeNow, refusal: LeaseRefused, now: Now) -> None:
    """Limits the cut of a node that cannot be held that low now; others free the rest."""
    if refusal.seq != node.lease_seq:
        return
    _answered(node, refusal.seq)
    # It is held at no more than its booked watts, whatever it reports.
    node.lowest_mw = min(refusal.lowest_mw, state.books.committed_mw(node.id))
    node.lowest_until = Instant(now.mono_s + LOWEST_HOLD_S)
    node.load = None
    state.wants_rebalance = True


def _answered(node: NodeNow, seq: int) -> None:
    out = node.outbox.get(LEASE_KEY)
    if out is None:
        return
    if out.command.seq <= seq:
        drop(node, LEASE_KEY)
    else:
        out.first_sent = out.last_sent


def is_stuck(node: NodeNow, now: Now) -> bool:
    """Whether its newest lease has been unacknowledged for too long."""
    out = node.outbox.get(LEASE_KEY)
    return out is not None and now.mono_s - out.first_sent > STUCK_AFTER_S


def refresh_loads(state: State, now: Now) -> None:
    """Updates the columns of the allocator; cheap where nothing has changed."""
    fleet = state.fleet
    outdate_moved(state)
    for node in state.nodes.values():
        if not is_leased(state, node) or is_stuck(node, now):
            fleet.drop(node.id)
            continue
        load = node.load
        if load is None or load.lowest_mw:
            load = load_now(state, node, now)
        if fleet.loads.get(node.id) is not load:
            fleet.put(load)


def divide(state: State, now: Now) -> Allocation:
    """Divides the watts among nodes whose leases can be set; cheap where nothing has changed."""
    refresh_loads(state, now)
    fleet = state.fleet
    allocation = fleet.allocate(state.books.free_for(fleet.nodes.is_set))
    state.binding.update(allocation, fleet.gpus, now.unix_s)
    return allocation


def rebalance(state: State, now: Now) -> Allocation:
    """Divides the watts again and sends the leases that change; returns the allocation."""
    allocation = divide(state, now)
    books = state.books
    eager = _eager(state)
    is_over = state.domains.matrix.below(books.full_rows())
    must = is_over | _reshaped(state, now)
    due = _due(state, allocation, eager, must, now)
    for decision in plan_leases(books, _wishes(state, allocation, due, eager, must)):
        _send(state, allocation, decision, now)
    _send_reshaped(state, allocation, now)
    _squeeze_stuck(state, is_over, now)
    state.wants_rebalance = False
    return allocation


def _send(state: State, allocation: Allocation, decision: LeaseDecision, now: Now) -> None:
    share_mw = _shares(state, allocation, decision)
    if share_mw is not None:
        state.reshaped.pop(decision.node, None)
    send_lease(state, state.nodes[decision.node], decision.lease_mw, now, share_mw)


def _reshaped(state: State, now: Now) -> Bools:
    """Nodes whose GPUs have other weights than their newest lease knows."""
    matrix = state.fleet.matrix
    state.reshaped = {n: until for n, until in state.reshaped.items() if now.mono_s < until}
    found = np.zeros(len(matrix.nodes), dtype=np.bool_)
    found[[matrix.at[node] for node in state.reshaped]] = True
    return found


def _send_reshaped(state: State, allocation: Allocation, now: Now) -> None:
    """Sends other caps within the same lease."""
    for node in list(state.reshaped):
        newest_mw = state.books.newest_lease_mw(node)
        at = state.fleet.matrix.at[node]
        is_same = newest_mw is not None and newest_mw == allocation.lease_mw[at]
        if newest_mw is not None and is_same and state.fleet.nodes.is_set[at]:
            _send(state, allocation, LeaseDecision(node, newest_mw), now)


def _shares(
    state: State, allocation: Allocation, decision: LeaseDecision
) -> dict[GpuIndex, int] | None:
    """The allocator's shares of the node's GPUs; None if the lease is another one."""
    fleet, node = state.fleet, decision.node
    if decision.lease_mw != allocation.lease_mw[fleet.matrix.at[node]]:
        return None
    given_mw: list[int] = allocation.gpu_mw[fleet.gpu_entries(node)].tolist()
    busy = fleet.loads[node].gpus
    return {gpu.index: mw for gpu, mw in zip(busy, given_mw, strict=True)}


def _due(
    state: State, allocation: Allocation, eager: dict[NodeId, int], must: Bools, now: Now
) -> Bools:
    """Nodes whose leases change now; see `power.allocation.lease_pacing`."""
    matrix, wish_mw, newest_mw = state.fleet.matrix, allocation.lease_mw, state.books.newest
    is_eager = np.zeros(len(matrix.nodes), dtype=np.bool_)
    is_eager[[matrix.at[node] for node in eager]] = True
    contended = np.zeros(matrix.row_count, dtype=np.bool_)
    contended[allocation.row[allocation.row >= 0]] = True
    contended[matrix.entry_row[is_eager[matrix.entry_node]]] = True
    target_mw = state.fleet.target_mw()
    lent_out = _lent_out(state, newest_mw, target_mw)
    state.wants_headroom = bool(lent_out.any())
    contended |= lent_out
    growth_mw = np.where(newest_mw > 0, np.maximum(wish_mw - newest_mw, 0), 0)
    grantable_mw = state.domains.grantable_in_rows()
    surging = matrix.in_rows(growth_mw) * PERMILLE > grantable_mw * SURGE_PERMILLE
    return state.pace.due(
        wish_mw,
        newest_mw,
        target_mw,
        must=state.fleet.nodes.is_set & (is_eager | must),
        hurry=matrix.below(contended),
        surge=matrix.below(surging),
        at=now.mono_s,
    )


def _lent_out(state: State, newest_mw: Ints, target_mw: Ints) -> Bools:
    """Rows in which demand rose by more than is free: other nodes have the watts for it."""
    ramp_mw = np.where(state.pace.rose(newest_mw, target_mw), target_mw - newest_mw, 0)
    lent: Bools = state.fleet.matrix.in_rows(ramp_mw) > state.books.headroom_in_rows()
    return lent


def _wishes(
    state: State,
    allocation: Allocation,
    due: Bools,
    eager: dict[NodeId, int],
    must: Bools,
) -> list[LeaseWish]:
    wishes: list[LeaseWish] = []
    for at in np.flatnonzero(due & state.fleet.nodes.is_set).tolist():
        node = state.fleet.matrix.nodes[at]
        busy = state.fleet.loads[node].gpus
        wishes.append(
            LeaseWish(
                node=node,
                lease_mw=int(allocation.lease_mw[at]),
                priority=max((g.priority for g in busy), default=0) + eager.get(node, 0),
                must=node in eager or bool(must[at]),
            )
        )
    return wishes


def _eager(state: State) -> dict[NodeId, int]:
    """Nodes on which a gang waits for its watts."""
    waiting = (a for gang in waiting_gangs(state) for a in gang.live)
    return {
        a.node: START_PRIORITY
        for a in waiting
        if not is_covered(state, state.nodes[a.node], a.gang)
    }


def _squeeze_stuck(state: State, is_over: Bools, now: Now) -> None:
    """Sends the minimum lease to stuck nodes too while their domain is over its budget."""
    fleet = state.fleet
    for at in np.flatnonzero(is_over & ~fleet.nodes.is_set).tolist():
        node = state.nodes[fleet.matrix.nodes[at]]
        newest_mw = state.books.newest_lease_mw(node.id)
        if newest_mw is None or not is_leased(state, node):
            continue
        floor_mw = load_now(state, node, now).floor_mw
        if floor_mw < newest_mw:
            send_lease(state, node, floor_mw, now)


def waiting_gangs(state: State) -> list[Gang]:
    """Gangs that wait for watts: highest priority first, then oldest."""
    gangs = [*state.work.starting.values(), *state.work.paused.values()]
    return in_order(gang for gang in gangs if is_waiting(gang))


def in_order(gangs: Iterable[Gang]) -> list[Gang]:
    """Highest priority first, then oldest."""
    return sorted(gangs, key=lambda gang: (-gang.job.spec.priority, gang.key))


def is_waiting(gang: Gang) -> bool:
    """Whether its tasks are to start or resume as soon as their watts are in force."""
    phase = gang.phase
    return (isinstance(phase, Starting) and not phase.is_ordered) or (
        isinstance(phase, Paused) and phase.is_resuming
    )


def grow_for(state: State, gang: Gang, now: Now) -> bool:
    """Sends the growth that a waiting gang needs, as headroom allows; True = all covered."""
    is_ready = True
    for attempt in gang.live:
        node = state.nodes[attempt.node]
        if is_covered(state, node, gang):
            continue
        is_ready = False
        newest_mw = state.books.newest_lease_mw(node.id)
        floor_mw = floor_of(node, only=gang)
        if newest_mw is None or newest_mw >= floor_mw or not is_leased(state, node):
            continue
        most_mw = state.books.committed_mw(node.id) + state.books.node_headroom_mw(node.id)
        lease_mw = min(max(booking_of(state, node).booked_mw, floor_mw), most_mw)
        if lease_mw >= floor_mw:
            send_lease(state, node, lease_mw, now)
        else:
            state.wants_rebalance = True
    return is_ready
