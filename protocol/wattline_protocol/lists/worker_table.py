"""The columns of workers of a service."""

from wattline_protocol.lists import kinds
from wattline_protocol.lists.column import Column
from wattline_protocol.lists.table import Table
from wattline_protocol.text.wording import digits, joules
from wattline_protocol.views.service_views import WorkerView

FAILED = ("failed", "lost")
"""States that need attention."""


def worker_table(_: float) -> Table[WorkerView]:
    """By task."""
    own, sizes = Column[WorkerView], kinds.SIZE
    return Table(
        (
            own("worker", kinds.TEXT, lambda one: one.task),
            own("node", kinds.TEXT, lambda one: one.node, weight=1),
            own("state", kinds.TEXT, lambda one: one.state, is_alarm=lambda w: w.state in FAILED),
            own("in-flight", kinds.NUMBER, lambda one: one.in_flight, weight=2),
            own("batch", kinds.DURATION, lambda one: one.batch_s or None, text=_batch, weight=3),
            own("energy", kinds.AMOUNT, lambda w: w.joules, "", _joules, weight=4, is_usual=False),
            own("gpu-memory", sizes, lambda w: w.gpu_memory_bytes, weight=5, is_usual=False),
            own("memory", sizes, lambda one: one.memory_bytes, weight=6, is_usual=False),
            own("reason", kinds.TEXT, lambda one: one.reason, grows=True),
        ),
        empty="No workers.",
    )


def _batch(worker: WorkerView) -> str:
    return f"{digits(worker.batch_s * 1000)} ms" if worker.batch_s else kinds.NOT_KNOWN


def _joules(worker: WorkerView) -> str:
    return kinds.NOT_KNOWN if worker.joules is None else joules(worker.joules)
