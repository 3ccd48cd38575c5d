"""Cordons of GPUs after a Hello: a cordon follows its GPU by UUID, and ends when it is replaced."""

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from wattline_protocol.ids import GpuIndex, NodeId, Now
from wattline_protocol.wire.agent_messages import GpuInfo
from wattline_protocol.wire.nodes.gpu_cordon import GpuCordon
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.state import State


def follow_cordons(
    cordons: Iterable[GpuCordon], before: Iterable[GpuInfo], gpus: Iterable[GpuInfo]
) -> Iterator[GpuCordon | None]:
    """Each cordon as of now; None = its GPU was replaced: it is not listed, and the one with its
    index was not there before. A GPU that is merely absent stays cordoned, as it may come back; so
    does one that cannot be read, which has no UUID."""
    now_at: dict[GpuIndex, str] = {gpu.index: gpu.uuid for gpu in gpus}
    index_of = {uuid: index for index, uuid in now_at.items()}
    cordons = tuple(cordons)
    known = {*(gpu.uuid for gpu in before), *(one.uuid for one in cordons)}
    for one in cordons:
        if one.uuid in index_of:
            yield replace(one, index=index_of[one.uuid], is_absent=False)
        elif now_at.get(one.index) == "" and not one.is_absent:
            yield one
        elif one.index in now_at and now_at[one.index] not in known:
            yield None
        else:
            yield replace(one, is_absent=True)


def renew_cordons(state: State, node: NodeNow, gpus: tuple[GpuInfo, ...], now: Now) -> None:
    """Renews the cordons of a node for the GPUs of its Hello, and says which ended or are absent.
    `node` still has the GPUs of its previous Hello."""
    before = node.record.cordons
    if not before:
        return
    found = tuple(follow_cordons(before, node.record.gpus, gpus))
    at = {gpu.index: gpu.uuid for gpu in gpus}
    for old, new in zip(before, found, strict=True):
        if new is None:
            text = f"{_named(old, node.id)} was replaced by {at[old.index]}, which is not cordoned"
            state.journal.note("gpu_cordon_ended", text, now, node=node.id, level="warning")
        elif new.is_absent and not old.is_absent:
            text = f"{_named(old, node.id)} is absent; it is still cordoned if it comes back"
            state.journal.note("gpu_cordon_absent", text, now, node=node.id, level="warning")
    state.journal.change(node, cordons=tuple(one for one in found if one is not None))


def _named(one: GpuCordon, node: NodeId) -> str:
    return f"GPU {one.index} of {node} ({one.uuid}), cordoned by {one.user} ({one.reason}),"
