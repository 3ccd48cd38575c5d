"""Job screen: what it is and why it waits, attempts and ranks, metrics, checkpoints, its log."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar, Literal, get_args

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content

from wattline_protocol.ids import JobId, TaskNo
from wattline_protocol.text.moments import when
from wattline_protocol.text.visible import visible_line
from wattline_protocol.text.wording import counted, digits, energy, usd
from wattline_protocol.views.site_views import ENDED_STATES, ExplainView, JobView
from wattline_protocol.wire.client_messages import Log
from wattline_protocol.wire.task_reports.run_records import FetchRecord, RunReport
from wattline_tui.actions import Place, bindings
from wattline_tui.explained import explained
from wattline_tui.job_records import JobRecords
from wattline_tui.listing.attempts import AttemptRow, attempt_rows, attempt_table
from wattline_tui.listing.checkpoints import checkpoint_rows, checkpoint_table
from wattline_tui.listing.log_choices import LogChoice, log_choices
from wattline_tui.listing.rows import Rows
from wattline_tui.messages import FetchNow, OpenNode, ReadEarlier
from wattline_tui.model import LogPlace, View, log_end
from wattline_tui.render.charts import Chart, chart_lines
from wattline_tui.render.lines import Line
from wattline_tui.render.timeline import Span
from wattline_tui.screens.base import SiteScreen, Subject
from wattline_tui.screens.dialogs import Ask
from wattline_tui.units import duration
from wattline_tui.widgets.choose import Choose, Item
from wattline_tui.widgets.facts import Facts
from wattline_tui.widgets.list_pane import ListPane
from wattline_tui.widgets.list_table import ListTable
from wattline_tui.widgets.log import LogPane
from wattline_tui.widgets.rendered_panel import RenderedPanel

WAITS = ("PENDING", "HELD")
WIDE = 150
LIST_FRAME, MOST_NARROW = 3, 6
"""Lines of a list besides its rows; of the attempts at most on a narrow screen."""
WHOLE_RUN, REPORTED = "metrics, whole run", "metrics since this screen was opened"

Part = Literal["log", "charts", "checkpoints"]
"""What the large part of the screen shows."""


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
        self.shown_rank: int | None = None
        self._no_log = ""
        """Why the log is not read; empty: it is."""
        self.records = JobRecords()
        self._part: Part = "log"
        self._now_s = 0.0

    def content(self) -> ComposeResult:
        """Facts, attempts, metrics; the log or another part below them or, on a wide terminal,
        beside them."""
        rows = Rows(attempt_table, lambda row: row.key)
        saved = Rows(checkpoint_table, lambda row: row.key)
        with Horizontal(id="content"):
            with Vertical(id="left"):
                yield Facts(id="facts")
                yield ListPane(ListTable(rows, id="attempts"), "attempts", id="pane")
                yield RenderedPanel(id="metrics")
            with Vertical(id="right"):
                yield Facts(id="why")
                yield LogPane(id="log")
                yield RenderedPanel(id="charts")
                yield ListPane(ListTable(saved, id="saved"), "checkpoints", id="checkpoints")

    def on_mount(self) -> None:
        """The log takes the focus, so that it scrolls at once."""
        self.query_one("#why", Facts).border_title = "why it waits"
        self.query_one("#metrics").display = self.query_one("#why").display = False
        self._show_part("log")
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

    @property
    def has_log(self) -> bool:
        """Whether it has started, or may have."""
        return self.details is None or self.details.attempt_count > 0 or not self.waits

    def show_details(self, job: JobView, now_unix_s: float) -> None:
        """Draw the job with its attempts."""
        before, self.details, self._now_s = self.details, job, now_unix_s
        if before is None or before.state != job.state:
            self._title_log(self.log_place.attempt)
        self.query_one("#facts", Facts).show(facts_of(job, now_unix_s))
        self.query_one("#attempts", ListTable).show(attempt_rows(job), now_unix_s)
        self._fit_attempts()
        if not self.waits:
            self.query_one("#why").display = False
        self._show_log()
        self.records.take_reported(job, now_unix_s)
        self._draw_records(job)

    def _fit_attempts(self) -> None:
        """No more lines than there are attempts: the rest is for metrics."""
        rows = max(1, len(self.query_one("#attempts", ListTable).rows.shown)) + LIST_FRAME
        most = self.size.height // 3 if self.size.width >= WIDE else MOST_NARROW
        self.query_one("#pane").styles.height = min(rows, most)

    def on_resize(self) -> None:
        """Other heights."""
        self._fit_attempts()
        self._show_small_metrics()

    def show_explanation(self, view: ExplainView, now_unix_s: float) -> None:
        """Why it waits, in place of a log that it does not have yet."""
        why = self.query_one("#why", Facts)
        why.show(explained(view, now_unix_s))
        why.display = self.waits

    # --- records of its runs ------------------------------------------------------------------

    def records_due(self) -> Sequence[FetchRecord]:
        """What to read now."""
        if self.details is None:
            return ()
        return self.records.due(self.details, self.shown_task, self._now_s)

    def show_record(self, asked: FetchRecord, found: RunReport | str) -> None:
        """Draw what the record of an attempt has."""
        if self.details is not None:
            self.records.take(asked, found, self.details)
            self._draw_records(self.details)

    def _draw_records(self, job: JobView) -> None:
        charts, span = self.records.charts(), self.records.span(job, self._now_s)
        self._show_small_metrics()
        title = WHOLE_RUN if self.records.reports or not charts else REPORTED
        for name in ("#metrics", "#charts"):
            panel = self.query_one(name, RenderedPanel)
            panel.titled(title, self.records.why)
            panel.show(partial(_metric_lines, charts, span))
        saved = self.query_one("#saved", ListTable)
        saved.show(checkpoint_rows(job, self.records), self._now_s)

    def action_next_part(self) -> None:
        """Metrics as charts, then checkpoints, then the log again."""
        parts: tuple[Part, ...] = get_args(Part)
        self._show_part(parts[(parts.index(self._part) + 1) % len(parts)])

    def _show_small_metrics(self) -> None:
        """A narrow screen has them once."""
        is_once = self._part == "charts" and self.size.width < WIDE
        self.query_one("#metrics").display = bool(self.records.names) and not is_once

    def _show_part(self, part: Part) -> None:
        self._part = part
        for one in get_args(Part):
            self.query_one(f"#{one}").display = one == part
        self._show_log()
        self._show_small_metrics()
        focused = {"log": "#log", "checkpoints": "#saved", "charts": "#attempts"}[part]
        self.query_one(focused).focus()

    def _show_log(self) -> None:
        """Why it waits has all of its place until there is one."""
        log, is_shown = self.query_one(LogPane), self._part == "log" and self.has_log
        if is_shown and not log.display:
            log.display = True
            log.focus()
        log.display = is_shown
        self.set_class(not self.has_log, "-unstarted")

    # --- log --------------------------------------------------------------------------------

    def add_log(self, asked: LogPlace, log: Log) -> None:
        """Append data read from `asked` on, if the log on screen still ends there."""
        if asked != self.log_place:
            return
        if asked.attempt not in (0, log.ref.attempt):
            self._open_log(asked.task, asked.rank)  # a newer attempt has begun: read its end next
            return
        pane, data = self.query_one(LogPane), log.data
        begins = log.next_offset - len(data)
        if asked.offset < 0:
            pane.clear()  # after a jump to the end, what is shown would have a gap
            data = _whole_lines(data) if begins else data
            pane.begin = log.next_offset - len(data)
        self._no_log = ""
        pane.append(data)
        self.log_place = replace(asked, attempt=log.ref.attempt, offset=log.next_offset)
        self._title_log(log.ref.attempt)

    def add_earlier(self, asked: LogPlace, log: Log) -> None:
        """Put what was read from `asked` on in front of the log on screen."""
        pane = self.query_one(LogPane)
        is_same = replace(asked, offset=0) == replace(self.log_place, offset=0)
        data = log.data[: pane.begin - asked.offset]
        if not is_same or asked.offset + len(data) != pane.begin:
            return
        pane.prepend(_whole_lines(data) if asked.offset else data)
        self._title_log(log.ref.attempt)

    def skip_log(self, asked: LogPlace) -> None:
        """The task writes faster than its log can be read: continue at the end."""
        if asked == self.log_place:
            self.log_place = replace(log_end(asked.task, asked.rank), attempt=asked.attempt)

    def refuse_log(self, asked: LogPlace, why: str) -> None:
        """Say why the log that is read from `asked` on is not read."""
        if asked == self.log_place and why != self._no_log:
            self._no_log = why
            self._title_log(asked.attempt)

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

    def action_choose_log(self) -> None:
        """Ask for the task or rank whose log is shown."""
        found = {one.id: one for one in log_choices(self.details)} if self.details else {}
        if len(found) < 2:
            self.notify("This job has one log.")
            return
        items = [Item(one.id, one.label, one.note, (one.id, one.note)) for one in found.values()]

        def chosen(choice: Item | str | None) -> None:
            if isinstance(choice, Item):
                self._choose_log(found[choice.id])
            elif choice is not None:
                self.notify(f"the job has no task or rank {choice}", severity="warning")

        self.app.push_screen(
            Choose("log of", items, "a task, a rank as 0/1, a node, a state"), chosen
        )

    def _choose_log(self, one: LogChoice) -> None:
        self._show_part("log")
        self._open_log(one.task, one.rank)
        self.post_message(FetchNow())

    def _open_log(self, task: TaskNo, rank: int | None) -> None:
        self.shown_task, self.shown_rank, self._no_log = task, rank, ""
        self.log_place = log_end(task, rank)
        self.query_one(LogPane).clear()
        self._title_log()

    def _title_log(self, attempt: int = 0) -> None:
        pane = self.query_one(LogPane)
        of = f", attempt {attempt}" if attempt else ""
        name = f"task {self.shown_task}" if self.shown_rank is None else f"rank {self.shown_rank}"
        pane.border_title = f"log of {name}{of}"
        before = f"{pane.begin:,} bytes before: b · " if pane.begin else ""
        has_ended = self.details is not None and self.details.state in ENDED_STATES
        following = "following" if pane.follows else "not following"
        state = self._no_log or ("its job has ended" if has_ended else following)
        pane.border_subtitle = Content(visible_line(f"{before}{state}"))

    # --- attempts ---------------------------------------------------------------------------

    def on_list_table_opened(self, event: ListTable.Opened) -> None:
        """Open the node of an attempt."""
        event.stop()
        row = event.table.rows.row
        if isinstance(row, AttemptRow):
            self.post_message(OpenNode(row.attempt.node))

    def subject(self) -> Subject:
        """This job."""
        return Subject("job", (str(self.job),))


def _whole_lines(data: bytes) -> bytes:
    """From the first line that begins in it; all of it where none does."""
    return data[data.find(b"\n") + 1 :] or data


def _metric_lines(charts: Sequence[Chart], span: Span, width: int, height: int) -> list[Line]:
    return chart_lines(charts, span, width, height, from_end=False)


def facts_of(job: JobView, now_unix_s: float) -> str:
    """The job in a few lines."""
    gpus = f"{job.gpu_count} {'GPU' if job.gpu_count == '1' else 'GPUs'}"
    ran = duration(job.elapsed_s(now_unix_s))
    used = "–" if job.utilisation is None else f"{job.utilisation * 100:.0f} %"
    owner = f"by {job.owner} (account {job.account}, queue {job.queue})"
    took = f"{digits(job.gpu_hours)} GPU-hours · {energy(job.energy_kwh)} · {usd(job.cost_usd)}"
    attempts = counted(job.attempt_count, "attempt")
    verdict = job.diagnosis.sentence if job.diagnosis else job.verdict
    lines = [
        f"{job.name} · {job.kind} · {job.state}{f': {job.reason}' if job.reason else ''}",
        f"{owner} · priority {job.priority} · {gpus} · ran {ran}",
        f"{took} · utilisation {used} · {verdict}",
        f"cap-bound for {job.cap_bound_gpu_s:,.0f} GPU-seconds · {attempts}",
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
