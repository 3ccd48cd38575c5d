"""Distrust: a node that contradicts the books counts in full until its caps are read back (I9)."""

from collections.abc import Iterable

from wattline_protocol.ids import Now
from wattline_protocol.site.wall_power import wall_mw
from wattline_protocol.text.wording import power_text
from wattline_protocol.wire.agent_messages import Beat, GpuInfo, Rehello
from wattline_scheduler.core.leases.lease_load import floor_of
from wattline_scheduler.core.leases.overruns import note_overruns
from wattline_scheduler.core.leases.quarantine import contradicts
from wattline_scheduler.core.model.foreign_processes import jump_mw
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.problems import begin
from wattline_scheduler.core.model.state import State
from wattline_scheduler.plan.model.columns import class_of
from wattline_scheduler.plan.model.device_classes import devices

REHELLO_PERIOD_S = 1.0
"""Minimum time between two requests for a Hello."""

MOST_NAMEPLATES = 2
"""Upper bound of a credible need or holding of a node, in nameplates: the site file may be somewhat
wrong, but one key must not take the watts of all others."""


MAX_GPUS_OF_HOST = 64
"""Every tick and plan looks at each GPU; hosts have 16 at most, and some 32 by PCIe fabrics."""

MAX_DEVICES_OF_GPU = 7
"""MIG devices."""

MAX_CLASSES_OF_HOST = 256
"""Unlike GPUs and MIG devices that one key may report in a run of the scheduler."""


def distrust(state: State, node: NodeNow, text: str, now: Now) -> None:
    """Counts the node in full, stops growth in its domains, and has it read back its caps."""
    if node.record.is_quarantined:
        return
    if node.id not in state.contradicted:
        state.journal.save(state.books.distrust(node.id))
        node.outdate_offer()
        why = f"{node.id} {text}; it counts in full until its caps are read back"
        begin(state, "books_contradicted", node.id, why, now, node=node.id)
        note_overruns(state, f"{node.id} contradicts the books", now)
        contradicts(state, node, text, now)
    ask_for_hello(state, node, "its reports contradict the books", now)


def ask_for_hello(state: State, node: NodeNow, reason: str, now: Now) -> None:
    """Sends a Rehello, at most one per period."""
    if node.rehello_at is not None and now.mono_s - node.rehello_at < REHELLO_PERIOD_S:
        return
    node.rehello_at = now.mono_s
    state.journal.send(node.id, Rehello(state.epoch, reason))


def contradiction(state: State, node: NodeNow, beat: Beat) -> str:
    """Contradiction between a heartbeat of the current incarnation and the books; empty = none.

    A heartbeat older than the newest acknowledgement does not describe the present.
    """
    if state.books.entry(node.id).standing != "leased":
        return ""
    if beat.lease_seq > node.lease_seq:
        return f"reports lease {beat.lease_seq}, the newest sent is {node.lease_seq}"
    impossible = impossible_holding(node, beat.holding_mw)
    if impossible:
        return impossible
    over_mw = beat.holding_mw - state.books.committed_mw(node.id)
    if over_mw > 0 and beat.lease_seq >= node.acked_seq and over_mw > jump_mw(node, beat):
        return (
            f"is limited to {power_text(beat.holding_mw)}, "
            f"{power_text(over_mw)} above its committed watts"
        )
    return ""


def impossible_gpus(node: NodeNow, gpus: tuple[GpuInfo, ...]) -> str:
    """Impossible GPU data in a Hello; empty = none."""
    if why := _too_many_gpus(node, gpus):
        return why
    if len({gpu.index for gpu in gpus}) < len(gpus):
        return "reports a GPU twice"
    for gpu in gpus:
        if not gpu.cap_max_mw:
            return f"reports a maximum cap of 0 W for GPU {gpu.index}"
        if max(gpu.cap_min_mw, gpu.idle_mw, gpu.cap_default_mw) > gpu.cap_max_mw:
            return f"reports an idle draw or minimum cap of GPU {gpu.index} above its maximum cap"
    most_mw, idle_mw = MOST_NAMEPLATES * node.site.nameplate_mw, sum(g.idle_mw for g in gpus)
    if idle_mw > most_mw or any(gpu.cap_max_mw > most_mw for gpu in gpus):
        return (
            f"reports GPUs that draw more than {MOST_NAMEPLATES} times the nameplate of the host "
            f"({power_text(node.site.nameplate_mw)})"
        )
    return ""


def classes_of(gpus: Iterable[GpuInfo]) -> set[tuple[object, ...]]:
    """The planner's classes of all their devices."""
    return {class_of(device) for gpu in gpus for device in devices(gpu)}


def _too_many_gpus(node: NodeNow, gpus: tuple[GpuInfo, ...]) -> str:
    """Why no host has so many GPUs, or so many kinds of them; empty = one may."""
    if len(gpus) > MAX_GPUS_OF_HOST:
        return f"reports {len(gpus)} GPUs, a host has {MAX_GPUS_OF_HOST} at most"
    if any(gpu.mig is not None and len(gpu.mig) > MAX_DEVICES_OF_GPU for gpu in gpus):
        return f"reports more than {MAX_DEVICES_OF_GPU} MIG devices of a GPU"
    if len(node.gpu_classes | classes_of(gpus)) > MAX_CLASSES_OF_HOST:
        most = f"more than {MAX_CLASSES_OF_HOST} kinds of GPUs"
        return f"has reported {most} since the scheduler started"
    return ""


def impossible_adoption(node: NodeNow, holding_mw: int) -> str:
    """Impossible values in caps that were read back, or in their GPUs; empty = none."""
    return impossible_holding(node, holding_mw) or impossible_floor(node)


def impossible_holding(node: NodeNow, holding_mw: int) -> str:
    """Impossible holding; empty = none."""
    site = node.site
    least_mw = wall_mw(site.non_gpu_worst_mw, site.psu_efficiency_permille)
    if holding_mw < least_mw:
        return (
            f"is limited to {power_text(holding_mw)}, the site file allows its host alone "
            f"{power_text(least_mw)}"
        )
    if holding_mw > MOST_NAMEPLATES * site.nameplate_mw:
        return f"is limited to {power_text(holding_mw)}, {_more_than_most(node)}"
    return ""


def impossible_floor(node: NodeNow) -> str:
    """Impossible minimum lease of its GPUs; empty = none."""
    floor_mw = floor_of(node)
    if floor_mw > MOST_NAMEPLATES * node.site.nameplate_mw:
        return f"needs at least {power_text(floor_mw)}, {_more_than_most(node)}"
    return ""


def _more_than_most(node: NodeNow) -> str:
    nameplate = power_text(node.site.nameplate_mw)
    return f"more than {MOST_NAMEPLATES} times its nameplate of {nameplate}"
