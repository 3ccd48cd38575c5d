"""Current draw of nodes and domains, best available value: missing telemetry counts as the cap.

The node's sensor where there is one; the model where only its GPUs are measured; the committed
watts of the books where the node is not heard. Never zero.
"""

from dataclasses import dataclass

from wattline_protocol.ids import DomainId, NodeId
from wattline_protocol.site.wall_power import gpu_bound_mw, wall_mw
from wattline_protocol.text.wording import power_text
from wattline_protocol.wire.agent_messages import Beat, GpuInfo, GpuSample
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.state import State

MODEL = "model"
"""`Beat.node_source` when no sensor measured the node."""


@dataclass(frozen=True, slots=True)
class Draw:
    """Wall milliwatts of one node."""

    mw: int
    is_measured: bool
    is_heard: bool = True
    """False: nothing newer is known than the books."""


def node_draw(node: NodeNow, committed_mw: int) -> Draw:
    """Current draw of the node; `committed_mw` if it is not heard, 0 if it is declared off."""
    beat = node.beat
    if node.record.is_off:
        return Draw(0, is_measured=False, is_heard=False)
    if beat is None or not node.is_reachable:
        return Draw(committed_mw, is_measured=False, is_heard=False)
    if beat.node_mw is not None and not node.power_doubt:
        return Draw(beat.node_mw, is_measured=beat.node_source != MODEL)
    return Draw(modelled_mw(node, beat), is_measured=False)


SENSOR_TOLERANCE_PERMILLE = 50
"""Tolerance between a node's sensor and those of its GPUs: accuracy class and time offset."""

NAMEPLATE_MOST_PERMILLE = 1_200
"""Upper bound of a plausible reading, as a share of the nameplate."""


def power_doubt(node: NodeNow, beat: Beat) -> str:
    """Reason why the node's power reading is implausible and the model is used; empty = none."""
    if beat.node_mw is None:
        return ""
    gpus_mw = measured_gpus_mw(beat)
    least_mw = gpus_mw * (1000 - SENSOR_TOLERANCE_PERMILLE) // 1000
    if beat.node_mw < least_mw:
        return f"reads {power_text(beat.node_mw)}, its GPUs alone draw {power_text(gpus_mw)}"
    if beat.node_mw > most_mw(node):
        nameplate = f"a nameplate of {power_text(node.site.nameplate_mw)}"
        return f"reads {power_text(beat.node_mw)}, the host has {nameplate}"
    return ""


def measured_gpus_mw(beat: Beat) -> int:
    """Measured draw of its GPUs, before the power supplies; GPUs without a reading count zero."""
    return sum(sample.power_mw or 0 for sample in beat.gpus)


def most_mw(node: NodeNow) -> int:
    """Upper bound of the draw of a host, whatever its agent reports."""
    return node.site.nameplate_mw * NAMEPLATE_MOST_PERMILLE // 1000


def modelled_mw(node: NodeNow, beat: Beat) -> int:
    """GPUs as sampled, the rest as reported or at its worst case, behind the power supplies."""
    non_gpu_mw = node.non_gpu_worst_mw if beat.non_gpu_mw is None else beat.non_gpu_mw
    gpus_mw = sum(sample_mw(sample, node.gpus.get(sample.index)) for sample in beat.gpus)
    modelled = wall_mw(non_gpu_mw + gpus_mw, node.site.psu_efficiency_permille)
    return min(modelled, most_mw(node))


def sample_mw(sample: GpuSample, gpu: GpuInfo | None) -> int:
    """Draw of one GPU: measured, else the maximum under its cap, else its maximum."""
    if sample.power_mw is not None:
        return sample.power_mw
    if gpu is None:
        return sample.cap_mw or 0
    cap_mw = sample.cap_mw if sample.cap_mw is not None and gpu.can_cap else gpu.cap_max_mw
    return gpu_bound_mw(cap_mw, gpu.overshoot_permille)


def all_draws(state: State) -> dict[NodeId, Draw]:
    """Draws of all nodes of the site."""
    committed_mw = state.books.committed_mw
    return {node.id: node_draw(node, committed_mw(node.id)) for node in state.nodes.values()}


def domain_draws(state: State, draws: dict[NodeId, Draw]) -> dict[DomainId, int]:
    """Wall milliwatts per domain: its nodes and its fixed loads."""
    totals = {d.id: d.fixed_load_mw for d in state.domains.by_id.values()}
    for node, above in state.domains.of.items():
        for domain in above:
            totals[domain] += draws[node].mw
    return totals
