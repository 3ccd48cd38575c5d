"""Whether a job may become the next revision of a service: checked at submission and requeue."""

from wattline_protocol.ids import Now
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.text.wording import named
from wattline_protocol.wire.client_messages import Denied
from wattline_protocol.wire.rollouts import (
    BY_MODEL,
    NO_DIFFERENCE,
    RolloutOptions,
    tolerance_of,
)
from wattline_scheduler.core.admission.satisfiability import site_with
from wattline_scheduler.core.lifecycle.ending import ends_for_good
from wattline_scheduler.core.model.jobs.job import Job
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.rollout.rollouts import ended_by, in_progress
from wattline_scheduler.plan.model.shape import shape_of
from wattline_scheduler.plan.search.gang import place_gang
from wattline_scheduler.plan.search.trial import Trial
from wattline_scheduler.plan.wait_reasons import wait_reason

MAX_PERMILLE = 1_000


def revisions(state: State, service: str) -> list[Job]:
    """Open jobs of a service that are not ending already, and whose user owns the name."""
    return [job for job in _uncancelled(state, service) if not is_ending(job)]


def is_ending(job: Job) -> bool:
    """Whether no replica is tried again: a rollout ended the job, say, and its node is silent."""
    return all(map(ends_for_good, job.gangs))


def _uncancelled(state: State, service: str) -> list[Job]:
    jobs = state.work.services.routed().get(service, [])
    return [job for job in jobs if not job.record.cancelled_by]


def revision_refused(
    state: State, spec: JobSpec, options: RolloutOptions | None, now: Now
) -> Denied | None:
    """Denies a job that cannot become a revision of its service; None = it can, or is the first."""
    if spec.kind != "service":
        text = f"only services have revisions; this job is of kind {spec.kind}"
        return None if options is None else Denied("bad_request", text)
    old = revisions(state, spec.name)
    if not old:
        text = f"there is no service {spec.name}; `wattline submit` starts it"
        return None if options is None else Denied("not_found", text)
    denied = _has_several(state, spec.name, old)
    if denied is not None:
        return denied
    options = options or RolloutOptions()
    problem = _wrong(spec, options)
    if problem:
        return Denied("bad_request", problem)
    if not state.site.gateways:
        text = "it would replace a running service, and only gateways know what is ready"
        return Denied("impossible", f"{text}: the site file names none ([[gateway]])")
    problem = "" if options.is_in_place else _no_room(state, old[0], spec, now)
    return Denied("impossible", problem) if problem else None


def reopening_refused(state: State, job: Job) -> Denied | None:
    """Denies the requeue of a service that has ended, or is about to, beside the job that has its
    name now."""
    is_over = job.spec.kind == "service" and is_ending(job)
    others = revisions(state, job.spec.name) if is_over else []
    if not others:
        return None
    how = f"submit it as the next revision: `wattline rollout {job.spec.name} FILE`"
    return Denied("conflict", f"service {job.spec.name} is job {others[-1].id} now; {how}")


def _has_several(state: State, service: str, old: list[Job]) -> Denied | None:
    rollout = in_progress(state, service)
    if rollout is not None:
        what = f"revision {rollout.record.new} replaces {rollout.record.old}"
        how = f"`wattline rollout {service} status`, `promote` or `back`"
        return Denied("conflict", f"a rollout of {service} is in progress: {what}; {how}")
    last = state.rollouts.get(service)
    ends = None if last is None else ended_by(last.record)
    if any(job.id == ends and is_ending(job) for job in _uncancelled(state, service)):
        text = f"job {ends} of service {service} is still ending after the last rollout"
        return Denied("conflict", f"{text}; try again in a moment")
    if len(old) > 1:
        jobs = named("job", [job.id for job in old])
        return Denied("conflict", f"service {service} has {jobs}; cancel all but one first")
    return None


def _wrong(spec: JobSpec, options: RolloutOptions) -> str:
    shares = options.canary_permille, options.shadow_permille
    if all(shares):
        return "--canary and --shadow exclude each other: copies first, then a share"
    if max(shares) >= MAX_PERMILLE:
        return "a share is below 100%"
    try:
        tolerance_of(options.compare)
    except ValueError as error:
        return str(error)
    if options.compare != NO_DIFFERENCE and not options.shadow_permille:
        return "--compare is for the answers to copies: specify --shadow as well"
    if options.compare == BY_MODEL and spec.service is not None and spec.service.http is not None:
        return "an HTTP server has no model that compares: use --compare equal or close=1e-3"
    return ""


def _no_room(state: State, old: Job, spec: JobSpec, now: Now) -> str:
    """Reason if no replica fits beside those of the old revision, on an otherwise empty site."""
    if any(node.record.incarnation == 0 for node in state.nodes.values()):
        return ""  # a node that was never heard may have any hardware
    held = [attempt for gang in old.gangs for attempt in gang.live]
    trial, shape = Trial(site_with(state, held, now)), shape_of(spec)
    if place_gang(trial, shape) is not None:
        return ""
    text = f"no replica of it fits beside those of job {old.id}: {wait_reason(trial, shape)}"
    return f"{text}; --in-place stops one of them first"
