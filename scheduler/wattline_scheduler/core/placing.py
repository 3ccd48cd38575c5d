"""Plan, check, apply: makes the snapshot, and verifies each placement before it counts."""

from collections.abc import Sequence
from dataclasses import replace

from wattline_protocol.ids import Now
from wattline_protocol.job import WHOLE_GPU
from wattline_scheduler.core.backups import why_nothing_starts
from wattline_scheduler.core.commands import MAX_OUTSTANDING
from wattline_scheduler.core.nodes import NodeNow
from wattline_scheduler.core.starting import place
from wattline_scheduler.core.state import State
from wattline_scheduler.core.watts import booked_mw, is_leased, kept_of
from wattline_scheduler.plan.check import check
from wattline_scheduler.plan.cycle import plan
from wattline_scheduler.plan.snapshot import NodeOffer, Part, RowRoom, Snapshot, Waiting
from wattline_scheduler.plan.trial import Trial
from wattline_scheduler.power.admission import Yields, admission_room, yields_in_rows
from wattline_scheduler.power.rows import Row
from wattline_scheduler.power.thermal import coolest_first


def snapshot(state: State, now: Now, waiting: tuple[Waiting, ...] = ()) -> Snapshot:
    """An immutable picture for the planner and for explanations."""
    return snapshot_of(
        state, [offer_of(state, node) for node in state.nodes.values()], now, waiting
    )


def snapshot_of(
    state: State, offers: Sequence[NodeOffer], now: Now, waiting: tuple[Waiting, ...] = ()
) -> Snapshot:
    """What the planner would see with these offers of the nodes, in their order."""
    kept = {offer.node: offer.kept for offer in offers}
    room_mw, yields = admission_room(state.books, kept), yields_in_rows(state.books, kept)
    return Snapshot(
        now=now.mono_s,
        nodes=tuple(offers),
        rows=tuple(
            _room(state, row, mw, given)
            for row, mw, given in zip(state.domains.rows, room_mw, yields, strict=True)
        ),
        above=tuple(state.domains.rows_of[node] for node in state.nodes),
        waiting=waiting,
    )


def _room(state: State, row: Row, room_mw: int, yields: Yields) -> RowRoom:
    domain = row.domain
    kind = state.domains.by_id[domain].kind
    budget_mw = state.domains.budget_mw(domain)
    return RowRoom(domain, row.name, kind, room_mw, budget_mw, yields)


def offer_of(state: State, node: NodeNow) -> NodeOffer:
    """Made anew only when something about the node changed; `closed` is looked at every time."""
    if node.offer is None:
        gpus = tuple(
            gpu
            for gpu in node.gpus.values()
            if gpu.managed and gpu.healthy and gpu.index not in node.lost
        )
        free = coolest_first(node.warmth, (g for g in gpus if g.index not in node.holders))
        node.offer = NodeOffer(
            node=node.id,
            rack=node.site.rack,
            closed="",
            gpus=gpus,
            free=free,
            parts=tuple(
                Part(gpu, node.free_milli(gpu.index), booked_mw(state, node, gpu))
                for gpu in gpus
                if 0 < node.free_milli(gpu.index) < WHOLE_GPU
            ),
            cpus=node.record.cpus,
            cpus_free=node.record.cpus - node.cpus_used,
            memory_bytes=node.record.memory_bytes,
            memory_free_bytes=node.record.memory_bytes - node.memory_used_bytes,
            kept=kept_of(state, node),
            warmth=sum(node.warmth.get(gpu.index, 0) for gpu in free) // max(1, len(free)),
        )
    closed, is_controlled = _closed(state, node), is_leased(state, node)
    offer = node.offer
    if offer.closed != closed or offer.kept.is_controlled != is_controlled:
        kept = replace(offer.kept, is_controlled=is_controlled)
        node.offer = offer = replace(offer, closed=closed, kept=kept)
    return offer


def _closed(state: State, node: NodeNow) -> str:
    """Why no task may be placed on the node; empty = it may."""
    if node.state != "ok":
        return node.state
    if not is_leased(state, node):
        return "its caps are being read back"
    if len(node.outbox) >= MAX_OUTSTANDING:
        return f"{len(node.outbox)} commands to it are not answered yet"
    return ""


def plan_now(state: State, now: Now) -> None:
    """One planning cycle: what fits is placed, the rest learns why not."""
    state.wants_plan = False
    waiting = state.work.waiting()
    if not waiting:
        return
    withheld = why_nothing_starts(state)
    if withheld:
        state.work.note_waits({each.job: withheld for each in waiting})
        return
    result = plan(snapshot(state, now, waiting))
    trial = Trial(snapshot(state, now)) if result.placements else None
    for placement in result.placements:
        job = state.work.jobs[placement.job]
        if trial is not None and check(trial, placement, job.shape):
            state.wants_plan = True  # no longer fits: planned anew
            continue
        place(state, job.gangs[placement.gang], placement, now)
    state.work.note_waits(result.waits)
    state.plan_reserved_for = result.reserved_for
    state.wants_plan = state.wants_plan or result.is_cut
