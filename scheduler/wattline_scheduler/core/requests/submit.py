"""Validates and accepts job submissions."""

from collections.abc import Mapping
from functools import partial

from wattline_protocol.ids import JobId, Now, UserName
from wattline_protocol.job.spec import JobSpec, encoded_bytes
from wattline_protocol.text.wording import counted
from wattline_protocol.views.site_views import JobState
from wattline_protocol.wire.client_messages import Answer, Denied, Submit, Submitted
from wattline_protocol.wire.rollouts import RolloutOptions
from wattline_scheduler.core.admission.disk_reserve import count_accepted, deny_new_work
from wattline_scheduler.core.admission.earliest_start import cannot_be_met
from wattline_scheduler.core.admission.learned_demand import shape_for
from wattline_scheduler.core.admission.open_job_limits import too_large, too_many, too_many_ended
from wattline_scheduler.core.admission.quota_checks import never_fits
from wattline_scheduler.core.admission.reservation_fit import impossible_inside
from wattline_scheduler.core.admission.reservations import refusal as not_inside
from wattline_scheduler.core.admission.satisfiability import impossible, malformed, slow_to_stop
from wattline_scheduler.core.admission.service_name_checks import name_taken
from wattline_scheduler.core.leases.fault_barrier import total
from wattline_scheduler.core.lifecycle.dependencies import never, wait_for_parents
from wattline_scheduler.core.lifecycle.notifications import receiver_refused
from wattline_scheduler.core.lifecycle.usage_limits import never_reached
from wattline_scheduler.core.model.events import ClientRequest
from wattline_scheduler.core.model.jobs.job import Gang, Job, Pending
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.access import (
    barred,
    not_allowed,
    too_long,
    too_urgent,
    with_defaults,
)
from wattline_scheduler.core.requests.data_sets.job_versions import (
    claim_set,
    data_refused,
    too_large_for_caches,
    with_versions,
)
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.core.rollout.rollout_checks import revision_refused, revisions
from wattline_scheduler.core.rollout.rollouts import begin_rollout
from wattline_scheduler.core.scaling.slo_checks import revision_slo_problem, unmeasured_slo
from wattline_scheduler.records import JobRecord

MAX_TOKEN_CHARS = 128


def submit(state: State, event: ClientRequest, request: Submit, now: Now) -> Answer:
    """Accepts a job: recorded before it is acknowledged. The same token returns the same job."""
    user = event.user
    known = state.work.tokens.get((user, request.token))
    if known is not None:
        return _submitted(state, known)
    if not 0 < len(request.token) <= MAX_TOKEN_CHARS:
        return Denied("bad_request", f"a token has 1 to {MAX_TOKEN_CHARS} characters")
    asker = Asker(user, event.role)
    spec = with_versions(state, with_defaults(state, request.spec))
    refused = partial(refusal, state, asker, spec, event.ended, now, request.rollout)
    denied = deny_new_work(state) or total(state, "submit", user, refused, now)
    if denied is not None:
        return denied
    old = _replaced(state, spec)
    job = _accept(state, user, request.token, spec, now)
    for one in old:
        begin_rollout(state, one, job, request.rollout or RolloutOptions(), user, now)
    return _submitted(state, job.id)


def _submitted(state: State, number: JobId) -> Submitted:
    job = state.work.jobs.get(number)
    return Submitted(number, "" if job is None else unmeasured_slo(state, job))


def refusal(
    state: State,
    asker: Asker,
    spec: JobSpec,
    ended: Mapping[JobId, JobState],
    now: Now,
    rollout: RolloutOptions | None = None,
) -> Denied | None:
    """Denies a job that cannot be accepted, with the change that would help; None = accepted.

    `ended`: final states of jobs that it names and that are not in memory any more.
    """
    owner = asker.user
    problem = malformed(spec) or slow_to_stop(spec, state.site.timing.max_grace_s)
    if problem:
        return Denied("bad_request", problem)
    denied = (
        too_large(state, owner, spec)
        or not_allowed(state, owner, spec)
        or too_urgent(state, owner, spec, is_operator=asker.is_operator)
        or too_long(state, spec)
        or receiver_refused(state, spec)
        or not_inside(state, owner, spec)
        or data_refused(state, asker, spec, now)
        or name_taken(state, owner, spec)
        or too_many(state, owner, spec, _replicas(state, spec) or spec.gang_count)
        or too_many_ended(state, owner, _replicas(state, spec) or spec.gang_count)
    )
    if denied is not None:
        return denied
    problem = (
        never(state, spec, ended)
        or cannot_be_met(state, owner, spec, now)
        or never_reached(spec, state.site.tariff)
        or too_large_for_caches(state, spec)
        or never_fits(state, spec.account or owner, spec.queue, shape_for(state, owner, spec), now)
        or impossible(state, spec, now)
        or impossible_inside(state, owner, spec, now)
        or revision_slo_problem(state, spec)
    )
    if problem:
        return Denied("impossible", problem)
    return revision_refused(state, spec, rollout, now)


def _replaced(state: State, spec: JobSpec) -> list[Job]:
    """Revisions of a service that a rollout to this one replaces."""
    return revisions(state, spec.name) if spec.kind == "service" else []


def _replicas(state: State, spec: JobSpec) -> int | None:
    """Replicas of a new revision with a range: as many as those have that it replaces."""
    known = [job.replicas_under(spec) for job in _replaced(state, spec)]
    return max((count for count in known if count is not None), default=None)


def new_job(state: State, user: UserName, token: str, spec: JobSpec, now: Now) -> Job:
    """The next job, without gangs and not yet in any index."""
    record = JobRecord(
        id=state.next_job,
        token=token,
        owner=user,
        submitted_unix_s=now.unix_s,
        spec=spec,
        state="HELD" if spec.hold else "PENDING",
        reason="held until released" if spec.hold else "",
        is_held=spec.hold,
        replicas=_replicas(state, spec),
    )
    job = Job(record, shape_for(state, user, spec), max_grace_s=state.site.timing.max_grace_s)
    job.barred = barred(state, user, spec)
    return job


def _accept(state: State, user: UserName, token: str, spec: JobSpec, now: Now) -> Job:
    job = new_job(state, user, token, spec, now)
    state.next_job = JobId(job.id + 1)
    job.gangs = [Gang(job, number, Pending(now.mono_s)) for number in range(job.gang_count)]
    state.journal.save(job.record)
    claim_set(state, user, spec, now)
    count_accepted(state, encoded_bytes(spec))
    wait_for_parents(state, job)
    state.work.add(job, now)
    state.fleet_view.recent.note(job.shape, job.gang_count * job.shape.nodes)
    tasks = f"{job.gang_count} × {counted(spec.gang_size, 'task')}"
    text = f"{spec.name!r} is submitted ({spec.kind}, {tasks})"
    state.journal.act("job_submitted", text, now, actor=user, owner=user, job=job.id)
    state.wants_plan = True
    state.wants_staging |= bool(job.reads)
    return job
