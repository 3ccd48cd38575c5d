"""Load of services over time: kept by the minute, restored at the start, judged by their SLOs."""

import msgspec

from wattline_protocol.ids import Now
from wattline_protocol.job.spec import Slo
from wattline_protocol.text.quantities import format_duration
from wattline_protocol.text.wording import digits
from wattline_protocol.wire.rollouts import ServiceTraffic
from wattline_scheduler.core.model.events import ServiceHistoryRead
from wattline_scheduler.core.model.jobs.job import Job
from wattline_scheduler.core.model.problems import begin, end, is_open
from wattline_scheduler.core.model.service_traffic import serving_job
from wattline_scheduler.core.model.state import State
from wattline_scheduler.power.scaling.error_budget import (
    PERIOD_S,
    STAYS,
    Alert,
    burning,
    window,
)
from wattline_scheduler.power.scaling.service_minutes import MINUTE_S, ServiceMinutes
from wattline_scheduler.records import Saved

MAX_ENDED = 100
"""Services that are not open whose load stays in memory."""

LONGEST_S = 5.0
"""The scheduler stood still: a longer second counts as this."""

KIND = "slo_burning"


def keep_load(
    state: State, job: Job, counts: ServiceTraffic, rate: float | None, seconds: float, now: Now
) -> None:
    """Adds what gateways have counted of a service. `job`: the one that serves. One that never ran
    and had no request has no minutes, so that no number of pending services fills memory or disk.
    """
    name, owner = job.spec.name, job.record.owner
    minutes = state.service_minutes.get(name)
    if minutes is None or minutes.owner != owner:
        _forget(state, name)
        minutes = state.service_minutes[name] = ServiceMinutes(name, owner)
        state.histories_wanted[name, owner] = None
    scaling = state.scaling.get(job.id)
    if scaling is None or not scaling.is_waking:
        counts = msgspec.structs.replace(counts, covered=0)  # its replicas should have answered
    if job.has_run or counts.requests:
        minutes.add(counts, rate, min(seconds, LONGEST_S), now.unix_s)


def history_read(state: State, event: ServiceHistoryRead) -> None:
    """Takes over what is on record of a service that was submitted again."""
    state.histories_wanted.pop((event.service, event.owner), None)
    known = state.service_minutes.get(event.service)
    if known is not None and known.owner == event.owner:
        known.take_over(event.hours, event.minutes)


def forget_ended(state: State) -> None:
    """Forgets the oldest ended services beyond `MAX_ENDED`; reads all, so not once per service."""
    open_names = state.work.services.names()
    ended = [name for name in state.service_minutes if name not in open_names]
    for name in ended[:-MAX_ENDED]:
        _forget(state, name)


def _forget(state: State, name: str) -> None:
    minutes = state.service_minutes.pop(name, None)
    if minutes is not None:
        state.histories_wanted.pop((name, minutes.owner), None)


def restore_service_minutes(state: State, saved: Saved) -> None:
    """Takes the minutes on record, of services that their owners still have."""
    for name in state.work.services.names():
        job = serving_job(state.work.services.serving(name), state.rollouts.get(name))
        state.service_minutes[name] = ServiceMinutes(name, job.record.owner)
    for hour in saved.service_hours:
        known = state.service_minutes.get(hour.service)
        if known is not None and known.owner == hour.owner:
            known.history.take_over(hour)
    for row in saved.service_minutes:
        known = state.service_minutes.get(row.service)
        if known is not None and known.owner == row.owner:
            known.recent.append(row)


def tick_error_budgets(state: State, now: Now) -> None:
    """Once a minute: a problem where an error budget burns faster than it can last."""
    minute = int(now.unix_s) // MINUTE_S
    if minute == state.load_clock.judged_minute:
        return
    state.load_clock.judged_minute = minute
    judged = {f"service {name}": name for name in state.work.services.names()}
    for kind, subject in list(state.problems.open):
        if kind == KIND and subject not in judged:
            end(state, KIND, subject, now, f"{subject} has ended")
    for subject, name in judged.items():
        job = serving_job(state.work.services.serving(name), state.rollouts.get(name))
        _judge(state, subject, job, now)


def _judge(state: State, subject: str, job: Job, now: Now) -> None:
    slo = None if job.spec.service is None else job.spec.service.slo
    minutes = state.service_minutes.get(job.spec.name)
    found = None
    if slo is not None and minutes is not None:
        factor = STAYS if is_open(state, KIND, subject) else 1.0
        found = burning(minutes, slo, factor, now.unix_s)
    if found is None or slo is None or minutes is None:
        end(state, KIND, subject, now)
    else:
        begin(state, KIND, subject, _text(subject, minutes, slo, found, now), now, job=job.id)


def _text(subject: str, minutes: ServiceMinutes, slo: Slo, alert: Alert, now: Now) -> str:
    seen = window(minutes, slo, alert.long_s, now.unix_s)
    share = digits(100.0 * seen.bad / max(seen.requests, 1))
    lasts = format_duration(round(PERIOD_S / max(seen.burn(slo) or 0.0, 1.0)))
    return (
        f"{subject}: {share} % of {seen.requests} requests in {format_duration(alert.long_s)} "
        f"failed ({seen.failed}) or took longer than {format_duration(slo.p95_s)}: "
        f"the error budget of 30 days lasts {lasts}"
    )
