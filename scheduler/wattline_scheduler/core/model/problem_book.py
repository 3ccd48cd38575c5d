"""Open problems, recently ended ones, and the times at which ends are due."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from wattline_protocol.ids import Instant, NodeId, Now
from wattline_protocol.wire.problem_kinds import KINDS, ProblemKind
from wattline_protocol.wire.problems import MAX_EVIDENCE
from wattline_scheduler.records import ProblemRecord

REOPEN_S = 60.0
"""A problem that begins again this soon after its end is the same problem."""

FIRST_HELD_S = 5.0
MOST_HELD_S = 600.0
"""Bounds of the delay of the end of a recurring problem, which doubles with each recurrence."""

MAX_OPEN = 10_000
"""Maximum number of open problems of a site; further ones begin once others have ended."""

ENDED_KEPT = 1_000
"""Ended problems in memory; older ones are on disk."""

Key = tuple[str, str]
"""Kind and subject."""


@dataclass(slots=True)
class Problem:
    """An open problem."""

    record: ProblemRecord
    seen_at: Instant
    absent_since: Instant | None = None
    """Time since when it is absent; it ends unless it is seen again soon."""
    last_words: str = ""
    """Text of its end."""

    @property
    def key(self) -> Key:
        """Kind and subject, which identify it."""
        return self.record.kind, self.record.subject

    @property
    def kind(self) -> ProblemKind:
        """Its row in the table; a record of another version may have an unknown kind."""
        return kind_of(self.record.kind)

    @property
    def held_s(self) -> float:
        """Time it must be absent before it ends: longer with each recurrence."""
        again = self.record.occurrences - 1
        if self.kind.is_prompt or not again:
            return self.kind.settle_s
        held_s: float = min(FIRST_HELD_S * 2.0 ** min(again, 16), MOST_HELD_S)
        return max(self.kind.settle_s, held_s)

    def is_due(self, now: Now) -> bool:
        """Whether it ends by time now."""
        if self.absent_since is not None:
            return now.mono_s - self.absent_since >= self.held_s
        lasts_s = self.kind.lasts_s
        return lasts_s is not None and now.mono_s - self.seen_at >= lasts_s


@dataclass(slots=True)
class Problems:
    """Open problems, and the newest ended ones."""

    open: dict[Key, Problem] = field(default_factory=dict)
    of_node: dict[NodeId, dict[Key, Problem]] = field(default_factory=dict)
    """Open problems of each node that has any."""
    timed: dict[Key, Problem] = field(default_factory=dict)
    """Open problems that end by time: absent for a while, or not seen for long."""
    reopenable: dict[Key, tuple[ProblemRecord, Instant]] = field(default_factory=dict)
    """Problems that ended within `REOPEN_S`, in that order."""
    ended: dict[int, ProblemRecord] = field(default_factory=dict)
    """The newest `ENDED_KEPT` by number, in the order of their ends."""

    def add(self, record: ProblemRecord, now: Now) -> Problem:
        """Adds an open problem."""
        problem = Problem(record, now.mono_s)
        self.open[problem.key] = problem
        if record.node is not None:
            self.of_node.setdefault(record.node, {})[problem.key] = problem
        if problem.kind.lasts_s is not None:
            self.timed[problem.key] = problem
        return problem

    def see(self, problem: Problem, text: str, now: Now) -> None:
        """Refreshes a problem. Not saved, since figures always change; its end saves the last."""
        problem.seen_at = now.mono_s
        record, evidence = problem.record, text[:MAX_EVIDENCE]
        if problem.absent_since is not None:
            problem.absent_since = None
            if problem.kind.lasts_s is None:
                del self.timed[problem.key]
            problem.record = msgspec.structs.replace(
                record, evidence=evidence, occurrences=record.occurrences + 1
            )
        elif evidence != record.evidence:
            problem.record = msgspec.structs.replace(record, evidence=evidence)

    def miss(self, problem: Problem, now: Now) -> bool:
        """Marks a problem as absent; returns whether it has been so for long enough to end."""
        if problem.absent_since is None:
            problem.absent_since = now.mono_s
            self.timed[problem.key] = problem
        return problem.is_due(now)

    def remove(self, problem: Problem, now: Now) -> ProblemRecord:
        """Removes an ended problem; returns the record to save."""
        key, record = problem.key, problem.record
        record = msgspec.structs.replace(record, until_unix_s=now.unix_s)
        del self.open[key]
        self.timed.pop(key, None)
        if record.node is not None:
            of_node = self.of_node[record.node]
            del of_node[key]
            if not of_node:
                del self.of_node[record.node]
        self.reopenable[key] = record, now.mono_s
        self.keep_ended(record)
        return record

    def keep_ended(self, record: ProblemRecord) -> None:
        """Adds an ended problem; the oldest leaves memory."""
        self.ended[record.number] = record
        if len(self.ended) > ENDED_KEPT:
            del self.ended[next(iter(self.ended))]

    def reopened(self, key: Key) -> ProblemRecord | None:
        """Reopens a problem with that key that ended recently; None = there is none."""
        before = self.reopenable.pop(key, None)
        if before is None:
            return None
        self.ended.pop(before[0].number, None)  # of many that ended since, it has left memory
        again = before[0].occurrences + 1
        return msgspec.structs.replace(before[0], until_unix_s=None, occurrences=again)

    def due(self, now: Now) -> list[Problem]:
        """Problems that end by time now. Also drops those that ended too long ago to reopen."""
        for key in list(self._settled(now)):
            del self.reopenable[key]
        return [problem for problem in self.timed.values() if problem.is_due(now)]

    def _settled(self, now: Now) -> Iterator[Key]:
        for key, (_, ended_at) in self.reopenable.items():
            if now.mono_s - ended_at < REOPEN_S:
                return
            yield key


def kind_of(name: str) -> ProblemKind:
    """The row of the table; for an unknown name, that of the generic kind."""
    return KINDS.get(name) or KINDS["node_problem"]
