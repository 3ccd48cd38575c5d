"""The burst's report, as JSON and for display, and its bars."""

from collections.abc import Sequence

import msgspec
from rich.console import Group, RenderableType
from rich.text import Text

from wattline.demo.burst import plan
from wattline.demo.burst.findings import BurstFindings
from wattline.demo.burst.load import Asked
from wattline.demo.play import Report
from wattline.show import units
from wattline.show.tables import Cell, Column, Listing, facts
from wattline_protocol.text.wording import digits, watts


class CapsRow(msgspec.Struct, frozen=True):
    """Cap of each GPU of the first replica, and after how long it was raised; -1 = never."""

    before_w: float
    after_w: float
    raised_s: float


class ReplicaRow(msgspec.Struct, frozen=True):
    """The second replica, in seconds from the step of the load; -1 = never."""

    decided_s: float
    started_s: float
    ready_s: float
    why: str


class TrainingRow(msgspec.Struct, frozen=True):
    """The training job that gave the GPUs; -1 = not established."""

    preempted_s: float
    reached_epoch: int
    saved_epoch: int
    resumed_epoch: int
    later_epoch: int
    resumed_s: float
    """From giving the GPUs back."""


class SpanRow(msgspec.Struct, frozen=True):
    """Requests that were due in a span of the load."""

    what: str
    seconds: float
    requests: int
    failed: int
    late: int
    """Answered later than the SLO."""
    p95_ms: float

    @property
    def missed_share(self) -> float:
        """Of all requests."""
        return (self.failed + self.late) / self.requests if self.requests else 0.0


class BurstReport(Report, frozen=True):
    """The report, as `--json` writes it."""

    steady_per_s: float
    burst_per_s: float
    slo_p95_ms: float
    caps: CapsRow
    replica: ReplicaRow
    training: TrainingRow
    spans: tuple[SpanRow, ...]
    missing: tuple[str, ...]
    simulated: bool = True
    """The GPUs and their draw; all programs and requests are real."""


def make_report(findings: BurstFindings) -> BurstReport:
    """`ok` only if every bar holds."""
    report = BurstReport(
        ok=False,
        steady_per_s=plan.STEADY_RATE,
        burst_per_s=plan.BURST_RATE,
        slo_p95_ms=plan.SLO_S * 1000,
        caps=_caps(findings),
        replica=_replica(findings),
        training=_training(findings),
        spans=_spans(findings),
        missing=(),
    )
    found = (*findings.trouble, *_missing(report), *_left(findings))
    return msgspec.structs.replace(report, ok=not found, missing=found)


def _caps(findings: BurstFindings) -> CapsRow:
    caps = findings.caps
    if caps is None:
        return CapsRow(0.0, 0.0, -1.0)
    raised_s = -1.0 if caps.raised_s is None else round(caps.raised_s, 2)
    return CapsRow(round(caps.before_w, 1), round(caps.after_w, 1), raised_s)


def _replica(findings: BurstFindings) -> ReplicaRow:
    def after(mono_s: float | None) -> float:
        return -1.0 if mono_s is None else round(mono_s - (findings.step_s or 0.0), 2)

    return ReplicaRow(
        decided_s=after(findings.decided_s),
        started_s=after(findings.started_s),
        ready_s=after(findings.ready_s),
        why=findings.why,
    )


def _training(findings: BurstFindings) -> TrainingRow:
    one = findings.training
    return TrainingRow(
        preempted_s=-1.0 if one.preempted_s is None else round(one.preempted_s, 2),
        reached_epoch=_known(one.reached_epoch),
        saved_epoch=_known(one.saved_epoch),
        resumed_epoch=_known(one.resumed_epoch),
        later_epoch=_known(one.later_epoch),
        resumed_s=-1.0 if one.resumed_s is None else round(one.resumed_s, 2),
    )


def _known(value: int | None) -> int:
    return -1 if value is None else value


def _spans(findings: BurstFindings) -> tuple[SpanRow, ...]:
    """Before the step, up to the readiness of the second replica, and up to the burst's end."""
    at = (findings.steady_s, findings.step_s, findings.ready_s, findings.end_s)
    rows = []
    for what, begin_s, end_s in zip(("before", "scaling", "after"), at[:-1], at[1:], strict=True):
        if begin_s is not None and end_s is not None:
            rows.append(span(what, findings.requests, begin_s, end_s))
    return tuple(rows)


def span(what: str, requests: Sequence[Asked], begin_s: float, end_s: float) -> SpanRow:
    """Of the requests that were due in it."""
    due = [one for one in requests if begin_s <= one.due_s < end_s]
    took_s = sorted(one.took_s for one in due if not one.problem)
    return SpanRow(
        what,
        round(end_s - begin_s, 1),
        len(due),
        failed=len(due) - len(took_s),
        late=sum(took > plan.SLO_S for took in took_s),
        p95_ms=round(took_s[int(len(took_s) * 0.95)] * 1000, 1) if took_s else 0.0,
    )


def _missing(report: BurstReport) -> list[str]:
    """Bars that do not hold, as text."""
    caps, replica, problems = report.caps, report.replica, []
    if not 0 <= caps.raised_s <= plan.CAPS_RAISED_S:
        problems.append(_late("caps were raised", caps.raised_s, plan.CAPS_RAISED_S))
    if not 0 <= replica.started_s <= plan.REPLICA_STARTED_S:
        text = "the second replica was started"
        problems.append(_late(text, replica.started_s, plan.REPLICA_STARTED_S))
    problems += _lost_work(report.training)
    met = {row.what: row for row in report.spans}
    for what in ("before", "after"):
        row = met.get(what)
        if row is None or not row.requests:
            problems.append(f"no request was due {what} the scaling")
        elif row.missed_share > plan.MISSES_MAX:
            missed = f"{row.missed_share:.1%} of the requests missed the SLO {what} the scaling"
            problems.append(f"{missed}, more than {plan.MISSES_MAX:.0%}")
    return problems


def _late(what: str, seconds: float, most_s: float) -> str:
    if seconds < 0:
        return f"{what}: not seen"
    return f"{what} {seconds:.1f} s after the step of the load, not within {most_s:g} s"


def _lost_work(training: TrainingRow) -> list[str]:
    epochs = (training.reached_epoch, training.saved_epoch, training.resumed_epoch)
    if -1 in epochs or training.preempted_s < 0:
        return ["the training was not preempted and resumed"]
    reached, saved, resumed = epochs
    if not reached <= saved == resumed:
        return [f"training reached epoch {reached}, saved {saved} and resumed from {resumed}"]
    return [] if training.later_epoch > resumed else ["the resumed training saved nothing"]


def _left(findings: BurstFindings) -> list[str]:
    return [f"left over: {leftover}" for leftover in findings.leftovers]


def render(report: BurstReport, took_s: float) -> RenderableType:
    """Everything, the verdict last."""
    caps, replica, training = report.caps, report.replica, report.training
    rates = f"{digits(report.steady_per_s)}/s, then {digits(report.burst_per_s)}/s"
    epochs = f"epoch {training.reached_epoch} reached, {training.saved_epoch} saved"
    resumed = f"resumed from {training.resumed_epoch}, now {training.later_epoch}"
    times = (
        f"decided {_after(replica.decided_s)}",
        f"started {_after(replica.started_s)}",
        f"ready {_after(replica.ready_s)}",
    )
    pairs: list[tuple[str, Cell]] = [
        ("load", f"{rates}; SLO p95 {digits(report.slo_p95_ms)} ms"),
        ("caps raised", f"{_after(caps.raised_s)}: {watts(caps.before_w)} → {watts(caps.after_w)}"),
        (
            "replica",
            ", ".join(times),
        ),
        ("why", replica.why),
        ("training", f"preempted {_after(training.preempted_s)}: {epochs}, {resumed}"),
        ("took", units.seconds(took_s)),
    ]
    blank = Text("")
    return Group(blank, facts(pairs), blank, _spans_shown(report.spans), blank, _verdict(report))


def _after(seconds: float) -> str:
    return "never" if seconds < 0 else f"after {seconds:.1f} s"


def _spans_shown(rows: Sequence[SpanRow]) -> Listing:
    return Listing(
        columns=(
            Column("SCALING", [row.what for row in rows]),
            Column("TIME", [units.seconds(row.seconds) for row in rows], is_right=True),
            Column("REQUESTS", [f"{row.requests}" for row in rows], is_right=True),
            Column("FAILED", [f"{row.failed}" for row in rows], is_right=True),
            Column("LATE", [f"{row.late}" for row in rows], is_right=True),
            Column("MISSED", [f"{row.missed_share:.1%}" for row in rows], is_right=True),
            Column("P95", [f"{digits(row.p95_ms)} ms" for row in rows], is_right=True),
        ),
        empty="No request was sent.",
    )


def _verdict(report: BurstReport) -> Text:
    if report.ok:
        return Text("Every bar holds (simulated GPUs; real programs).", style="bold green")
    listed = "\n".join(f"  - {text}" for text in report.missing)
    return Text(f"Not every bar holds:\n{listed}", style="bold red")
