"""Groups of pending jobs that read the same data and are equal to the planner but for their age.

Bounds on what one run examines, shared among users; and what failed, which comes last or ends.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, takewhile

from wattline_protocol.ids import Instant, NodeId, Now, UserName
from wattline_protocol.wire.agents.data_messages import DataHeld
from wattline_scheduler.core.lifecycle.data.node_lists import Source, source_of
from wattline_scheduler.core.lifecycle.ending import end_gangs, hold_without_checkpoint
from wattline_scheduler.core.lifecycle.job_state import respecify
from wattline_scheduler.core.model.data.job_data import (
    reads_of,
    unreadable,
    waits_for_latest,
    with_latest,
)
from wattline_scheduler.core.model.data.stored_checkpoints import (
    may_resume_on,
    resume_of,
    resume_version,
)
from wattline_scheduler.core.model.jobs.job import Job, Pending
from wattline_scheduler.core.model.jobs.resume import ANYWHERE, Resume
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.queue.job_class import ClassKey
from wattline_scheduler.core.model.state import State
from wattline_scheduler.data_record import DataVersionRecord

MAX_GROUPS = 64
"""Groups of jobs whose data is staged at a time; the others wait for their turn."""
MAX_GROUPS_OF_USER = MAX_GROUPS // 4
"""Of them, while other users have some."""
MAX_EXAMINED = 5_000
"""Versions that jobs read, examined in one run; a job reads up to 50."""
STALLED_S = 600.0
"""After a fetch failed, jobs that need it come last for so long; they are tried all the same."""


@dataclass(slots=True)
class Group:
    """Jobs of one class, the oldest first, and the versions that they read."""

    key: ClassKey
    jobs: list[Job]
    versions: Mapping[str, DataVersionRecord]
    resume: Resume = ANYWHERE
    """Of its only job, where that keeps its checkpoints in the store."""

    @property
    def fetched(self) -> dict[str, DataVersionRecord]:
        """The versions, and the checkpoint from which its job resumes."""
        return {**self.versions, **_checkpoint(self.jobs[0], self.resume)}

    @property
    def manifests(self) -> list[str]:
        """Of all that is fetched."""
        return [version.sha256 for version in self.fetched.values()]

    def is_ready_on(self, node: NodeNow) -> bool:
        """Whether its jobs may start there now."""
        versions = (version.sha256 for version in self.versions.values())
        return may_resume_on(node, self.resume) and node.data.has_all(versions)


def groups_of(state: State, now: Now) -> list[Group]:
    """Groups of pending jobs in queue order, as many as are staged at a time. Those whose data no
    node can fetch now come last: they would keep the caches from others. Jobs that can never have
    their data end here."""
    work, found = state.work, dict[ClassKey, Group]()
    failed = dict(_failed(state))
    for job in _examined(list(work.with_data.values())):
        if not job.count["pending"]:
            work.with_data.pop(job.id, None)
            continue
        barred = ""
        if waits_for_latest(job.spec):
            if job.parents:  # one of them may make it
                continue
            respecify(state, job, with_latest(state.data, job.spec))
            barred = _unreadable(state, job)
        reads, resume = reads_of(state.data, job.spec), _resume(state, job, now)
        if why := barred or reads.gone or _failure(job, reads.versions, failed):
            pending = [gang for gang in job.gangs if isinstance(gang.phase, Pending)]
            end_gangs(state, pending, "no_data", why, now)
        elif not resume.home and (why := _failure(job, _checkpoint(job, resume), failed)):
            hold_without_checkpoint(state, job.gangs[0], why, now)
        elif job.may_start_with_data and work.may_start(job):
            key = work.queue.key(job)
            found.setdefault(key, Group(key, [], reads.versions, resume)).jobs.append(job)
    order = work.queue.order
    _note_stalled(state, now)
    ranked = [(order.rank(key), group) for key, group in found.items()]
    ranked.sort(key=lambda one: (one[0].before, _since_s(one[1]) + one[0].later_s))
    ranked.sort(key=lambda one: not state.stalled.keys().isdisjoint(one[1].manifests))
    return _shared([group for _, group in ranked])


def _unreadable(state: State, job: Job) -> str:
    owner = job.record.owner
    member = state.members.get(owner)
    is_operator = member is not None and member.role in ("operator", "admin")
    return unreadable(state.data, job.spec, owner, is_operator=is_operator)


def _resume(state: State, job: Job, now: Now) -> Resume:
    """Notes from where its next attempt continues."""
    resume = resume_of(state, job, now)
    if job.spec.data.outputs and resume != job.gangs[0].resume:
        job.gangs[0].resume = resume
        state.wants_plan = True
    return resume


def _checkpoint(job: Job, resume: Resume) -> dict[str, DataVersionRecord]:
    """What nodes fetch besides the versions of a job."""
    if resume.stored is None or resume.is_bound:
        return {}
    version = resume_version(job, resume.stored)
    return {version.reference: version}


def _examined(jobs: list[Job]) -> list[Job]:
    """As many as one run may examine: of many, as many of each user, the oldest."""
    if len(jobs) <= MAX_EXAMINED and sum(map(_reads, jobs)) <= MAX_EXAMINED:
        return jobs
    of_user: dict[UserName, list[Job]] = {}
    for job in jobs:
        of_user.setdefault(job.record.owner, []).append(job)
    share = max(1, MAX_EXAMINED // len(of_user))
    return sorted(
        (job for some in of_user.values() for job in _within(some, share)), key=lambda job: job.id
    )


def _within(jobs: list[Job], share: int) -> list[Job]:
    """The first of them that read as many versions together; one at least."""
    counts = accumulate(map(_reads, jobs))
    return jobs[: max(1, sum(1 for _ in takewhile(lambda count: count <= share, counts)))]


def _reads(job: Job) -> int:
    return max(1, len(job.spec.data.datasets))


def _shared(groups: list[Group]) -> list[Group]:
    """The groups that are staged, in their order: some of each user before more of any."""
    if len(groups) <= MAX_GROUPS:
        return groups
    seen: Counter[UserName] = Counter()
    turns: list[int] = []
    for group in groups:
        owner = group.jobs[0].record.owner
        turns.append(seen[owner] // MAX_GROUPS_OF_USER)
        seen[owner] += 1
    first = sorted(range(len(groups)), key=turns.__getitem__)[:MAX_GROUPS]
    return [groups[at] for at in sorted(first)]


def _note_stalled(state: State, now: Now) -> None:
    """What is on a node, or on its way, is not stalled; nor is what waits for room."""
    waiting: set[str] = set()
    moving: set[str] = set()
    for name in state.holding:
        for _, held in state.nodes[name].data.reports():
            if held.state == "ready" or held.done_bytes:
                moving.add(held.manifest_sha256)
            elif held.detail and not held.is_full:
                waiting.add(held.manifest_sha256)
    until = Instant(now.mono_s + STALLED_S)
    state.stalled = {
        name: at for name, at in state.stalled.items() if at > now.mono_s and name not in moving
    } | dict.fromkeys(waiting - moving, until)


def _since_s(group: Group) -> float:
    return group.jobs[0].record.submitted_unix_s


def _failed(state: State) -> Iterator[tuple[Source, tuple[DataHeld, NodeId]]]:
    """Failures that are final. One says nothing about other sources of the same content."""
    for name in state.holding:
        for one, held in state.nodes[name].data.reports():
            if held.state == "failed":
                yield source_of(one), (held, name)


def _failure(
    job: Job,
    versions: Mapping[str, DataVersionRecord],
    failed: Mapping[Source, tuple[DataHeld, NodeId]],
) -> str:
    """Why the job can never have its data; empty = it may."""
    for name in versions:
        if (source := Source(name, job.record.owner)) in failed:
            held, node = failed[source]
            if held.asked >= job.id:
                return f"{name} cannot be read on {node}: {held.detail}"
    return ""
