"""Pictures of the site for subscribers: each row built once for all of them, where it changed.

`refresh` makes the next picture in parts; each row is as new as possible, none older than the time
of the picture. A reader gets what changed after the number that it has, in pieces that fit a
message; what changed meanwhile is merged.
"""

import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from wattline_protocol.ids import JobId, NodeId, Now, UnixTime
from wattline_protocol.views.site_deltas import MAX_EVENTS_SHOWN, SiteDelta, SiteHead, SiteOrder
from wattline_protocol.views.site_views import JobView, NodeView
from wattline_scheduler.core.leases.measured_draw import Draw, all_draws
from wattline_scheduler.core.model.jobs.job import Job
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.state import State
from wattline_scheduler.records import JobRecord
from wattline_scheduler.shell.clients.long_lists import packed
from wattline_scheduler.shell.clients.pictures.row_log import RowLog
from wattline_scheduler.shell.clients.pictures.row_marks import LATE_S, Mark, job_mark, node_mark
from wattline_scheduler.time_slices import Parts
from wattline_scheduler.views.domains_view import domain_views
from wattline_scheduler.views.nodes_view import node_view
from wattline_scheduler.views.problems_view import open_counts, worst_open
from wattline_scheduler.views.queue_view import queue_head
from wattline_scheduler.views.site_view import MostJobs, is_simulated, jobs_shown

IN_PICTURE = MostJobs(waiting=10_000, running=10_000, ended=500)

PIECE_BYTES = 1024 * 1024
"""Of rows in one delta, besides the last one: some ten milliseconds to decode."""

ROW_BYTES = 512 * 1024
"""A node whose row is larger, which no honest agent's is, is shown without GPUs and tasks: no row
makes a delta that fits no message."""

MARKS_A_PART = 250
"""Of rows that may not have changed. One that is built is a part: the row of a running array reads
all its attempts, some 60 ms for 10,000."""
FULL_TURN = 60
"""Pictures until each row was built again, whatever its mark."""
JOB_TURN = 5
"""Pictures until a job is looked at whose record has not changed. The usage and metrics of a
running one change with every beat: its row is built in each turn."""

Key = tuple[str, object]
"""Kind of row, as its field in `SiteDelta`, and its name."""

ShowJob = Callable[[Job], JobView]


@dataclass(frozen=True, slots=True)
class Reader:
    """What a subscriber has."""

    number: int = 0
    """Number of its last change."""
    joined: int = 0
    """Its full picture was complete with this change."""
    pictures: int = 0
    """Count of the newest picture that it has in full."""


NEW_READER = Reader()


class SiteFeed:
    """The newest picture, as encoded rows."""

    def __init__(self, state: State, show_job: ShowJob, refused: Callable[[], int]) -> None:
        self._state, self._show_job, self._refused = state, show_job, refused
        self._encoder = msgspec.msgpack.Encoder()
        self.clear()

    def clear(self) -> None:
        """Free all rows. Only while there is no reader: numbers begin again."""
        self._log: RowLog[Key] = RowLog()
        self._node_marks: dict[NodeId, Mark] = {}
        self._job_marks: dict[JobId, tuple[JobRecord, Mark]] = {}
        """Of the jobs in the picture."""
        self._events: deque[int] = deque()
        """Events in the picture, oldest first."""
        self.pictures = 0
        """Count of complete pictures."""
        self.unix_s = UnixTime(0.0)
        """When the newest complete one was begun."""

    # --- the next picture -----------------------------------------------------------------

    def refresh(self, now: Now) -> Parts[None]:
        """Make the next picture."""
        self._put("order", "", self._order())
        self._put("head", "", self._head())
        self._put("queue", "", queue_head(self._state, now))
        self._take_events()
        yield
        draws = all_draws(self._state)
        for domain in domain_views(self._state, now, draws):
            self._put("domains", domain.id, domain)
        yield
        yield from self._refresh_nodes(draws, now)
        yield from self._refresh_jobs()
        self.pictures += 1
        self.unix_s = now.unix_s

    def _put(self, kind: str, name: object, row: object) -> None:
        self._log.put((kind, name), self._encoder.encode(row))

    def _order(self) -> SiteOrder:
        return SiteOrder((*self._state.domains.by_id,), (*self._state.nodes,))

    def _head(self) -> SiteHead:
        alarms, warnings = open_counts(self._state)
        return SiteHead(
            site=self._state.site.name,
            simulated=is_simulated(self._state),
            refused_messages=self._refused(),
            problems=worst_open(self._state),
            open_alarms=alarms,
            open_warnings=warnings,
        )

    def _take_events(self) -> None:
        newest = list(itertools.islice(reversed(self._state.journal.events), MAX_EVENTS_SHOWN))
        last = self._events[-1] if self._events else 0
        for event in reversed(newest):
            if event.seq > last:
                self._events.append(event.seq)
                self._put("events", event.seq, event)
        while len(self._events) > MAX_EVENTS_SHOWN:
            self._log.forget(("events", self._events.popleft()))

    def _refresh_nodes(self, draws: dict[NodeId, Draw], now: Now) -> Parts[None]:
        turn = self.pictures % FULL_TURN
        for at, node in enumerate(list(self._state.nodes.values())):
            draw = draws[node.id]
            mark = node_mark(self._state, node, draw, now)
            is_due = mark != self._node_marks.get(node.id) or at % FULL_TURN == turn
            if is_due:
                self._node_marks[node.id] = mark
                self._put_node(self._node_row(node, draw, now))
            if is_due or at % MARKS_A_PART == 0:
                yield

    def _put_node(self, row: NodeView) -> None:
        data = self._encoder.encode(row)
        if len(data) > ROW_BYTES:
            bare = msgspec.structs.replace(row, gpus=(), tasks=(), problems=())
            data = self._encoder.encode(bare)
        self._log.put(("nodes", row.id), data)

    def _node_row(self, node: NodeNow, draw: Draw, now: Now) -> NodeView:
        row = node_view(self._state, node, now, draw)
        if row.heard_ago_s is None:
            return row
        late_s = row.heard_ago_s if row.heard_ago_s > LATE_S else None
        since = None if late_s is None else UnixTime(now.unix_s - late_s)
        return msgspec.structs.replace(row, heard_ago_s=0.0, heard_unix_s=since)

    def _refresh_jobs(self) -> Parts[None]:
        shown = yield from jobs_shown(self._state, IN_PICTURE)
        yield
        numbers = {job.id for job in shown}
        for left in self._job_marks.keys() - numbers:
            self._log.drop(("jobs", left))
            del self._job_marks[left]
        for at, job in enumerate(shown):
            has_left = self._state.work.jobs.get(job.id) is not job  # since the parts before
            is_due = not has_left and self._has_changed(job)
            if is_due:
                self._put("jobs", job.id, self._show_job(job))
            if is_due or at % MARKS_A_PART == 0:
                yield

    def _has_changed(self, job: Job) -> bool:
        record, mark = self._job_marks.get(job.id, (None, ()))
        turn = job.id + self.pictures
        if record is job.record and turn % JOB_TURN:
            return False
        now = job_mark(job)
        if record is job.record and mark == now:
            return bool(job.live_count) or turn % FULL_TURN == 0
        self._job_marks[job.id] = (job.record, now)
        return True

    # --- for readers ----------------------------------------------------------------------

    def has_news(self, reader: Reader) -> bool:
        """Whether there is a picture that it does not have in full."""
        return reader.pictures < self.pictures

    def read(self, reader: Reader) -> tuple[SiteDelta, Reader]:
        """The next delta, or piece of a full picture, and the reader once it has that."""
        if self._log.floor > max(reader.number, reader.joined):
            reader = NEW_READER
        joined = reader.joined or self._log.newest
        rows: dict[str, list[bytes]] = {}
        gone: list[JobId] = []
        number, size = reader.number, 0
        for (kind, name), change in self._log.after(reader.number):
            if size > PIECE_BYTES:
                break
            number = change.number
            if change.data is not None:
                rows.setdefault(kind, []).append(change.data)
                size += len(change.data)
            elif number > joined:
                gone.append(cast("JobId", name))
        has_all = number == self._log.newest
        delta = SiteDelta(
            epoch=self._state.epoch,
            base=reader.number,
            number=number,
            is_whole=number >= joined,
            unix_s=self.unix_s,
            gone=tuple(gone),
            **{kind: _field(kind, data) for kind, data in rows.items()},
        )
        return delta, Reader(number, joined, self.pictures if has_all else reader.pictures)


def _field(kind: str, rows: list[bytes]) -> Any:
    return msgspec.Raw(rows[0]) if kind in ("head", "order", "queue") else packed(rows)
