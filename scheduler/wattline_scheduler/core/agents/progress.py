"""Task progress: the estimated end, and the performance cost of caps.

The end follows from the completed fraction, the cost from any metric that counts.
"""

from wattline_protocol.ids import Now
from wattline_scheduler.core.lifecycle.windows import check_pace
from wattline_scheduler.core.model.jobs.job import Attempt, Gang, Paused, Phase, Running
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.state import State
from wattline_scheduler.plan.learning.progress_rate import METRIC, Course
from wattline_scheduler.power.demand.cap_slowdown import Progress, corrected_permille, progress_name
from wattline_scheduler.power.demand.useful_cap import curve_of


def watch_progress(state: State, node: NodeNow, now: Now) -> None:
    """Takes the progress of gangs whose first task runs on the node, after a heartbeat."""
    for attempt in node.attempts.values():
        report, gang = attempt.report, attempt.gang
        if report is None or not report.metrics or gang.live[0] is not attempt:
            continue
        if not isinstance(gang.phase, Running):
            if attempt.progress is not None:
                attempt.progress.reset()
            _stands(state, attempt, gang.phase, now)
            continue
        _watch(state, attempt, report.metrics, now)
        _update(state, attempt, report.metrics, now)


def _stands(state: State, attempt: Attempt, phase: Phase, now: Now) -> None:
    """Suspends the pace of a paused gang, which resumes at it; discards that of a stopping one."""
    if not isinstance(phase, Paused):
        attempt.course = None
    elif attempt.course is not None:
        attempt.course.stands(phase.since, now.mono_s)
        check_pace(state, attempt.gang.job, now)


def _update(state: State, attempt: Attempt, metrics: dict[str, float], now: Now) -> None:
    done, gang = metrics.get(METRIC), attempt.gang
    if done is None or gang.job.spec.kind == "service":
        return
    if 0.0 <= done <= 1.0:
        attempt.course = attempt.course or Course()
        is_news = attempt.course.heard(done, now.mono_s)
    else:  # it counts percent, or steps: earlier values were no fraction of the whole either
        is_news, attempt.course = attempt.course is not None, None
    if is_news:
        for each in gang.live:
            state.nodes[each.node].outdate_offer()
        check_pace(state, gang.job, now)


def _watch(state: State, attempt: Attempt, metrics: dict[str, float], now: Now) -> None:
    spec = attempt.gang.job.spec
    if attempt.progress is None:
        # A service's output follows its requests, not its cap, unless its user declares otherwise.
        is_service = spec.kind == "service" and not spec.power.progress
        name = "" if is_service else progress_name(metrics, spec.power.progress)
        if not name:
            return
        attempt.progress = Progress(name)
    value = metrics.get(attempt.progress.name)
    performance = _performance(state, attempt.gang)
    if value is None or performance is None:
        attempt.progress.reset()
        return
    seen = attempt.progress.watch(value, performance, now.mono_s)
    if seen is not None:
        _correct(state, attempt, seen)


def _performance(state: State, gang: Gang) -> float | None:
    """Performance of the gang by the fitted curves: that of its slowest GPU; None = unknown.

    On a shared GPU it is unknown: tasks slow each other down without any cap.
    """
    least = 1.0
    for attempt in gang.live:
        node = state.nodes[attempt.node]
        for index in attempt.record.gpus:
            gpu = node.gpus.get(index)
            bound = state.demand.bound_of(attempt.node, index)
            if gpu is None or bound is None or len(node.holders[index]) > 1:
                return None
            cap_mw, usual_mw = bound
            if cap_mw < usual_mw:
                curve = curve_of(gpu, usual_mw, gang.job.shape.need)
                least = min(least, curve.performance(cap_mw, usual_mw))
    return least


def _correct(state: State, attempt: Attempt, seen: float) -> None:
    kinds = [state.demand.learned_of(attempt.node, index) for index in attempt.record.gpus]
    for learned in {id(kind): kind for kind in kinds if kind is not None}.values():
        learned.steepness_permille = corrected_permille(learned.steepness_permille, seen)
    state.nodes[attempt.node].load = None
