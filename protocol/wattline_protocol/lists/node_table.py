"""The columns of nodes."""

from typing import get_args

from wattline_protocol.lists import kinds
from wattline_protocol.lists.column import Column
from wattline_protocol.lists.table import Table
from wattline_protocol.text import wording
from wattline_protocol.text.moments import local_time
from wattline_protocol.text.wording import counted
from wattline_protocol.views.site_views import NodeState, NodeView


def node_table(_: float) -> Table[NodeView]:
    """Now."""
    own = Column[NodeView]
    return Table(
        (
            own("node", kinds.TEXT, lambda node: node.id),
            own("rack", kinds.TEXT, lambda node: node.rack, weight=5),
            own("state", kinds.choice(*get_args(NodeState)), lambda node: node.state),
            own("gpus", kinds.NUMBER, lambda node: node.gpu_count, text=busy, weight=1),
            own("free", kinds.NUMBER, free, weight=8, is_usual=False),
            own("cordoned", kinds.NUMBER, cordoned, weight=8, is_usual=False),
            own("model", kinds.TEXTS, lambda node: node.gpu_models, weight=8, is_usual=False),
            own("jobs", kinds.TEXTS, jobs_of, weight=8, is_usual=False),
            own("lease", kinds.POWER, lambda node: node.lease_w, weight=2),
            own("committed", kinds.POWER, lambda node: node.committed_w, weight=3),
            own("draw", kinds.POWER, draw_w, text=draw, weight=1),
            own("inlet", kinds.CELSIUS, lambda node: node.inlet_c, weight=6),
            own("cpu", kinds.SHARE, lambda node: node.cpu_pct / 100, weight=7),
            own("heard", kinds.DURATION, lambda node: node.heard_ago_s, text=heard, weight=4),
            own("zone", kinds.TEXT, zone, weight=8, is_usual=False),
            own("inputs", kinds.TEXTS, lambda node: node.inputs, weight=8, is_usual=False),
            own("labels", kinds.TEXTS, labels_of, weight=8, is_usual=False),
            own("simulated", kinds.FLAG, lambda node: node.simulated, weight=8, is_usual=False),
            own("note", kinds.TEXT, note, grows=True, is_alarm=lambda node: bool(node.problems)),
        ),
        empty="The site file has no nodes.",
    )


def free(node: NodeView) -> int:
    """GPUs without a job that are offered to jobs."""
    withheld = node.gpus_cordoned + node.gpus_unavailable
    return max(0, node.gpu_count - node.gpus_busy - withheld)


def cordoned(node: NodeView) -> int:
    """GPUs offered to no job, with work on them or without."""
    return sum(not one.is_absent for one in node.cordons)


def cordoned_text(node: NodeView) -> str:
    """`2 GPUs cordoned`; empty = none."""
    count = cordoned(node)
    return f"{counted(count, 'GPU')} cordoned" if count else ""


def jobs_of(node: NodeView) -> tuple[str, ...]:
    """Numbers of the jobs that run there."""
    return tuple(dict.fromkeys(task.partition(".")[0] for task in node.tasks))


def zone(node: NodeView) -> str:
    """Its cooling zone; empty = none."""
    return node.cooling_zone or ""


def labels_of(node: NodeView) -> tuple[str, ...]:
    """`name=value` of each."""
    return tuple(f"{name}={value}" for name, value in sorted(node.labels.items()))


def draw_w(node: NodeView) -> float:
    """Measured watts, or the estimate."""
    return node.estimated_w if node.measured_w is None else node.measured_w


def busy(node: NodeView) -> str:
    """`5/8`: GPUs with a job, of all."""
    return f"{node.gpus_busy}/{node.gpu_count}"


def draw(node: NodeView) -> str:
    """Measured watts, or the estimate with a mark."""
    if node.measured_w is not None:
        return wording.watts(node.measured_w)
    return f"~{wording.watts(node.estimated_w)}"


def heard(node: NodeView) -> str:
    """Time since it was last heard."""
    return "never" if node.heard_ago_s is None else wording.elapsed(node.heard_ago_s)


def note(node: NodeView) -> str:
    """Its problem, or a remark."""
    if node.problems:
        return "; ".join(node.problems)
    simulated = "simulated" if node.simulated else ""
    notes = (node.reason, drained(node), cordoned_text(node), node.reserved, simulated)
    return " · ".join(x for x in notes if x)


def drained(node: NodeView) -> str:
    """Since when it is drained, or by when it will be, as far as known."""
    if node.state == "drained" and node.drained_unix_s is not None:
        return f"since {local_time(node.drained_unix_s)}"
    if node.state != "draining":
        return ""
    tasks = f"{counted(len(node.tasks), 'task')} left"
    if node.empty_by_unix_s is None:
        return tasks
    return f"{tasks}, until {local_time(node.empty_by_unix_s)} at the latest"
