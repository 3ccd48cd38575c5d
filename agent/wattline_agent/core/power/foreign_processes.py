"""Processes on GPUs that belong to no attempt: detected and reported; no task starts beside them.

A GPU with such a process never counts as idle: the process may begin to compute at any moment, so
the GPU counts its limit, which is its minimum cap unless a task uses it too (I2). Its draw before
it was detected is covered by the reserve of its domains (I1).
"""

from collections.abc import Mapping, Sequence

from wattline_agent.core.model import NodeState
from wattline_agent.core.ports import FastReading, Reading
from wattline_agent.core.power import held_watts
from wattline_agent.core.power.gpus import Gpu
from wattline_protocol.ids import GpuIndex, Now
from wattline_protocol.wire.gpu_process import GpuProcess, foreign_text

GONE_S = 10.0
"""Time after its last foreign process until a GPU is offered again: without it, programs that run
repeatedly for some seconds would have it offered and withdrawn each time."""

Seen = Mapping[GpuIndex, Sequence[GpuProcess]]
"""Foreign processes of the GPUs that were checked."""


def take(state: NodeState, seen: Seen, now: Now) -> None:
    """Record the foreign processes found."""
    for index, found in seen.items():
        if index >= len(state.gpus) or not state.gpus[index].is_managed:
            continue
        gpu = state.gpus[index]
        gpu.scanned_s = now.mono_s
        if found:
            _appear(state, gpu, tuple(found), now)
        elif gpu.foreign and now.mono_s - gpu.foreign_seen_s >= GONE_S:
            gpu.foreign = ()
            state.note("gpu_free", f"GPU {index}: its foreign processes have ended")


def _appear(state: NodeState, gpu: Gpu, found: tuple[GpuProcess, ...], now: Now) -> None:
    is_new = not gpu.foreign
    gpu.foreign, gpu.foreign_seen_s = found, now.mono_s
    if is_new:
        state.note("gpu_in_use", why_not_given(gpu))


def unexplained(state: NodeState, readings: Sequence[Reading]) -> frozenset[GpuIndex]:
    """Idle GPUs without a task that now draw more: a foreign process has begun to use them."""
    busy = held_watts.loaded(state)
    return frozenset(
        gpu.index
        for gpu, reading in zip(state.gpus, readings, strict=False)
        if gpu.is_managed
        and gpu.is_idle
        and gpu.index not in busy
        and isinstance(reading, FastReading)
        and (reading.power_mw or 0) > gpu.idle_bound_mw
    )


def why_not_given(gpu: Gpu) -> str:
    """Why no task is started on a GPU that foreign processes use."""
    return f"GPU {gpu.index} is in use by {foreign_text(gpu.foreign)}"
