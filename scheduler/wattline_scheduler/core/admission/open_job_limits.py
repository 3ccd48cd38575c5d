"""Limits of open jobs: per site, user, account and queue."""

from wattline_protocol.ids import UserName
from wattline_protocol.job.spec import JobSpec, encoded_bytes
from wattline_protocol.text.wording import about_size, counted
from wattline_protocol.wire.client_messages import Denied
from wattline_scheduler.core.model.jobs.job import Job
from wattline_scheduler.core.model.state import State

MAX_OPEN_JOBS = 100_000
"""Maximum number of open jobs on the site; an array counts as one."""

MAX_SERVICES = 4_000
"""Maximum number of open services on the site, each revision counted. Every tick looks at each, and
a report of a gateway has no more."""

MAX_SERVICES_OF_USER = 1_000

GANGS_PER_OPEN_JOB = 4
"""Gangs that the open jobs of a user may have in memory, ended ones included, per open job that the
user may have. 10,000 take 12 MB: an array keeps them until its last index has ended, and a service
that was scaled down until it ends."""

COUNTED = "each index of an array and each replica counts"


def too_large(state: State, owner: UserName, spec: JobSpec, before_bytes: int = 0) -> Denied | None:
    """Denies a job that is too large, alone or with the user's open jobs; None = allowed."""
    size, most = encoded_bytes(spec), state.site.max_job_bytes
    if size > most:
        return Denied(
            "bad_request",
            f"the size of the job is {about_size(size)}, the maximum here {about_size(most)} "
            "(max_job_size); put long scripts and data into files",
        )
    most, now = state.site.open_jobs_bytes_per_user, state.work.open_jobs.bytes_of_user[owner]
    if now + size - before_bytes > most:
        return Denied(
            "busy",
            f"the size of the open jobs of {owner} is {about_size(now)}, of this one "
            f"{about_size(size)}; the maximum per user is {about_size(most)} "
            "(open_jobs_size_per_user): wait until some have ended, cancel some, or put long "
            "scripts and data into files",
        )
    return None


def too_many(
    state: State, owner: UserName, spec: JobSpec, more: int, *, is_open: bool = False
) -> Denied | None:
    """Denies more open gangs than the limits allow; None = allowed.

    `is_open`: the job has open gangs, so that the site's limit counts it already.
    """
    if not is_open and len(state.work.open) >= MAX_OPEN_JOBS:
        return Denied(
            "busy", f"the site has {MAX_OPEN_JOBS} open jobs already; retry later, or use an array"
        )
    if not is_open and spec.kind == "service" and (why := _too_many_services(state, owner)):
        return Denied("busy", f"{why}; cancel some, or use replicas of one")
    most, now = state.site.open_jobs_per_user, state.work.open_jobs.of_user[owner]
    if now + more > most:
        whose = f"the maximum per user is {most} (open_jobs_per_user)"
        return _denied(f"{owner} has", whose, most, now, more)
    return _beyond_quota(state, spec.account or owner, spec.queue, more, ())


def _too_many_services(state: State, owner: UserName) -> str:
    """Why there may be no further service; empty = there may."""
    services = state.work.services
    if services.count_of[owner] >= MAX_SERVICES_OF_USER:
        return f"{owner} has {MAX_SERVICES_OF_USER} open services already, the maximum per user"
    return (
        f"the site has {MAX_SERVICES} open services already"
        if services.count >= MAX_SERVICES
        else ""
    )


def too_many_ended(state: State, owner: UserName, more: int) -> Denied | None:
    """Denies more gangs beside those of the user's open jobs, ended ones included; None = allowed.

    `more`: all of a job that opens, or those that an open one adds.
    """
    most = GANGS_PER_OPEN_JOB * state.site.open_jobs_per_user
    now = state.work.open_jobs.gangs_of_user[owner]
    if more <= 0 or now + more <= most:
        return None
    return Denied(
        "busy",
        f"the open jobs of {owner} have {now} indices and replicas, ended ones included, and "
        f"{more} more are requested; the maximum per user is {most} ({GANGS_PER_OPEN_JOB} x "
        "open_jobs_per_user): wait until some of these jobs have ended as a whole, or cancel some",
    )


def too_many_replicas(
    state: State, job: Job, spec: JobSpec, more: int, count: int
) -> Denied | None:
    """Denies `more` open replicas of an open service, all numbered below `count`; None = allowed.

    Numbers that it had before are in memory already.
    """
    owner = job.record.owner
    denied = too_many(state, owner, spec, more, is_open=True) if more else None
    return denied or too_many_ended(state, owner, count - len(job.gangs))


def too_many_there(state: State, job: Job, spec: JobSpec) -> Denied | None:
    """Denies more open gangs, present and added, than the account and queue of `spec` allow; None =
    allowed."""
    before = state.work.quotas.of(job.account, job.spec.queue)
    account = spec.account or job.record.owner
    count = job.replicas_under(spec) or spec.gang_count
    more = max(0, count - job.gang_count)
    denied = too_many_replicas(state, job, spec, more, count)
    return denied or _beyond_quota(state, account, spec.queue, job.open_count + more, before)


def _beyond_quota(
    state: State, account: str, queue: str, more: int, before: tuple[int, ...]
) -> Denied | None:
    for number in state.work.quotas.of(account, queue):
        one = state.work.quotas.all[number]
        most, now = one.quota.open_jobs, one.open_jobs
        if number not in before and most and now + more > most:
            whose = f"the quota of {one.name} is {most}"
            return _denied(f"{one.name} has", whose, most, now, more)
    return None


def _denied(has: str, whose: str, most: int, now: int, more: int) -> Denied:
    """Impossible if it exceeds the limit by itself, otherwise busy while others are open."""
    if more > most:
        text = f"requests {counted(more, 'open job')}, {whose}; {COUNTED}; submit fewer at a time"
        return Denied("impossible", text)
    text = f"{has} {counted(now, 'open job')} and requests {more} more, {whose}; {COUNTED}"
    return Denied("busy", f"{text}; wait until some have ended, or cancel some")
