"""Foreign processes, which belong to no attempt: their GPUs are withheld and booked without alarm.

A foreign process on an idle node raises its holding above its lease at once: the GPU counts its
minimum cap instead of its idle watts, and no other cap can make up for it. That is ordinary, at
most of this size per GPU, and covered by the reserve of every domain (I1). It is therefore no
contradiction (I9): the next division leases it, and where it does not fit, the node is asked to
read back its caps, and its holding replaces its entry.
"""

from wattline_protocol.ids import GpuIndex, Now
from wattline_protocol.site.wall_power import wall_mw
from wattline_protocol.wire.agent_messages import Beat, GpuSample
from wattline_protocol.wire.gpu_process import foreign_text
from wattline_scheduler.core.model.jobs.job import Paused
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.state import State
from wattline_scheduler.power.demand.node_load import gpu_floor_mw

LEASED_WITHIN_S = 3.0
"""Time to wait for a lease that covers the foreign draw before the caps are read back."""


def take_foreign(state: State, node: NodeNow, sample: GpuSample) -> None:
    """Takes a heartbeat's list of foreign processes on a GPU. Its conditions raise the problem."""
    known, found = node.foreign.get(sample.index, ()), sample.foreign
    if found == known:
        return
    if found:
        node.foreign[sample.index] = found
    else:
        node.foreign.pop(sample.index, None)
    if [one.text for one in known] != [one.text for one in found]:
        node.outdate_offer()
    if bool(known) == bool(found):
        return
    node.outdate()
    state.forget_verdicts()
    state.wants_plan = True


def in_use(node: NodeNow, index: GpuIndex) -> str:
    """Text why the GPU is withheld; empty = no foreign process uses it."""
    found = node.foreign.get(index)
    return f"is in use by {foreign_text(found)}" if found else ""


def jump_mw(node: NodeNow, beat: Beat) -> int:
    """Upper bound by which foreign processes can have raised the node above its books: free GPUs
    that are not idle, from idle watts to their minimum caps, at the wall."""
    load_mw = 0
    for sample in beat.gpus:
        gpu = node.gpus.get(sample.index)
        is_known = gpu is not None and gpu.managed and sample.power_mw is not None
        if gpu is None or not is_known or sample.is_idle or _has_work(node, sample.index):
            continue
        load_mw += max(0, gpu_floor_mw(gpu) - gpu.idle_mw)
    return wall_mw(load_mw, node.site.psu_efficiency_permille)


def _has_work(node: NodeNow, index: GpuIndex) -> bool:
    holders = node.holders.get(index, ())
    return any(not isinstance(one.gang.phase, Paused) for one in holders)


def is_due_for_reading(state: State, node: NodeNow, beat: Beat, now: Now) -> bool:
    """Whether foreign draw still exceeds the books after the time to wait for a lease."""
    over_mw = beat.holding_mw - state.books.committed_mw(node.id)
    is_over = over_mw > 0 and beat.lease_seq >= node.acked_seq
    if not is_over or state.books.entry(node.id).standing != "leased":
        node.jump_mw, node.over_since = 0, None
        return False
    node.jump_mw = jump_mw(node, beat)
    if node.over_since is None:
        node.over_since = now.mono_s
        node.load, state.wants_rebalance = None, True
    return now.mono_s - node.over_since >= LEASED_WITHIN_S
