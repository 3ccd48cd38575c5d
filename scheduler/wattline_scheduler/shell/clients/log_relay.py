"""Relay of task logs: requested by clients, read by the agents, forwarded without storing."""

import itertools
from dataclasses import dataclass

from wattline_protocol.ids import AttemptNo, Instant, NodeId, TaskRef, UserName
from wattline_protocol.job.ranks import place_of, procs_per_node, rank_count
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.text.wording import counted
from wattline_protocol.wire.agent_messages import LogChunk, ReadLog
from wattline_protocol.wire.bounds import MAX_LOG_CHUNK_BYTES
from wattline_protocol.wire.client_messages import Denied, FetchLog, Log
from wattline_scheduler.core.model.effects import Reply, Send
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.records import AttemptRecord
from wattline_scheduler.shell.clients.readable_attempts import ReadableAttempts
from wattline_scheduler.store.store import Store

MAX_OUTSTANDING, MAX_OUTSTANDING_OF_USER = 256, 64
"""Reads under way: each may bring a chunk of MAX_LOG_CHUNK_BYTES."""

ANSWER_WITHIN_S = 5.0
"""A node that has not answered a read by then is busy or disconnected."""


_Found = tuple[AttemptRecord, int | None]
"""An attempt, and the number on its node of the rank whose log is wanted."""


@dataclass(frozen=True, slots=True)
class _Reading:
    client: bytes
    ask: int
    user: UserName
    attempt: AttemptRecord
    until: Instant


class LogRelay:
    """Reads under way, by the number that the agent will return."""

    def __init__(self, state: State, store: Store) -> None:
        self._state = state
        self._attempts = ReadableAttempts(state, store)
        self._numbers = itertools.count(1)
        self._readings: dict[int, _Reading] = {}

    def fetch(
        self, client: bytes, ask: int, asker: Asker, fetch: FetchLog, now: Instant
    ) -> Send | Reply:
        """Forward the request to the node that has the log, or refuse it with the reason."""
        found = self._find(fetch, asker)
        if isinstance(found, Denied):
            return Reply(client, ask, found)
        attempt, local_rank = found
        own, all_users = self._under_way(asker.user), len(self._readings)
        if own >= MAX_OUTSTANDING_OF_USER or all_users >= MAX_OUTSTANDING:
            text = f"{own} logs are being read for you, {all_users} for all; retry later"
            return Reply(client, ask, Denied("busy", text))
        node = self._state.nodes.get(attempt.node)
        if node is None or not node.is_reachable:
            return Reply(client, ask, _unavailable(attempt, "which does not report"))
        number = next(self._numbers)
        until = Instant(now + ANSWER_WITHIN_S)
        self._readings[number] = _Reading(client, ask, asker.user, attempt, until)
        limit_bytes = max(1, min(fetch.limit_bytes, MAX_LOG_CHUNK_BYTES))
        read = ReadLog(number, attempt.ref, fetch.offset, limit_bytes, local_rank)
        return Send(attempt.node, read)

    def _under_way(self, user: UserName) -> int:
        return sum(one.user == user for one in self._readings.values())

    def take(self, node: NodeId, chunk: LogChunk) -> Reply | None:
        """The answer for the client; None for a chunk that no client waits for."""
        reading = self._readings.get(chunk.request)
        if reading is None or reading.attempt.node != node:
            return None
        del self._readings[chunk.request]
        if chunk.error:
            return Reply(reading.client, reading.ask, Denied("not_found", chunk.error))
        log = Log(
            ref=reading.attempt.ref,
            data=chunk.data,
            next_offset=chunk.next_offset,
            at_end=chunk.at_end,
            task_ended=self._is_ended(reading.attempt),
        )
        return Reply(reading.client, reading.ask, log)

    def expire(self, now: Instant) -> list[Reply]:
        """Answers for the reads that no agent answered in time."""
        late = [number for number, one in self._readings.items() if now > one.until]
        return [self._too_late(self._readings.pop(number)) for number in late]

    def _too_late(self, reading: _Reading) -> Reply:
        text = f"which did not answer within {ANSWER_WITHIN_S:.0f} s"
        return Reply(reading.client, reading.ask, _unavailable(reading.attempt, text))

    def _is_ended(self, attempt: AttemptRecord) -> bool:
        """Ended on record when the log was requested, or since."""
        return attempt.ended_unix_s is not None or attempt.ref not in self._state.work.live

    def _find(self, fetch: FetchLog, asker: Asker) -> _Found | Denied:
        found = self._attempts.of_gang(fetch.job, fetch.task, asker)
        if isinstance(found, Denied):
            return found
        spec, attempts = found[0].spec, found[1]
        task, local_rank = fetch.task, None
        if fetch.rank is not None:
            if fetch.rank >= rank_count(spec):
                return _no_rank(fetch, spec)
            task, local_rank = place_of(spec, fetch.task, fetch.rank)
        attempts = [a for a in attempts if a.task == task]
        if not attempts:
            text = f"task {task} of job {fetch.job} has not been placed yet: no log"
            return Denied("not_found", text)
        if fetch.attempt == 0:
            return max(attempts, key=lambda a: a.attempt), local_rank
        wanted = AttemptNo(fetch.attempt)
        named = [a for a in attempts if a.attempt == wanted]
        ref = TaskRef(fetch.job, task, wanted)
        return (
            (named[0], local_rank) if named else Denied("not_found", f"there is no attempt {ref}")
        )


def _no_rank(fetch: FetchLog, spec: JobSpec) -> Denied:
    count = rank_count(spec)
    shape = f"{counted(spec.gang_size, 'node')} with {counted(procs_per_node(spec), 'rank')} each"
    text = f"job {fetch.job} has no rank {fetch.rank}: it has ranks 0 to {count - 1} ({shape})"
    return Denied("not_found", text)


def _unavailable(attempt: AttemptRecord, why: str) -> Denied:
    return Denied("unavailable", f"the log of {attempt.ref} is on {attempt.node}, {why}")
