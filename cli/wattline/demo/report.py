"""The demo's report, as JSON and for display."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from wattline.demo import layout, work
from wattline.demo.findings import Findings
from wattline.demo.play import Report
from wattline.demo.truth import Verdict
from wattline.demo.watcher import DomainWatch
from wattline_protocol.ids import DomainId
from wattline_protocol.text.wording import counted
from wattline_protocol.views.site_views import JobView

MIN_ACCURACY = 0.9
MIN_REQUESTS = 500
MIN_SECONDS_JUDGED = 20
"""A record of fewer seconds proves nothing."""


class JobRow(msgspec.Struct, frozen=True):
    """One job."""

    name: str
    kind: str
    state: str
    attempts: int
    gpu_hours: float
    energy_kwh: float
    cost_usd: float
    verdict: str


class TrainingRow(msgspec.Struct, frozen=True):
    """Result of the training job on the held-out tenth."""

    accuracy: float
    world_size: int


class InferenceRow(msgspec.Struct, frozen=True):
    """Results of the requests."""

    requests: int
    errors: int
    p50_ms: float
    p95_ms: float


class DomainRow(msgspec.Struct, frozen=True):
    """One power domain or cooling zone. Watts at the wall."""

    name: DomainId
    kind: str
    budget_w: float
    peak_committed_w: float
    peak_measured_w: float
    seconds_over_budget: float
    """By the simulator's own record, 1 s averages, excluding the second after the shed."""


class ShedRow(msgspec.Struct, frozen=True):
    """The shed. `acknowledged_s`: from the shed to all caps acknowledged; -1 = never."""

    requested_fraction: float
    acknowledged_s: float
    seconds_over_after: float


class FaultsRow(msgspec.Struct, frozen=True):
    """Effects of the kills. -1 = not established."""

    agent_kill_readopted: bool
    scheduler_kill_lost_jobs: int
    scheduler_kill_double_runs: int


class DemoReport(Report, frozen=True):
    """The report, as `--json` writes it."""

    jobs: tuple[JobRow, ...]
    training: TrainingRow
    inference: InferenceRow
    domains: tuple[DomainRow, ...]
    cap_bound_gpu_s: float
    shed: ShedRow
    faults: FaultsRow
    simulated: bool = True


@dataclass(frozen=True, slots=True)
class Evidence:
    """All inputs of the report."""

    findings: Findings
    domains: Mapping[DomainId, DomainWatch]
    truth: Mapping[DomainId, Verdict]
    """By domain, from the simulator's record."""


def make_report(evidence: Evidence) -> DemoReport:
    """The report; `ok` only if nothing is missing (see `missing`)."""
    findings = evidence.findings
    return DemoReport(
        ok=not missing(evidence),
        jobs=tuple(_job_row(job) for job in findings.views.values()),
        training=_training(findings),
        inference=_inference(findings),
        domains=tuple(_domain_row(watch, evidence) for watch in evidence.domains.values()),
        cap_bound_gpu_s=round(cap_bound_gpu_s(findings), 1),
        shed=_shed(evidence),
        faults=_faults(findings),
    )


def missing(evidence: Evidence) -> list[str]:
    """Promises not met, as text; empty means success."""
    findings = evidence.findings
    return [
        *findings.trouble,
        *_missing_work(findings),
        *_missing_faults(findings),
        *_missing_power(evidence),
    ]


def _missing_work(findings: Findings) -> list[str]:
    wanted = {work.TRAINING: "COMPLETED", work.SWEEP: "COMPLETED", work.SERVICE: "CANCELLED"}
    problems = []
    for name, state in wanted.items():
        view = findings.views.get(findings.jobs.get(name, 0))
        if view is None or view.state != state:
            got = view.state if view is not None else "not submitted"
            reason = f" ({view.reason})" if view is not None and view.reason else ""
            problems.append(f"{name}: {got}{reason}, not {state}")
    training = _training(findings)
    if training.accuracy <= MIN_ACCURACY:
        problems.append(f"accuracy {training.accuracy:.3f}, not above {MIN_ACCURACY}")
    if training.world_size < len(layout.PLAN.racks):
        problems.append(f"training ran with {training.world_size} processes, not on two nodes")
    return problems + _missing_inference(findings)


def _missing_inference(findings: Findings) -> list[str]:
    load = findings.load
    if load is None:
        return ["no request was sent to the service"]
    problems = []
    if load.errors:
        problems.append(
            f"{counted(len(load.errors), 'request')} failed, the first with: {load.errors[0]}"
        )
    if load.answered < MIN_REQUESTS:
        problems.append(f"{load.answered} requests were answered, fewer than {MIN_REQUESTS}")
    if load.answered and load.right / load.answered <= MIN_ACCURACY:
        problems.append(f"only {load.right} of {load.answered} answers were right")
    return problems


def _missing_faults(findings: Findings) -> list[str]:
    problems = []
    if not findings.agent_kill_readopted:
        problems.append("the killed agent's task was not taken over again in the same attempt")
    if findings.lost_jobs != 0 or not findings.untouched:
        problems.append("the scheduler's restart lost jobs, touched tasks, or was not reached")
    problems += findings.double_runs
    if findings.starts == 0:
        problems.append("no task wrote down its start")
    problems += [f"left over: {leftover}" for leftover in findings.leftovers]
    return problems


def _missing_power(evidence: Evidence) -> list[str]:
    findings, problems = evidence.findings, []
    if findings.shed_acknowledged_s is None or findings.restored_mono_s is None:
        problems.append("the budget was not shed, acknowledged and restored")
    if cap_bound_gpu_s(findings) <= 0:
        problems.append("no GPU was ever held back by its cap: the leases did not bind")
    if not evidence.domains:
        problems.append("no power domain was watched")
    for name, watch in evidence.domains.items():
        verdict = evidence.truth.get(name)
        if verdict is None or verdict.seconds < MIN_SECONDS_JUDGED:
            problems.append(f"{name}: the record of power is too short to judge it")
        elif verdict.over_s > 0:
            problems.append(
                f"{name}: {verdict.over_s:.0f} s above its budget, by up to "
                f"{verdict.worst_over_w:.0f} W"
            )
        if watch.over_committed:
            problems.append(f"{name}: more was committed than its full budget allows (I1)")
    return problems


def cap_bound_gpu_s(findings: Findings) -> float:
    """GPU-seconds during which a cap reduced a job's clocks."""
    return sum(job.cap_bound_gpu_s for job in findings.views.values())


def _job_row(job: JobView) -> JobRow:
    return JobRow(
        name=job.name,
        kind=job.kind,
        state=job.state,
        attempts=job.attempt_count,
        gpu_hours=round(job.gpu_hours, 4),
        energy_kwh=round(job.energy_kwh, 4),
        cost_usd=round(job.cost_usd, 4),
        verdict=job.verdict,
    )


def _training(findings: Findings) -> TrainingRow:
    view = findings.views.get(findings.jobs.get(work.TRAINING, 0))
    metrics = view.metrics if view is not None else {}
    return TrainingRow(
        accuracy=round(metrics.get("accuracy", 0.0), 4),
        world_size=int(metrics.get("world_size", 0)),
    )


def _inference(findings: Findings) -> InferenceRow:
    load = findings.load
    if load is None:
        return InferenceRow(0, 0, 0.0, 0.0)
    return InferenceRow(
        requests=load.answered,
        errors=len(load.errors),
        p50_ms=round(load.percentile_ms(0.50), 2),
        p95_ms=round(load.percentile_ms(0.95), 2),
    )


def _domain_row(watch: DomainWatch, evidence: Evidence) -> DomainRow:
    verdict = evidence.truth.get(watch.name)
    return DomainRow(
        name=watch.name,
        kind=watch.kind,
        budget_w=watch.full_budget_w,
        peak_committed_w=round(watch.peak_committed_w, 1),
        peak_measured_w=round(watch.peak_measured_w, 1),
        seconds_over_budget=verdict.over_s if verdict is not None else -1.0,
    )


def _shed(evidence: Evidence) -> ShedRow:
    acknowledged_s = evidence.findings.shed_acknowledged_s
    verdict = evidence.truth.get(DomainId(layout.ROOT_DOMAIN))
    return ShedRow(
        requested_fraction=layout.SHED_FRACTION,
        acknowledged_s=-1.0 if acknowledged_s is None else round(acknowledged_s, 3),
        seconds_over_after=round(verdict.over_after_shed_s, 3) if verdict is not None else -1.0,
    )


def _faults(findings: Findings) -> FaultsRow:
    return FaultsRow(
        agent_kill_readopted=bool(findings.agent_kill_readopted),
        scheduler_kill_lost_jobs=-1 if findings.lost_jobs is None else findings.lost_jobs,
        scheduler_kill_double_runs=len(findings.double_runs) if findings.starts else -1,
    )
