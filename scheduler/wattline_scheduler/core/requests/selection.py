"""Resolves a selection to jobs and their indices."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from wattline_protocol.ids import JobId, UserName
from wattline_protocol.job.selection import NEWEST, Selection, Span
from wattline_protocol.site.model import LogReaders, Role, TerminalUsers
from wattline_protocol.text.spans import folded
from wattline_protocol.views.site_views import ENDED_STATES, JobState
from wattline_protocol.wire.client_messages import ROLE_RANK, Denied
from wattline_scheduler.core.lifecycle.job_state import state_of_gang
from wattline_scheduler.core.model.jobs.job import Gang, Job
from wattline_scheduler.core.model.jobs.job_index import MAX_ENDED_JOBS
from wattline_scheduler.core.model.not_found import no_job
from wattline_scheduler.core.model.state import State

NONE_KNOWN: Mapping[JobId, JobState] = {}


@dataclass(frozen=True, slots=True)
class Asker:
    """User and role of a request. Users act on their own jobs, operators on all."""

    user: UserName
    role: Role

    @property
    def is_operator(self) -> bool:
        return ROLE_RANK[self.role] >= ROLE_RANK["operator"]

    def may_act_for(self, owner: UserName) -> bool:
        return self.is_operator or owner == self.user

    def may_read_logs(self, owner: UserName, readers: LogReaders) -> bool:
        return readers == "everyone" or self.may_act_for(owner)

    def may_use_terminal(self, owner: UserName, users: TerminalUsers) -> bool:
        return owner == self.user or (users == "operators" and self.is_operator)

    def may_act_on(self, job: Job) -> bool:
        return self.may_act_for(job.record.owner)


@dataclass(frozen=True, slots=True)
class Target:
    """One selected job, or the reason why it cannot be acted on."""

    number: JobId
    job: Job | None = None
    numbers: tuple[int, ...] | None = None
    """Gang numbers selected; None = the whole job."""
    refusal: Denied | None = None

    @property
    def gangs(self) -> list[Gang]:
        """All selected gangs."""
        if self.job is None:
            return []
        if self.numbers is None:
            return self.job.gangs
        return [self.job.gangs[number] for number in self.numbers]

    @property
    def indices(self) -> str:
        """Selected indices, as users number them; empty = the whole job."""
        if self.job is None or self.numbers is None:
            return ""
        return folded(self.job.index_of(number) for number in self.numbers)


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters of a selection, with what was looked up for them."""

    which: Selection
    by_index: bool
    names: frozenset[str] | None
    meeting: frozenset[JobId] | None
    has_ended: bool
    """Whether jobs that have ended are meant, too."""

    def part_of(self, target: Target) -> Target | None:
        """What of the target is selected; None = nothing. A job not in memory never is."""
        which, job = self.which, target.job
        if job is None or target.refusal is not None:
            return None
        if which.where and (self.meeting is None or job.id not in self.meeting):
            return None
        if not _is_meant(job, which, self.names):
            return None
        state = job.record.state
        if not which.states:
            return target if self.has_ended or state not in ENDED_STATES else None
        if not self.by_index:
            return target if state in which.states else None
        return _in_state(target, job, which.states)


def select(
    state: State,
    asker: Asker,
    which: Selection,
    *,
    by_index: bool = True,
    ended: Mapping[JobId, JobState] = NONE_KNOWN,
    names: frozenset[str] | None = None,
    meeting: frozenset[JobId] | None = None,
) -> list[Target] | Denied:
    """Selected jobs in order of number. Jobs of others are refused if named, otherwise skipped.

    `ended`: final states of jobs that are not in memory any more. `by_index`: states are those of
    each index of an array, else of the whole job. `names`: job names that the patterns match, if
    already resolved. `meeting`: jobs that meet the condition; without it none is known to.
    """
    stranger = next((u for u in which.users if u != asker.user and not asker.is_operator), None)
    if stranger is not None:
        role = f"{asker.user} has the role {asker.role}"
        text = f"only operators act on jobs of other users (here: {stranger}); {role}"
        return Denied("not_allowed", text)
    has_ended = bool(which.jobs) or which.names_ended
    filters = Filters(which, by_index, names, meeting, has_ended)
    if which.jobs:
        return _named(state, asker, filters, ended)
    found = [
        target
        for job in (state.work.jobs if has_ended else state.work.open).values()
        if asker.may_act_on(job) and (target := filters.part_of(Target(job.id, job))) is not None
    ]
    return sorted(found, key=lambda target: target.number)


def _named(
    state: State, asker: Asker, filters: Filters, ended: Mapping[JobId, JobState]
) -> list[Target] | Denied:
    which = filters.which
    wanted: defaultdict[JobId, list[Span]] = defaultdict(list)
    newest = _newest(state, asker.user) if any(s.first == NEWEST for s in which.jobs) else None
    for span in dict.fromkeys(which.jobs):
        first, last = span.first, span.last
        if first == NEWEST:
            if newest is None:
                return Denied("not_found", f"no job of {asker.user} is in memory; give its number")
            first = last = newest
        for number in range(first, last + 1):
            wanted[JobId(number)].append(span)
    found = (
        _target(state, asker, number, wanted[number], ended.get(number))
        for number in sorted(wanted)
    )
    if not which.is_filtered:
        return list(found)
    return [part for part in map(filters.part_of, found) if part is not None]


def _newest(state: State, user: UserName) -> JobId | None:
    """The newest job that the user submitted, as far as it is in memory."""
    own = (job.id for job in state.work.jobs.values() if job.record.owner == user)
    return max(own, default=None)


def _target(
    state: State, asker: Asker, number: JobId, spans: list[Span], outcome: JobState | None
) -> Target:
    job = state.work.jobs.get(number)
    if job is None:
        return Target(number, refusal=_not_at_hand(state, number, outcome))
    if not asker.may_act_on(job):
        whose = f"job {number} belongs to {job.record.owner}"
        text = f"{whose}; only its owner or an operator may do this"
        return Target(number, job, refusal=Denied("not_allowed", text))
    if not all(span.indices for span in spans):
        return Target(number, job)
    return _some(job, [pair for span in spans for pair in span.indices])


def _not_at_hand(state: State, number: JobId, outcome: JobState | None) -> Denied:
    """Denies an action on a job that is not in memory. `outcome`: its state on disk."""
    if outcome is None:
        return no_job(number, state.next_job)
    rule = f"only the newest {MAX_ENDED_JOBS} ended jobs can be changed"
    return Denied("not_found", f"job {number} ended {outcome}; {rule}: submit it again")


def _some(job: Job, pairs: list[tuple[int, int]]) -> Target:
    """Selects indices of a job; an index that it does not have is refused, not skipped."""
    indices = job.spec.array.indices if job.spec.array is not None else range(len(job.gangs))
    numbers: list[int] = []
    reached = 0
    for first, last in sorted(pairs):  # ranges may overlap, thousands of them: each index once
        start, end = bisect_left(indices, first), bisect_right(indices, last)
        if start == end or indices[start] != first or indices[end - 1] != last:
            return Target(job.id, job, refusal=_no_index(job, first, last))
        numbers += range(max(start, reached), end)
        reached = max(reached, end)
    return Target(job.id, job, tuple(numbers))


def _no_index(job: Job, first: int, last: int) -> Denied:
    wanted = str(first) if first == last else f"{first}-{last}"
    if len(job.gangs) == 1 and job.spec.array is None:
        return Denied("not_found", f"job {job.id} has no index {wanted}: it is not an array")
    has = folded(job.index_of(number) for number in range(len(job.gangs)))
    return Denied("not_found", f"job {job.id} has no index {wanted}; it has {has}")


def _is_meant(job: Job, which: Selection, names: frozenset[str] | None) -> bool:
    """Applies all filters except condition and states."""
    record, spec = job.record, job.spec
    account = record.account
    wanted = ((which.users, record.owner), (which.accounts, account), (which.queues, spec.queue))
    if any(some and value not in some for some, value in wanted):
        return False
    return which.matches_name(spec.name) if names is None else spec.name in names


def is_listed(job: Job, which: Selection, names: frozenset[str] | None = None) -> bool:
    """Whether a list with this selection includes the whole job. `names`: as in `select`."""
    if which.jobs and not any(span.first <= job.id <= span.last for span in which.jobs):
        return False
    return (not which.states or job.record.state in which.states) and _is_meant(job, which, names)


def _in_state(target: Target, job: Job, states: tuple[JobState, ...]) -> Target | None:
    numbers = tuple(gang.number for gang in target.gangs if state_of_gang(gang) in states)
    if not numbers:
        return None
    return Target(job.id, job, None if len(numbers) == len(job.gangs) else numbers)
