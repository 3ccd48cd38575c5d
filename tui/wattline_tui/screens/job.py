"""Job screen: its specification, its attempts, and its log as it is written."""

from dataclasses import replace
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical

from wattline_protocol.ids import JobId, TaskNo
from wattline_protocol.text.wording import digits, energy
from wattline_protocol.views.site_views import AttemptView, JobView
from wattline_protocol.wire.client_messages import Log
from wattline_tui.actions import Place, bindings
from wattline_tui.model import LogPlace, View, log_end
from wattline_tui.screens.base import SiteScreen, Subject
from wattline_tui.units import duration
from wattline_tui.widgets.facts import Facts
from wattline_tui.widgets.log import LogPane
from wattline_tui.widgets.tables import Row, SteadyTable

COLUMNS = ("task", "try", "state", "node", "GPUs", "run", "kWh", "end")


class JobScreen(SiteScreen):
    """Opened from the queue."""

    CSS_PATH = "job.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("job")]
    place: ClassVar[Place] = "job"

    def __init__(self, job: JobId) -> None:
        super().__init__()
        self.job = job
        self.shown_task = TaskNo(0)
        self.details: JobView | None = None
        self.log_place = log_end(TaskNo(0))

    def content(self) -> ComposeResult:
        """Facts, attempts, log."""
        with Vertical(id="content"):
            yield Facts(id="facts")
            yield SteadyTable(COLUMNS, id="attempts")
            yield LogPane(id="log")

    def on_mount(self) -> None:
        """The log takes the focus, so that it scrolls at once."""
        self.query_one(LogPane).focus()
        self._title_log()

    def draw(self, view: View) -> None:
        """Draw the data of the snapshot; details arrive separately."""
        job = self.details or view.job(self.job)
        facts = self.query_one(Facts)
        facts.border_title = f"job {self.job}"
        now_s = view.site.unix_s if view.site else 0.0
        facts.show(facts_of(job, now_s) if job else f"Waiting for job {self.job} …")

    def show_details(self, job: JobView, now_unix_s: float) -> None:
        """Draw the job with its attempts."""
        self.details = job
        self.query_one(Facts).show(facts_of(job, now_unix_s))
        table = self.query_one(SteadyTable)
        table.border_title = "attempts"
        table.show([_row(attempt, now_unix_s) for attempt in job.attempts])

    def add_log(self, asked: LogPlace, log: Log) -> None:
        """Append data read from `asked` on, if the log on screen still ends there."""
        if asked != self.log_place:
            return
        if asked.attempt not in (0, log.ref.attempt):
            self._open_log(self.shown_task)  # a newer attempt has begun: read its end next
            return
        pane, data = self.query_one(LogPane), log.data
        begins = log.next_offset - len(data)
        self._title_log(log.ref.attempt)
        if asked.offset < 0 < begins:
            pane.note(f"… {begins:,} bytes before this; `wattline logs {self.job}` has them …")
            data = data.partition(b"\n")[2]
        pane.append(data)
        self.log_place = LogPlace(asked.task, log.ref.attempt, log.next_offset)

    def skip_log(self, asked: LogPlace) -> None:
        """The task writes faster than its log can be read: continue at the end."""
        if asked == self.log_place:
            self.log_place = replace(log_end(asked.task), attempt=asked.attempt)

    def subject(self) -> Subject:
        """This job."""
        return Subject("job", (str(self.job),))

    def action_follow(self) -> None:
        """Follow the end of the log, or stay where the reader is."""
        pane = self.query_one(LogPane)
        pane.follows = not pane.follows
        self._title_log(self.log_place.attempt)

    def action_next_task(self) -> None:
        """The next task's log."""
        tasks = sorted({a.task for a in self.details.attempts}) if self.details else []
        if len(tasks) > 1:
            at = tasks.index(self.shown_task) if self.shown_task in tasks else -1
            self._open_log(tasks[(at + 1) % len(tasks)])

    def _open_log(self, task: TaskNo) -> None:
        self.shown_task, self.log_place = task, log_end(task)
        self.query_one(LogPane).clear()
        self._title_log()

    def _title_log(self, attempt: int = 0) -> None:
        pane = self.query_one(LogPane)
        of = f", attempt {attempt}" if attempt else ""
        pane.border_title = f"log of task {self.shown_task}{of}"
        pane.border_subtitle = "following" if pane.follows else "not following"


def facts_of(job: JobView, now_unix_s: float) -> str:
    """The job in a few lines."""
    gpus = f"{job.gpu_count} {'GPU' if job.gpu_count == '1' else 'GPUs'}"
    ran = duration(job.elapsed_s(now_unix_s))
    used = "–" if job.utilisation is None else f"{job.utilisation:.0%}"
    metrics = ", ".join(f"{name} {value:g}" for name, value in sorted(job.metrics.items()))
    owner = f"by {job.owner} (account {job.account}, queue {job.queue})"
    used_s = f"{digits(job.gpu_hours)} GPU-hours · {energy(job.energy_kwh)} · ${job.cost_usd:.2f}"
    lines = [
        f"{job.name} · {job.kind} · {job.state}{f': {job.reason}' if job.reason else ''}",
        f"{owner} · priority {job.priority} · {gpus} · ran {ran}",
        f"{used_s} · utilisation {used} · {job.verdict}",
        f"cap-bound {job.cap_bound_gpu_s:.0f} GPU-seconds · attempts {job.attempt_count}",
    ]
    return "\n".join([*lines, *([f"metrics: {metrics}"] if metrics else [])])


def _row(attempt: AttemptView, now_unix_s: float) -> Row:
    end_s = attempt.ended_unix_s or now_unix_s
    ran_s = end_s - attempt.started_unix_s if attempt.started_unix_s else None
    return f"{attempt.task}#{attempt.attempt}", (
        str(attempt.task),
        str(attempt.attempt),
        attempt.state,
        attempt.node,
        attempt.places,
        duration(ran_s),
        digits(attempt.usage.node_energy_mj / 3.6e9),
        attempt.exit.detail if attempt.exit else "",
    )
