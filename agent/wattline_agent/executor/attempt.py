"""The agent's record of one attempt: its order, the keeper's view of it, its reports."""

import os
from dataclasses import dataclass, field
from typing import Any

from wattline_agent.core.ports import TaskSeen
from wattline_agent.executor.layout import OrderFile, TaskDir
from wattline_agent.executor.metrics import MetricsTail
from wattline_agent.executor.open_as_owner import open_local
from wattline_agent.executor.run_record.node_record import NodeRecord, stored_history
from wattline_agent.keeper.processes import tree
from wattline_agent.keeper.spec import ExitRecord
from wattline_protocol.ids import UnixTime
from wattline_protocol.wire.agent_messages import TaskExit
from wattline_protocol.wire.bounds import MAX_SENTENCE_CHARS
from wattline_protocol.wire.task_order import Notice


@dataclass
class Attempt:
    """The agent's record of one attempt."""

    file: OrderFile
    folder: TaskDir
    metrics: MetricsTail = field(init=False)
    run: NodeRecord = field(init=False)
    view: dict[str, Any] = field(default_factory=dict)
    """As last reported by the keeper; empty when it has no such attempt."""
    exit: TaskExit | None = None
    record: ExitRecord | None = None
    notice: Notice | None = None
    shown: TaskSeen | None = None
    """As last returned to the core, while it cannot have changed."""

    def __post_init__(self) -> None:
        opened = open_local if self.file.order.run_as else os.open  # as its owner requires
        self.run = NodeRecord(self.file, self.folder, stored_history(self.folder))
        self.metrics = MetricsTail(self.folder.metrics, opened, self.run.history)

    def seen(self) -> TaskSeen:
        """As the core sees it; kept in `shown` where it cannot change by itself."""
        view, record, order, end = self.view, self.record, self.file.order, self.exit
        started = view.get("started_unix_s") or (record.started_unix_s if record else None)
        seen = TaskSeen(
            order=order,
            phase="ended" if end is not None else view["phase"],
            pid=view.get("pid"),
            started_unix_s=UnixTime(started) if started is not None else None,
            run_s=record.run_s if record else view["run_s"],
            cpu_s=record.cpu_s if record else view["cpu_s"],
            max_rss_bytes=record.max_rss_bytes if record else view["max_rss_bytes"],
            metrics=dict(self.metrics.latest),
            checkpoint=self.metrics.checkpoint,
            progress_marks=self.metrics.marks,
            checkpoint_trouble=self.metrics.checkpoint_trouble,
            ranks=self.metrics.ranks,
            worker_public_key=self.file.worker_public_key,
            exit=end,
            group_ended=end is not None and not _living(end.leftover_pids),
            note=(record.note if record else view.get("note", ""))[:MAX_SENTENCE_CHARS],
            notice=self.notice,
            has_task_lease=view.get("has_lease", order.on_isolation == "stop"),
        )
        if end is None or seen.group_ended:
            self.shown = seen
        return seen


def _living(pids: tuple[int, ...]) -> bool:
    processes = (tree.read_process(pid) for pid in pids)
    return any(process is not None and not process.is_dead for process in processes)
