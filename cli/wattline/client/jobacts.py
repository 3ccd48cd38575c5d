"""Acts of a client on jobs: submits one, changes one or many."""

import secrets
from collections.abc import Callable, Iterable
from time import time
from typing import Literal, cast, get_args

from wattline.client.asking import RequestClient
from wattline.client.errors import WattlineError
from wattline.client.submit_dir import started_here
from wattline_protocol.ids import JobId
from wattline_protocol.job.change import ChangeValue
from wattline_protocol.job.selection import NEWEST, Selection, Span, only, parse_jobs
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.lists.job_table import jobs_where
from wattline_protocol.lists.kinds import Reading
from wattline_protocol.release import SAME_RELEASE, release
from wattline_protocol.views.service_views import ListServices, Services, ServiceView
from wattline_protocol.views.site_views import JobState
from wattline_protocol.wire.client_messages import (
    Acted,
    Cancel,
    Hold,
    JobActed,
    OnJobs,
    Release,
    Requeue,
    Submit,
    Submitted,
    Update,
)
from wattline_protocol.wire.rollouts import (
    GetRollout,
    RolloutNow,
    RolloutOptions,
    RolloutView,
    SteerRollout,
)

Jobs = int | str | Iterable[int] | Selection
"""A number, several, a text such as "3-5,8" or "12[0-31]", or a selection with filters."""

Words = str | Iterable[str]
"""One word, or several."""


def selection(
    jobs: Jobs | None = None,
    *,
    user: Words = (),
    account: Words = (),
    queue: Words = (),
    name: Words = (),
    state: JobState | Iterable[JobState] = (),
    where: str = "",
) -> Selection:
    """Jobs by number, by filters, or both; of a filter one value or several; `where` is a condition
    such as "state=pending and reason~watts".

    Raises ValueError for a text that selects no jobs, an unknown state, or a wrong condition.
    """
    if isinstance(jobs, Selection):
        return jobs
    return Selection(
        _spans(jobs),
        words(user),
        words(account),
        words(queue),
        words(name),
        _states(words(state)),
        _where_text(where),
    )


def _where_text(text: str) -> str:
    if not text:
        return ""
    try:
        return jobs_where(text, Reading(time())).text
    except ValueError as error:
        raise ValueError(f"where: {error}") from error


def words(value: Words) -> tuple[str, ...]:
    """One word as a tuple: never split to its letters, of which "*" would select everything."""
    return (value,) if isinstance(value, str) else tuple(value)


def _states(names: tuple[str, ...]) -> tuple[JobState, ...]:
    known = get_args(JobState)
    for name in names:
        if name not in known:
            raise ValueError(f"{name!r} is not a job state; expected one of {', '.join(known)}")
    return cast("tuple[JobState, ...]", names)


def _spans(jobs: int | str | Iterable[int] | None) -> tuple[Span, ...]:
    if jobs is None:
        return ()
    if isinstance(jobs, str):
        return parse_jobs(jobs)
    if isinstance(jobs, int):
        return only(JobId(jobs)).jobs
    return tuple(Span(JobId(number), JobId(number)) for number in jobs)


class JobActs(RequestClient):
    """Acts on jobs. Each returns its result for every job, refusals included; for one job selected
    by its number alone, a refusal is raised.
    """

    def submit_warned(
        self, spec: JobSpec, *, token: str | None = None, rollout: RolloutOptions | None = None
    ) -> Submitted:
        """As `submit`; the answer has the scheduler's warning about the job, too."""
        job, token = started_here(spec), token or secrets.token_hex(16)
        return self.get(Submit(job, token, rollout), Submitted)

    def cancel(self, jobs: Jobs, *, dry_run: bool = False) -> Acted:
        """End them: pending ones at once, running ones by stop notice."""
        which = self.understood(selection(jobs))
        return self._on_jobs(lambda after: Cancel(which, dry_run, after))

    def hold(self, jobs: Jobs, *, dry_run: bool = False) -> Acted:
        """Start no more of their tasks; running ones continue."""
        which = self.understood(selection(jobs))
        return self._on_jobs(lambda after: Hold(which, dry_run, after))

    def release(self, jobs: Jobs, *, dry_run: bool = False) -> Acted:
        """Release held jobs."""
        which = self.understood(selection(jobs))
        return self._on_jobs(lambda after: Release(which, dry_run, after))

    def requeue(self, jobs: Jobs, *, dry_run: bool = False, from_scratch: bool = False) -> Acted:
        """Requeue running jobs, and those that have ended without success; costs no retry.

        `from_scratch`: they may begin at step 0 if no checkpoint is intact; pending ones give up a
        checkpoint that they wait for.
        """
        which = self.understood(selection(jobs))

        def part(after: JobId) -> Requeue:
            return Requeue(which, secrets.token_hex(16), dry_run, after, from_scratch)

        return self._on_jobs(part)

    def update(self, jobs: Jobs, *, dry_run: bool = False, **changes: ChangeValue) -> Acted:
        """Change their specification, by the names of `submit`'s keywords: priority, queue …

        "none" restores a key's default; `at_a_time` throttles an array.
        """
        which = self.understood(selection(jobs))
        return self._on_jobs(lambda after: Update(which, changes, dry_run, after))

    def _on_jobs(self, request: Callable[[JobId], OnJobs]) -> Acted:
        """The complete answer: the scheduler acts on a limited number of jobs at a time."""
        rows: list[JobActed] = []
        after = NEWEST
        while True:
            part = self.get(request(after), Acted)
            rows += part.jobs
            if not part.rest:
                return Acted(tuple(rows), part.is_dry_run)
            after = rows[-1].job

    def understood(self, which: Selection) -> Selection:
        """`which` itself. Raises WattlineError where a condition might be ignored: a scheduler of
        another release may not know the field, and would act on all other jobs of the selection."""
        if which.where and self.me.release != release():
            text = f"the scheduler is {self.me.release or 'of another release'}, this {release()}"
            raise WattlineError(f"{text}: conditions need the same; {SAME_RELEASE}")
        return which

    def rollout(self, service: str) -> RolloutView:
        """The newest rollout of a service."""
        return self.get(GetRollout(service), RolloutNow).rollout

    def services(self) -> tuple[ServiceView, ...]:
        """Open services with their workers."""
        return self.get(ListServices(), Services).services

    def service(self, name: str) -> ServiceView:
        """One open service with its workers."""
        return self.get(ListServices(name), Services).services[0]

    def steer_rollout(self, service: str, action: Literal["promote", "back"]) -> str:
        """Let the new revision replace the old one whatever was measured, or end it."""
        return self.act(SteerRollout(service, action))
