"""Services without a replica that runs: their replicas are restarted, and fail again and again."""

from collections.abc import Sequence

from wattline_protocol.ids import Now
from wattline_scheduler.core.lifecycle.ending import HEALTHY_RUN_S
from wattline_scheduler.core.model.jobs.job import Gang, Job, Running
from wattline_scheduler.core.model.jobs.replicas import open_replicas
from wattline_scheduler.core.model.problems import begin, end
from wattline_scheduler.core.model.state import State

KIND = "service_down"

FAILED_TRIES = 3
"""Failures in a row of one replica, after which the service is down unless another one runs."""


def tick_down_services(state: State, now: Now) -> None:
    """Begins and ends the problem, at every tick."""
    services = state.work.services.open()
    for name, jobs in services.items():
        failing = _failing(jobs, now)
        if failing is None:
            end(state, KIND, _subject(name), now, f"service {name}: its replicas do not fail")
        else:
            begin(state, KIND, _subject(name), _text(name, failing), now, job=failing.job.id)
    for kind, subject in list(state.problems.open):
        if kind == KIND and subject.partition(" ")[2] not in services:
            end(state, kind, subject, now, f"{subject} has ended")


def _failing(jobs: Sequence[Job], now: Now) -> Gang | None:
    """The open replica that failed most often; None = the service is not down."""
    gangs = [gang for job in jobs for gang in open_replicas(job)]
    if any(_is_healthy(gang, now) for gang in gangs):
        return None
    most = max(gangs, key=lambda gang: gang.failures, default=None)
    return most if most is not None and most.failures >= FAILED_TRIES else None


def _is_healthy(gang: Gang, now: Now) -> bool:
    phase = gang.phase
    return isinstance(phase, Running) and now.mono_s - phase.since >= HEALTHY_RUN_S


def _subject(name: str) -> str:
    return f"service {name}"


def _text(name: str, failing: Gang) -> str:
    why = failing.reason or "ended"
    return f"service {name}: {failing.name} has failed {failing.failures} times in a row: {why}"
