"""Metrics and checkpoints of a job over all of its run. Without Textual.

The records of its attempts have them from the start (`FetchRecord`): the newest is read every few
seconds, earlier ones once. What the job reports between two readings is appended, so that a chart
ends now; where there is no record, that is all.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from wattline_protocol.ids import AttemptNo, TaskNo
from wattline_protocol.views.site_views import ENDED_STATES, AttemptView, JobView
from wattline_protocol.wire.client_messages import Answer, Denied
from wattline_protocol.wire.task_reports.checkpoints import SavedCheckpoint
from wattline_protocol.wire.task_reports.run_records import (
    FOUND_AFTER_S,
    BadRecord,
    Curve,
    FetchRecord,
    RunRecord,
    RunReport,
    report_in,
)
from wattline_tui.render.charts import Chart
from wattline_tui.render.timeline import Cell, Samples, Span

FIRST_TASK = TaskNo(0)
STEP = "step"
"""A metric that numbers the points of recorded curves; it has no chart of its own beside them."""
RECORD_EVERY_S = 10.0
ENDED_EVERY_S = 60.0
"""Of an ended attempt, until its record is there: it is stored shortly after the end."""
MOST_ATTEMPTS = 8
"""Newest attempts whose records are read."""
MOST_METRICS = 12
MOST_REPORTED = 600
"""Values of each metric since the screen was opened."""
HELD_STEPS = 4
"""A value is drawn for at most this many median intervals; after that the chart has a gap."""


@dataclass(slots=True)
class JobRecords:
    """Of one gang: of an array, that of the task shown."""

    gang: TaskNo = FIRST_TASK
    """Its first task."""
    reports: dict[AttemptNo, RunReport] = field(default_factory=dict)
    why: str = ""
    """Why there is none; empty: there is, or none was asked for."""
    _due_s: dict[AttemptNo, float] = field(default_factory=dict)
    _reported: dict[str, deque[tuple[float, float]]] = field(default_factory=dict)

    # --- reading ----------------------------------------------------------------------------

    def due(self, job: JobView, task: TaskNo, now_s: float) -> list[FetchRecord]:
        """What to read now, the newest first. For another gang it starts again."""
        if job.kind not in FOUND_AFTER_S or job.spec is None:
            return []
        gang = TaskNo(task // job.spec.gang_size * job.spec.gang_size)
        if gang != self.gang:
            self.gang, self.why = gang, ""
            self.reports.clear()
            self._due_s.clear()
        wanted = [one for one in _newest(job, gang) if now_s >= self._due_s.get(one.attempt, 0.0)]
        for one in wanted:
            every_s = RECORD_EVERY_S if one.ended_unix_s is None else ENDED_EVERY_S
            self._due_s[one.attempt] = now_s + every_s
        return [FetchRecord(job.id, gang, one.attempt) for one in wanted]

    def take(self, asked: FetchRecord, found: RunReport | str, job: JobView) -> None:
        """A report, or why there is none."""
        if asked.task != self.gang:
            return
        if isinstance(found, str):
            self.why = found
            return
        self.why = ""
        self.reports[asked.attempt] = found
        ended = {one.attempt for one in _newest(job, self.gang) if one.ended_unix_s is not None}
        if asked.attempt in ended:
            self._due_s[asked.attempt] = float("inf")

    def take_reported(self, job: JobView, now_s: float) -> None:
        """The newest values of its metrics."""
        for name, value in sorted(job.metrics.items()):
            values = self._reported.setdefault(name, deque(maxlen=MOST_REPORTED))
            if not values or (job.state not in ENDED_STATES and now_s > values[-1][0]):
                values.append((now_s, value))

    # --- charts -----------------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        """Of metrics, as many as there are charts for: those on record come first."""
        recorded = {curve.name for report in self.reports.values() for curve in report.curves}
        others = self._reported.keys() - recorded - ({STEP} if recorded else set())
        return [*sorted(recorded), *sorted(others)][:MOST_METRICS]

    def span(self, job: JobView, now_s: float) -> Span:
        """From the first start of the job, or its first value, to now or its end."""
        times = [time_s for name in self.names for time_s in self._samples(name).times_s]
        begin_s = min([*times, job.started_unix_s or now_s])
        is_over = job.state in ENDED_STATES
        end_s = max([*times, job.ended_unix_s or 0.0]) if is_over else max([*times, now_s])
        return Span(begin_s, max(begin_s, end_s))

    def charts(self) -> list[Chart]:
        """One a metric, each on the scale of its own values."""
        return [self._chart(name) for name in self.names]

    def _chart(self, name: str) -> Chart:
        samples = self._samples(name)
        known = samples.known
        curves = [curve for _, curve in self._curves(name)]
        low = min([*known, *(one.lowest for one in curves)])
        top = max([*known, *(one.highest for one in curves)])
        step = f"step {curves[-1].points[-1].step:g}" if curves else ""
        now = known[-1] if known else low
        label = (f"{name} {now:.4g}", f"{low:.4g} to {top:.4g}", step)
        return Chart(label, samples, min(known, default=low), max(known, default=top))

    def _samples(self, name: str) -> Samples:
        """Points of all attempts, each of which ends with a gap; then what was reported since."""
        times: list[float] = []
        values: list[Cell] = []
        newest = max(self.reports, default=0)
        for attempt, curve in self._curves(name):
            for point in curve.points:
                if point.unix_s > 0:
                    times.append(point.unix_s)
                    values.append(point.value)
            if times and attempt != newest:
                times.append(times[-1])
                values.append(None)
        hold_s = _hold_s(times)
        last_s = times[-1] if times else float("-inf")
        since = [one for one in self._reported.get(name, ()) if one[0] > last_s]
        times += [time_s for time_s, _ in since]
        values += [value for _, value in since]
        return Samples(times, values, hold_s or _hold_s(times))

    def _curves(self, name: str) -> Iterator[tuple[AttemptNo, Curve]]:
        """In the order of attempts."""
        for attempt, report in sorted(self.reports.items()):
            for curve in report.curves:
                if curve.name == name:
                    yield attempt, curve

    # --- checkpoints ------------------------------------------------------------------------

    @property
    def checkpoints(self) -> list[tuple[AttemptNo, SavedCheckpoint]]:
        """With the attempt that saved each, the newest first."""
        found = [
            (attempt, one)
            for attempt, report in sorted(self.reports.items())
            for one in report.checkpoints
        ]
        return found[::-1]


def read_record(answer: Answer) -> RunReport | str:
    """The report of a record, or why there is none."""
    if isinstance(answer, Denied):
        return answer.reason
    if not isinstance(answer, RunRecord):
        return "the scheduler gave no record"
    if not answer.report:
        return answer.note or "the node has no record of this attempt yet"
    try:
        return report_in(answer.report)
    except BadRecord as error:
        return f"the record is damaged: {error}"


def _newest(job: JobView, gang: TaskNo) -> list[AttemptView]:
    """Attempts of the first task of a gang that have started, the newest first."""
    found = [one for one in job.attempts if one.task == gang and one.started_unix_s is not None]
    return sorted(found, key=lambda one: one.attempt, reverse=True)[:MOST_ATTEMPTS]


def _hold_s(times: Sequence[float]) -> float:
    apart = [after - before for before, after in pairwise(times) if after > before]
    return HELD_STEPS * median(apart) if apart else 0.0
