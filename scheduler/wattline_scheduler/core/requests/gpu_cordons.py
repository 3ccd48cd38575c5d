"""Operator actions on one GPU of a node: cordon and uncordon.

A cordon is recorded by UUID, so that it follows the GPU where indices change.
"""

from collections.abc import Iterable

from wattline_protocol.ids import Now, UserName
from wattline_protocol.text.toml_fields import nearest
from wattline_protocol.text.wording import listed, named
from wattline_protocol.wire.agent_messages import GpuInfo
from wattline_protocol.wire.bounds import MAX_GPUS
from wattline_protocol.wire.client_messages import Answer, Denied, Done
from wattline_protocol.wire.nodes.acts import Cordon, Uncordon
from wattline_protocol.wire.nodes.gpu_cordon import GpuCordon
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.not_found import MAX_NAMED
from wattline_scheduler.core.model.state import State


def cordon(state: State, node: NodeNow, user: UserName, request: Cordon, now: Now) -> Answer:
    """Withholds the GPU from placement; work on it continues.

    A repeated cordon without a reason preserves the previous reason.
    """
    gpu = _find(node, request.gpu)
    if isinstance(gpu, Denied):
        return gpu
    if not gpu.uuid:
        text = f"the driver of {node.id} reports no UUID of GPU {gpu.index}; drain the node instead"
        return Denied("conflict", text)
    others = tuple(one for one in node.record.cordons if one.uuid != gpu.uuid)
    if len(others) >= MAX_GPUS:
        return Denied("conflict", f"{node.id} has {MAX_GPUS} cordons; uncordon GPUs it has lost")
    before = next((one.reason for one in node.record.cordons if one.uuid == gpu.uuid), "")
    reason = request.reason or before or "no reason given"
    _save(state, node, (*others, GpuCordon(gpu.uuid, gpu.index, reason, user, now.unix_s)))
    text = f"GPU {gpu.index} of {node.id} is cordoned: {reason}"
    state.journal.act("gpu_cordoned", text, now, actor=user, node=node.id)
    return Done(f"GPU {gpu.index} of {node.id} is cordoned{_still_runs(node, gpu)}")


def uncordon(state: State, node: NodeNow, user: UserName, request: Uncordon, now: Now) -> Answer:
    """Offers the GPU to jobs again."""
    found = _cordon_of(node, request.gpu)
    if isinstance(found, Denied):
        return found
    _save(state, node, tuple(one for one in node.record.cordons if one is not found))
    state.wants_plan = True
    where = f"GPU {found.uuid if found.is_absent else found.index} of {node.id}"
    text = f"{where} is no longer cordoned"
    state.journal.act("gpu_uncordoned", text, now, actor=user, node=node.id)
    return Done(text)


def _save(state: State, node: NodeNow, cordons: tuple[GpuCordon, ...]) -> None:
    """By index, as views show them."""
    ordered = tuple(sorted(cordons, key=lambda one: (one.is_absent, one.index)))
    state.journal.change(node, cordons=ordered)
    node.outdate_offer()


def _still_runs(node: NodeNow, gpu: GpuInfo) -> str:
    jobs = node.jobs_on(gpu.index)
    if not jobs:
        return "; no job runs on it"
    return f"; {named('job', jobs)} {'continues' if len(jobs) == 1 else 'continue'} on it"


def _cordon_of(node: NodeNow, word: str) -> GpuCordon | Denied:
    """The cordon that an index or a UUID names; also of a GPU that the node no longer lists."""
    cordons = node.record.cordons
    found = next((one for one in cordons if word == one.uuid), None)
    if found is not None:
        return found
    gpu = _find(node, word)
    if isinstance(gpu, Denied):
        return gpu
    found = next((one for one in cordons if one.uuid == gpu.uuid), None)
    if found is not None:
        return found
    return Denied("conflict", f"GPU {gpu.index} of {node.id} is not cordoned; {_cordoned(cordons)}")


def _cordoned(cordons: Iterable[GpuCordon]) -> str:
    names = [one.uuid if one.is_absent else str(one.index) for one in cordons]
    return f"cordoned there: {listed(names)}" if names else "no GPU there is"


def _find(node: NodeNow, word: str) -> GpuInfo | Denied:
    """The GPU that an index or a UUID names."""
    found = [gpu for gpu in node.gpus.values() if word in (str(gpu.index), gpu.uuid)]
    return found[0] if found else _unknown(node, word)


def _unknown(node: NodeNow, word: str) -> Denied:
    gpus = sorted(node.gpus.values(), key=lambda gpu: gpu.index)
    if not gpus:
        return Denied("conflict", f"{node.id} has not reported its GPUs yet")
    for gpu in gpus:
        if any(word == one.uuid for one in gpu.mig or ()):
            text = f"{word} is a MIG device; cordon its GPU, {node.id}:{gpu.index}"
            return Denied("not_found", text)
    uuids = {gpu.uuid.casefold(): gpu.uuid for gpu in gpus if gpu.uuid}
    near = uuids.get(nearest(word, uuids))
    known = listed([gpu.index for gpu in gpus], MAX_NAMED)
    hint = f"the nearest is {near}" if near else f"it has GPUs {known}"
    return Denied("not_found", f"there is no GPU {word!r} on {node.id}; {hint}")
