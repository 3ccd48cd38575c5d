"""Whether a user may use a service name: checked at submission, at requeue, and once a run."""

from wattline_protocol.ids import Now, UserName
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.text.names import check_name
from wattline_protocol.text.wording import listed
from wattline_protocol.wire.client_messages import Denied
from wattline_scheduler.core.model.jobs.job import Job
from wattline_scheduler.core.model.problems import begin, end
from wattline_scheduler.core.model.state import State

KIND = "service_name_taken"

"""Maximum number of users listed in one sentence."""


def name_taken(state: State, owner: UserName, spec: JobSpec) -> Denied | None:
    """Denies a service name that the user may not use; None = allowed, or no service."""
    if spec.kind != "service":
        return None
    try:
        check_name(spec.name)  # it is a segment of the path of a URL
    except ValueError as error:
        return Denied("bad_request", f"name of a service: {error}")
    names = state.work.services
    if names.may_serve(owner, spec.name):
        return None
    if spec.name in names.routes:
        text = f"{spec.name} is the name of a route; a service has a name of its own"
        return Denied("conflict", f"{text} (--name)")
    users = names.listed.get(spec.name)
    if users is not None:
        text = f"service name {spec.name} is for {listed(users)} ([[service]])"
        return Denied("not_allowed", f"{text}; you are {owner}; choose another name (--name)")
    return Denied("conflict", f"{_is_anothers(state, spec.name)}; {_hint(spec.name)}")


def _is_anothers(state: State, name: str) -> str:
    first = state.work.services.holder(name)
    if name in state.work.services.routes:
        return f"service name {name} is that of a route"
    if first is None:
        return f"service name {name} is for other users"
    return f"service name {name} belongs to {first.record.owner} (job {first.id})"


def _hint(name: str) -> str:
    listing = f'users that share a name are listed in the site file ([[service]] name = "{name}")'
    return f"choose another name (--name); {listing}"


def restore_names(state: State, now: Now) -> None:
    """Finds open services that get no requests because their name belongs to another user.

    An earlier version or another site file accepted them. Runs at the start of a run.
    """
    for name, jobs in state.work.services.open().items():
        for job in jobs:
            if not state.work.services.may_serve(job.record.owner, name):
                state.work.services.displaced.add(job.id)
                _note_displaced(state, job, now)
    displaced = state.work.services.displaced
    for kind, subject in list(state.problems.open):
        job_id = state.problems.open[kind, subject].record.job
        if kind == KIND and job_id not in displaced:
            end(state, kind, subject, now, f"{subject} has ended, or owns its name again")


def _note_displaced(state: State, job: Job, now: Now) -> None:
    name, owner = job.spec.name, job.record.owner
    users = state.work.services.listed.get(name)
    why = (
        _is_anothers(state, name)
        if users is None
        else f"service name {name} is for {listed(users)} ([[service]])"
    )
    text = f"job {job.id} of {owner} gets no requests: {why}; submit it with another name"
    begin(state, KIND, f"job {job.id}", text, now, job=job.id)


def tick_names(state: State, now: Now) -> None:
    """Clears displaced services that have ended, or whose name has become free, at every tick."""
    services, jobs = state.work.services, state.work.jobs
    for number in sorted(services.displaced):
        job = jobs.get(number)
        is_over = job is None or job.is_ended
        if is_over or (job is not None and services.may_use(job.record.owner, job.spec.name)):
            services.displaced.discard(number)
            why = "it has ended" if is_over else "it owns its name again"
            end(state, KIND, f"job {number}", now, f"job {number} gets requests again: {why}")
