"""Programs on the GPUs of a node: those of tasks with job and user, and those of no job."""

from collections.abc import Sequence
from typing import NamedTuple

from wattline_protocol.ids import GpuIndex
from wattline_protocol.text.wording import gib
from wattline_protocol.views.host_view import ProcessView
from wattline_protocol.views.site_views import NodeView
from wattline_tui.render.lines import Line, Role, left, line, with_more

NONE = "no processes"


class Entry(NamedTuple):
    """A program; those of no job come first."""

    gpus: str
    text: str
    role: Role


def entries(node: NodeView) -> list[Entry]:
    """Of each GPU the foreign ones, then the tasks."""
    foreign = [
        Entry(f"GPU {gpu.index}", f"! {one.text}{_memory(one.memory_bytes)}: of no job", "alarm")
        for gpu in node.gpus
        for one in gpu.foreign
    ]
    if node.host is None:
        return foreign + [Entry("", task, "") for task in node.tasks]
    return foreign + [Entry(_gpus(one.gpus), _task(one), "") for one in node.host.processes]


def process_lines(node: NodeView, width: int, height: int) -> list[Line]:
    """As many as fit, with the number of those that do not."""
    found = entries(node)
    if not found:
        return [((NONE, "muted"),)]
    gutter = max(len(one.gpus) for one in found) + 1
    shown = [
        line((left(one.gpus, gutter), "title"), (one.text, one.role)) for one in found[:height]
    ]
    return with_more(shown, 0, len(found) - len(shown), width)


def _task(one: ProcessView) -> str:
    pid = "starting" if one.pid is None else f"process {one.pid}"
    return f"{pid}: {one.task} {one.name} of {one.user}"


def _memory(memory_bytes: int | None) -> str:
    return f", {gib(memory_bytes)}" if memory_bytes else ""


def _gpus(gpus: Sequence[GpuIndex]) -> str:
    """`GPU 0-2,5`; `CPU` where it has none."""
    if not gpus:
        return "CPU"
    ranges: list[list[int]] = []
    for index in sorted(gpus):
        if ranges and index == ranges[-1][-1] + 1:
            ranges[-1] = [ranges[-1][0], index]
        else:
            ranges.append([index])
    return f"GPU {','.join('-'.join(map(str, one)) for one in ranges)}"
