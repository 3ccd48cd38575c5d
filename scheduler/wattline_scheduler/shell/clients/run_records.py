"""Records of runs: read from the node once the attempt has ended, stored, and given to clients.

A node has the record of an attempt as long as its log. The scheduler reads each once, in its own
time, and stores it. A client is given the stored one; else the node's, as it is now. What was not
read, because the scheduler or the node stopped, is read when a client requests it.
"""

import itertools
from dataclasses import dataclass, replace

from wattline_protocol.ids import Instant, NodeId, TaskNo, TaskRef, UnixTime, UserName
from wattline_protocol.text.visible import visible_line
from wattline_protocol.wire.client_messages import Denied
from wattline_protocol.wire.task_reports.run_records import (
    FOUND_AFTER_S,
    FetchRecord,
    ReadRecord,
    RecordRead,
    RunRecord,
    is_recorded,
)
from wattline_scheduler.core.model.effects import Reply, Send
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.recorded_run import RecordedRun
from wattline_scheduler.records import AttemptRecord, JobRecord
from wattline_scheduler.shell.clients.readable_attempts import ReadableAttempts
from wattline_scheduler.store.store import Store

MAX_OUTSTANDING, MAX_OUTSTANDING_OF_USER = 64, 16
"""Reads for clients under way."""

MAX_DUE = 10_000
"""Ended attempts whose record is to be read; the oldest are left to the requests of clients."""

MAX_AT_ONCE = 16
"""Reads of ended attempts under way."""

MAX_TRIES = 3

ANSWER_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class _Due:
    """An ended attempt whose record is to be stored."""

    ref: TaskRef
    node: NodeId
    owner: UserName
    ended_unix_s: UnixTime
    tries: int = 0


@dataclass(frozen=True, slots=True)
class _Reading:
    ref: TaskRef
    node: NodeId
    until: Instant
    due: _Due | None
    """What to store; None: it has not ended."""
    client: bytes = b""
    """Empty: no client waits for it."""
    ask: int = -1
    user: UserName | None = None


class RunRecords:
    """Reads under way, by the number that the agent will return."""

    def __init__(self, state: State, store: Store) -> None:
        self._state, self._store = state, store
        self._attempts = ReadableAttempts(state, store)
        self._numbers = itertools.count(1)
        self._readings: dict[int, _Reading] = {}
        self._due: dict[TaskRef, _Due] = {}
        """The oldest first."""

    # --- Requests of clients ------------------------------------------------------------

    def fetch(
        self, client: bytes, ask: int, asker: Asker, fetch: FetchRecord, now: Instant
    ) -> Send | Reply:
        """The record on disk, or a read of the node's; or the reason why there is none."""
        found = self._find(fetch, asker)
        if isinstance(found, Denied):
            return Reply(client, ask, found)
        job, record = found
        stored = self._store.run(record.ref)
        if stored is not None:
            return Reply(client, ask, RunRecord(record.ref, stored.report, stored.inventory))
        node = self._state.nodes.get(record.node)
        if node is None or not node.is_reachable:
            denied = _unavailable(record.ref, record.node, "which does not report")
            return Reply(client, ask, denied)
        if not node.keeps_records:
            text = "whose agent is of an earlier release"
            return Reply(client, ask, _unavailable(record.ref, record.node, text))
        users = [one.user for one in self._readings.values() if one.client]
        own = users.count(asker.user)
        if own >= MAX_OUTSTANDING_OF_USER or len(users) >= MAX_OUTSTANDING:
            text = f"{own} records are being read for you, {len(users)} for all; retry later"
            return Reply(client, ask, Denied("busy", text))
        due = _due_of(job, record) if record.ended_unix_s is not None else None
        until = Instant(now + ANSWER_WITHIN_S)
        reading = _Reading(record.ref, record.node, until, due, client, ask, asker.user)
        return self._read(reading)

    def _find(self, fetch: FetchRecord, asker: Asker) -> tuple[JobRecord, AttemptRecord] | Denied:
        """The job, and the attempt of the first task of the gang."""
        found = self._attempts.of_gang(fetch.job, fetch.task, asker)
        if isinstance(found, Denied):
            return found
        job, attempts = found
        if job.spec.kind not in FOUND_AFTER_S:
            kind = job.spec.kind
            text = f"job {fetch.job} is a {kind}; training and batch jobs have records of runs"
            return Denied("not_found", text)
        first = TaskNo(fetch.task // job.spec.gang_size * job.spec.gang_size)
        tries = {one.attempt: one for one in attempts if one.task == first}
        if not tries:
            text = f"task {fetch.task} of job {fetch.job} has not been placed yet: no record"
            return Denied("not_found", text)
        number = fetch.attempt or max(tries)
        if number not in tries:
            ref = TaskRef(fetch.job, first, fetch.attempt)
            return Denied("not_found", f"there is no attempt {ref}; the newest is {max(tries)}")
        return job, tries[number]

    # --- Ended attempts -----------------------------------------------------------------

    def note_saved(self, attempt: AttemptRecord) -> None:
        """If the attempt has ended and has a record, that is due."""
        job = self._state.work.jobs.get(attempt.job)
        if job is None or attempt.exit is None or attempt.task % job.spec.gang_size != 0:
            return
        if is_recorded(job.spec.kind, attempt.usage.run_s, len(attempt.metrics)):
            self._put(_due_of(job.record, attempt))

    def _put(self, due: _Due) -> None:
        self._due[due.ref] = due
        if len(self._due) > MAX_DUE:
            self._pop()

    def _pop(self) -> _Due:
        return self._due.pop(next(iter(self._due)))

    def tick(self, now: Instant) -> list[Send | Reply]:
        """Answers for reads that no agent answered in time, and the next reads."""
        effects: list[Send | Reply] = []
        for number in [n for n, one in self._readings.items() if now > one.until]:
            reading = self._readings.pop(number)
            if reading.client:
                text = f"which did not answer within {ANSWER_WITHIN_S:.0f} s"
                denied = _unavailable(reading.ref, reading.node, text)
                effects.append(Reply(reading.client, reading.ask, denied))
            elif reading.due is not None and reading.due.tries < MAX_TRIES:
                self._put(replace(reading.due, tries=reading.due.tries + 1))
        room = MAX_AT_ONCE - sum(not one.client for one in self._readings.values())
        for due in [self._pop() for _ in range(min(room, len(self._due)))]:
            node = self._state.nodes.get(due.node)
            if node is not None and node.is_reachable and node.keeps_records:
                until = Instant(now + ANSWER_WITHIN_S)
                effects.append(self._read(_Reading(due.ref, due.node, until, due)))
            elif node is not None and not node.is_reachable:
                self._put(due)
        return effects

    def _read(self, reading: _Reading) -> Send:
        number = next(self._numbers)
        self._readings[number] = reading
        return Send(reading.node, ReadRecord(number, reading.ref))

    # --- Answers of agents --------------------------------------------------------------

    def take(self, node: NodeId, read: RecordRead) -> tuple[list[Reply], list[RecordedRun]]:
        """The answer for the client, and what is to be stored."""
        reading = self._readings.get(read.request)
        if reading is None or reading.node != node:
            return [], []
        del self._readings[read.request]
        ref, due = reading.ref, reading.due
        answer = RunRecord(ref, read.report, read.inventory, visible_line(read.error))
        replies = [Reply(reading.client, reading.ask, answer)] if reading.client else []
        if due is None or not (read.report or read.inventory):
            return replies, []
        size = len(read.report) + len(read.inventory)
        of = (ref.job, ref.task, ref.attempt, due.owner, due.ended_unix_s)
        return replies, [RecordedRun(*of, size, read.report, read.inventory)]


def _due_of(job: JobRecord, attempt: AttemptRecord) -> _Due:
    ended_unix_s = attempt.ended_unix_s or UnixTime(0.0)
    return _Due(attempt.ref, attempt.node, job.owner, ended_unix_s)


def _unavailable(ref: TaskRef, node: NodeId, why: str) -> Denied:
    return Denied("unavailable", f"the record of {ref} is on {node}, {why}")
