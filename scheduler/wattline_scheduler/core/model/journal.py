"""The one way out of the core: effects in order, and the lines of the event log.

There are three kinds of lines: `note` for what happened, `act` for what a person did and `refused`
for what a person was not allowed to do. Acts are kept in a table of their own beside the log, so
that telemetry cannot push them out. What one node's messages cause, and what one member is refused,
is bounded by the minute; the rest is counted and summed up in one line.
"""

from collections import deque
from typing import Literal

from wattline_protocol.ids import JobId, NodeId, Now
from wattline_protocol.views.site_views import EventView
from wattline_protocol.wire.agent_messages import ToAgent
from wattline_protocol.wire.client_messages import Answer
from wattline_scheduler.core.model.effects import ActOutOfBand, Effect, Reply, Save, Send
from wattline_scheduler.core.model.event_rate_limit import EventBound
from wattline_scheduler.records import ActRecord, EventRecord, Record

EVENTS_KEPT = 1_000
"""Events in memory; older ones are on disk."""

SCHEDULER = "scheduler"
"""Who causes what nobody asked for."""

SITE_DIRECTORY = "site directory"
"""Who enrolls and removes members: files were changed there, by whom is not known."""

NODE_EVENTS = 60
"""Lines that the messages of one node may cause in a minute. Alarms are not among them: each is a
problem that ends ever more rarely. Nor are lines about jobs as a whole, of which each has few."""

NODE_TRY_EVENTS = 600
"""Lines about tries of jobs that the messages of one node may cause in a minute."""

REFUSED_ACTS = 10
"""Refused acts of one member that are written in a minute."""

ACT_CHARS = 1_000
"""Of the text of an act."""

Level = Literal["info", "warning", "alarm"]


class Journal:
    """Collects what one call of `handle` wants done."""

    def __init__(
        self, events: tuple[EventRecord, ...], next_event: int, newest_act: int = 0
    ) -> None:
        self.events: deque[EventView] = deque((e.event for e in events), maxlen=EVENTS_KEPT)
        self._next_event = next_event
        self._effects: list[Effect] = []
        self._speaker: NodeId | None = None
        """The node whose message is being handled."""
        self._of_nodes = EventBound(NODE_EVENTS)
        self._tries_of_nodes = EventBound(NODE_TRY_EVENTS)
        self._refused = EventBound(REFUSED_ACTS)
        self.newest_act = newest_act
        """Number of the newest act."""

    @property
    def next_event(self) -> int:
        """Number of the event that is written next."""
        return self._next_event

    def save(self, record: Record) -> None:
        """Durable before whatever is sent or answered afterwards."""
        self._effects.append(Save(record))

    def send(self, node: NodeId, message: ToAgent) -> None:
        self._effects.append(Send(node, message))

    def reply(self, client: bytes, ask: int, answer: Answer) -> None:
        self._effects.append(Reply(client, ask, answer))

    def act_out_of_band(self, node: NodeId, number: int, *, power_off: bool) -> None:
        self._effects.append(ActOutOfBand(node, number, power_off))

    def hear(self, node: NodeId | None) -> None:
        """A message of this node causes what is written from now on; None: something else does."""
        self._speaker = node

    def has_room(self) -> bool:
        """Whether the node whose message is being handled may cause another line in this minute."""
        return self._speaker is None or self._of_nodes.has_room(self._speaker)

    def note(
        self,
        kind: str,
        text: str,
        now: Now,
        *,
        by: NodeId | None = None,
        job: JobId | None = None,
        node: NodeId | None = None,
        level: Level = "info",
    ) -> None:
        """A line of the event log. `by`: the node that reports it; None = the scheduler."""
        if level == "alarm" or self._is_admitted(kind, text, job, now):
            who = SCHEDULER if by is None else by
            self._write(EventView(self._next_event, now.unix_s, kind, who, text, job, node, level))

    def act(
        self,
        kind: str,
        text: str,
        now: Now,
        *,
        who: str,
        owner: str | None = None,
        job: JobId | None = None,
        node: NodeId | None = None,
        level: Level = "info",
    ) -> None:
        """What a person did: in the log, and among the acts unless it is about a job of their own
        (`owner`). `who` may be the scheduler, where it does the same by itself."""
        event = EventView(self._next_event, now.unix_s, kind, who, text, job, node, level)
        self._write(event)
        if who not in (SCHEDULER, owner):
            self.newest_act = event.seq
            self.save(ActRecord(event.seq, event))

    def refused(self, text: str, now: Now, *, who: str, node: NodeId | None = None) -> None:
        """A person was not allowed to do something. Bounded by member and minute."""
        text = text[:ACT_CHARS]
        if self._refused.admit(who, text, now):
            self.act("act_refused", text, now, who=who, node=node, level="warning")

    def sum_up(self, now: Now) -> None:
        """At every tick: one line for all that was only counted in a minute that is over."""
        for bound in (self._of_nodes, self._tries_of_nodes):
            for one in bound.take_over(now):
                node = NodeId(one.cause)
                text = f"{node}: {one.count} more events within a minute, the last: {one.last}"
                self.note("events_dropped", text, now, node=node, level="warning")
        for one in self._refused.take_over(now):
            text = f"{one.count} more acts refused within a minute, the last: {one.last}"
            self.act("acts_refused", text, now, who=one.cause, level="warning")

    def _is_admitted(self, kind: str, text: str, job: JobId | None, now: Now) -> bool:
        node = self._speaker
        if node is None or kind.startswith("job_"):
            return True
        bound = self._of_nodes if job is None else self._tries_of_nodes
        return bound.admit(node, text, now)

    def _write(self, event: EventView) -> None:
        self._next_event = event.seq + 1
        self.events.append(event)
        self.save(EventRecord(event.seq, event))

    def take(self) -> list[Effect]:
        """The effects so far, in order; the next call starts empty."""
        effects, self._effects = self._effects, []
        return effects
