"""Job screen: what it is and why it waits, its attempts and ranks, its metrics, its log."""

from collections import deque
from dataclasses import replace
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical

from wattline_protocol.ids import JobId, TaskNo
from wattline_protocol.text.wording import digits, energy
from wattline_protocol.views.site_views import ENDED_STATES, ExplainView, JobView
from wattline_protocol.wire.client_messages import Log
from wattline_tui.actions import Place, bindings
from wattline_tui.explained import explained
from wattline_tui.limits import when
from wattline_tui.listing.attempts import attempt_rows, attempt_table
from wattline_tui.listing.rows import Rows
from wattline_tui.messages import OpenNode, ReadEarlier
from wattline_tui.model import LogPlace, View, log_end
from wattline_tui.screens.base import SiteScreen, Subject
from wattline_tui.screens.dialogs import Ask
from wattline_tui.units import duration
from wattline_tui.widgets.facts import Facts
from wattline_tui.widgets.list_pane import ListPane
from wattline_tui.widgets.list_table import ListTable
from wattline_tui.widgets.log import LogPane
from wattline_tui.widgets.sparkline import spark

WAITS = ("PENDING", "HELD")
WIDE = 150
CURVE_WIDTH = 40
MOST_SAMPLES = 600
"""Of each metric, while the screen is open."""
MOST_METRICS = 12


class JobScreen(SiteScreen):
    """Opened from any list of jobs."""

    CSS_PATH = "job.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("job")]
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (WIDE, "-wide")]  # noqa: RUF012 - Textual's
    place: ClassVar[Place] = "job"

    def __init__(self, job: JobId) -> None:
        super().__init__()
        self.job = job
        self.shown_task = TaskNo(0)
        self.details: JobView | None = None
        self.log_place = log_end(TaskNo(0))
        self._metrics: dict[str, deque[float]] = {}

    def content(self) -> ComposeResult:
        """Facts, attempts, metrics; the log below them or, on a wide terminal, beside them."""
        rows = Rows(attempt_table, lambda row: row.key)
        with Horizontal(id="content"):
            with Vertical(id="left"):
                yield Facts(id="facts")
                yield ListPane(ListTable(rows, id="attempts"), "attempts", id="pane")
                yield Facts(id="metrics")
            with Vertical(id="right"):
                yield Facts(id="why")
                yield LogPane(id="log")

    def on_mount(self) -> None:
        """The log takes the focus, so that it scrolls at once."""
        self.query_one("#metrics", Facts).border_title = "metrics since this screen was opened"
        self.query_one("#why", Facts).border_title = "why it waits"
        self.query_one("#metrics").display = self.query_one("#why").display = False
        self.query_one(LogPane).focus()
        self._title_log()

    def draw(self, view: View) -> None:
        """Draw the data of the snapshot; details arrive separately."""
        job = self.details or view.job(self.job)
        facts = self.query_one("#facts", Facts)
        facts.border_title = f"job {self.job}"
        now_s = view.site.unix_s if view.site else 0.0
        facts.show(facts_of(job, now_s) if job else f"Waiting for job {self.job} …")

    @property
    def waits(self) -> bool:
        """Whether it has no node yet."""
        return self.details is not None and self.details.state in WAITS

    def show_details(self, job: JobView, now_unix_s: float) -> None:
        """Draw the job with its attempts."""
        self.details = job
        self.query_one("#facts", Facts).show(facts_of(job, now_unix_s))
        self.query_one(ListTable).show(attempt_rows(job), now_unix_s)
        if not self.waits:
            self.query_one("#why").display = False
        self._show_metrics(job)

    def show_explanation(self, view: ExplainView, now_unix_s: float) -> None:
        """Why it waits, in place of a log that it does not have yet."""
        why = self.query_one("#why", Facts)
        why.show(explained(view, now_unix_s))
        why.display = self.waits

    def _show_metrics(self, job: JobView) -> None:
        for name, value in sorted(job.metrics.items())[:MOST_METRICS]:
            samples = self._metrics.setdefault(name, deque(maxlen=MOST_SAMPLES))
            if job.state not in ENDED_STATES or not samples:
                samples.append(value)
        metrics = self.query_one("#metrics", Facts)
        metrics.display = bool(self._metrics)
        metrics.show("\n".join(_metric(name, found) for name, found in self._metrics.items()))

    # --- log --------------------------------------------------------------------------------

    def add_log(self, asked: LogPlace, log: Log) -> None:
        """Append data read from `asked` on, if the log on screen still ends there."""
        if asked != self.log_place:
            return
        if asked.attempt not in (0, log.ref.attempt):
            self._open_log(self.shown_task)  # a newer attempt has begun: read its end next
            return
        pane, data = self.query_one(LogPane), log.data
        begins = log.next_offset - len(data)
        if asked.offset < 0:
            cut = data.find(b"\n") + 1 if begins else 0
            data, pane.begin = data[cut:], begins + cut
        pane.append(data)
        self.log_place = LogPlace(asked.task, log.ref.attempt, log.next_offset)
        self._title_log(log.ref.attempt)

    def add_earlier(self, asked: LogPlace, log: Log) -> None:
        """Put what was read from `asked` on in front of the log on screen."""
        pane = self.query_one(LogPane)
        is_same = (asked.task, log.ref.attempt) == (self.shown_task, self.log_place.attempt)
        data = log.data[: pane.begin - asked.offset]
        if not is_same or asked.offset + len(data) != pane.begin:
            return
        cut = data.find(b"\n") + 1 if asked.offset else 0
        pane.prepend(data[cut:])
        self._title_log(log.ref.attempt)

    def skip_log(self, asked: LogPlace) -> None:
        """The task writes faster than its log can be read: continue at the end."""
        if asked == self.log_place:
            self.log_place = replace(log_end(asked.task), attempt=asked.attempt)

    def action_earlier(self) -> None:
        """Read what is before."""
        pane = self.query_one(LogPane)
        if not pane.begin or not self.log_place.attempt:
            self.notify("The log begins here.")
        elif pane.is_full:
            self.notify(f"This is as much as is shown; `wattline logs {self.job}` has all.")
        else:
            self.post_message(ReadEarlier(self.job, replace(self.log_place, offset=pane.begin)))

    def action_search(self) -> None:
        """Ask for a text, and mark its lines."""
        self.app.push_screen(Ask("Search the log for:", "a text", str), self._search)

    def _search(self, wanted: str | None) -> None:
        pane = self.query_one(LogPane)
        found = pane.search(wanted or "")
        if wanted and not (found and (pane.jump(-1) or pane.jump(1) or found)):
            earlier = "; b reads what is before" if pane.begin else ""
            self.notify(f"“{wanted}” is not in what is shown{earlier}.")
        self._title_log(self.log_place.attempt)

    def action_next_match(self) -> None:
        """The next line that matches."""
        self._jump(1)

    def action_last_match(self) -> None:
        """The one before."""
        self._jump(-1)

    def _jump(self, by: int) -> None:
        if not self.query_one(LogPane).jump(by):
            self.notify("No further line matches.")
        self._title_log(self.log_place.attempt)

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
        before = f"{pane.begin:,} bytes before: b · " if pane.begin else ""
        pane.border_subtitle = f"{before}{'following' if pane.follows else 'not following'}"

    # --- attempts ---------------------------------------------------------------------------

    def on_list_table_opened(self, event: ListTable.Opened) -> None:
        """Open the node of an attempt."""
        event.stop()
        row = event.table.rows.row
        if row is not None:
            self.post_message(OpenNode(row.attempt.node))

    def subject(self) -> Subject:
        """This job."""
        return Subject("job", (str(self.job),))


def _metric(name: str, samples: deque[float]) -> str:
    """`loss 0.88 ▇▅▃▂`: between its least and its greatest."""
    low, high = min(samples), max(samples)
    drawn = spark([one - low for one in samples], CURVE_WIDTH, high - low)
    return f"{name} {samples[-1]:g}  {drawn}"


def facts_of(job: JobView, now_unix_s: float) -> str:
    """The job in a few lines."""
    gpus = f"{job.gpu_count} {'GPU' if job.gpu_count == '1' else 'GPUs'}"
    ran = duration(job.elapsed_s(now_unix_s))
    used = "–" if job.utilisation is None else f"{job.utilisation:.0%}"
    owner = f"by {job.owner} (account {job.account}, queue {job.queue})"
    used_s = f"{digits(job.gpu_hours)} GPU-hours · {energy(job.energy_kwh)} · ${job.cost_usd:.2f}"
    verdict = job.diagnosis.sentence if job.diagnosis else job.verdict
    lines = [
        f"{job.name} · {job.kind} · {job.state}{f': {job.reason}' if job.reason else ''}",
        f"{owner} · priority {job.priority} · {gpus} · ran {ran}",
        f"{used_s} · utilisation {used} · {verdict}",
        f"cap-bound {job.cap_bound_gpu_s:.0f} GPU-seconds · attempts {job.attempt_count}",
        *_ends(job, now_unix_s),
        *_checkpoint(job, now_unix_s),
    ]
    return "\n".join(lines)


def _ends(job: JobView, now_unix_s: float) -> list[str]:
    if job.expected_end_unix_s is None:
        return []
    left = duration(max(0.0, job.expected_end_unix_s - now_unix_s))
    return [f"ends about {when(job.expected_end_unix_s, now_unix_s)}, in {left}"]


def _checkpoint(job: JobView, now_unix_s: float) -> list[str]:
    one = job.checkpoint
    if one is None:
        return []
    ago = duration(max(0.0, now_unix_s - one.saved_unix_s))
    every = f", every {duration(one.every_s)}" if one.every_s else ""
    return [f"checkpoint at step {one.step}, {ago} ago, saved in {duration(one.save_s)}{every}"]
