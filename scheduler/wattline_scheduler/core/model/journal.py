"""The output of the core: effects in order, and the events of the event log.

There are three kinds of events: `note` for occurrences, `act` for actions of users, `refused` for
actions denied to users. Actions are also stored in a table of their own, so that telemetry cannot
displace them. Events per node, those of the tasks of a user, and refusals per member are limited by
the minute; the surplus is counted and summarized in one event.
"""

from collections import deque
from typing import Any, Protocol, TypeVar

import msgspec

from wattline_protocol.ids import JobId, NodeId, Now, UserName
from wattline_protocol.text.wording import counted
from wattline_protocol.views.site_views import EventLevel, EventView
from wattline_protocol.wire.agent_messages import ToAgent
from wattline_protocol.wire.client_messages import Answer
from wattline_scheduler.core.model.effects import ActOutOfBand, Effect, Reply, Save, Send
from wattline_scheduler.core.model.event_rate_limit import EventBound
from wattline_scheduler.records import ActRecord, EventRecord, Record

EVENTS_KEPT = 1_000
"""Events in memory; older ones are on disk."""

SCHEDULER = "scheduler"
"""Actor of events without a request."""

SITE_DIRECTORY = "site directory"
"""Actor of membership changes: files of the site directory changed, the author is unknown."""

NODE_EVENTS = 60
"""Events per minute caused by the messages of one node. Alarms are exempt: each is a problem, whose
end is delayed more each time. So are events about whole jobs, of which each has few."""

NODE_TRY_EVENTS = 600
"""Events per minute about tries of jobs caused by the messages of one node."""

USER_EVENTS = 60
"""Events per minute that the tasks of one user cause at will, on all nodes together."""

REFUSED_ACTS = 10
"""Refused actions of one member recorded per minute."""

ACT_CHARS = 1_000
"""Maximum length of the text of an action."""

EVENT_CHARS = 3_000
"""The same of an event: those that are sent at once fit into a message."""

R = TypeVar("R", bound=Record)


class Recorded(Protocol[R]):
    """What has a durable record."""

    record: R


class Journal:
    """Collects the effects of one call of `handle`."""

    def __init__(
        self, events: tuple[EventRecord, ...], next_event: int, newest_act: int = 0
    ) -> None:
        self.events: deque[EventView] = deque((e.event for e in events), maxlen=EVENTS_KEPT)
        self._next_event = next_event
        self._effects: list[Effect] = []
        self._speaker: NodeId | None = None
        """The node whose message is being handled."""
        self._of_nodes = EventBound(NODE_EVENTS)
        self._attempts_of_nodes = EventBound(NODE_TRY_EVENTS)
        self._of_users = EventBound(USER_EVENTS)
        self._refused = EventBound(REFUSED_ACTS)
        self.newest_act = newest_act
        """Number of the newest action."""

    @property
    def next_event(self) -> int:
        """Number of the next event."""
        return self._next_event

    def save(self, record: Record) -> None:
        """Saves a record, durable before any later message or answer."""
        self._effects.append(Save(record))

    def change(self, of: Recorded[R], **changes: Any) -> None:
        """Replaces fields of the record of a job, an attempt or a node, and saves it."""
        of.record = msgspec.structs.replace(of.record, **changes)
        self.save(of.record)

    def send(self, node: NodeId, message: ToAgent) -> None:
        self._effects.append(Send(node, message))

    def reply(self, client: bytes, ask: int, answer: Answer) -> None:
        self._effects.append(Reply(client, ask, answer))

    def act_out_of_band(self, node: NodeId, number: int, *, power_off: bool) -> None:
        self._effects.append(ActOutOfBand(node, number, power_off))

    def hear(self, node: NodeId | None) -> None:
        """Sets the node whose message causes the next events; None: another cause."""
        self._speaker = node

    def may_write(self) -> bool:
        """Whether the node whose message is handled may cause another event in this minute."""
        return self._speaker is None or self._of_nodes.may_write(self._speaker)

    def note(
        self,
        kind: str,
        text: str,
        now: Now,
        *,
        by: NodeId | None = None,
        job: JobId | None = None,
        node: NodeId | None = None,
        level: EventLevel = "info",
    ) -> None:
        """Writes an event. `by`: the node that reports it; None = the scheduler."""
        if level == "alarm" or self._is_admitted(kind, text, job, now):
            number, actor = self._next_event, by or SCHEDULER
            self._write(EventView(number, now.unix_s, kind, actor, text, job, node, level))

    def of_task(
        self, owner: UserName, kind: str, text: str, now: Now, *, job: JobId, node: NodeId
    ) -> None:
        """Writes a warning that a task of `owner` can cause at will. Limited by owner and minute,
        as one may have tasks on all nodes."""
        if self._of_users.admit(owner, text, now):
            self.note(kind, text, now, job=job, node=node, level="warning")

    def act(
        self,
        kind: str,
        text: str,
        now: Now,
        *,
        actor: str,
        owner: str | None = None,
        job: JobId | None = None,
        node: NodeId | None = None,
        level: EventLevel = "info",
    ) -> None:
        """Writes an action to the log and, unless it is of a user on an own job (`owner`), to the
        table of actions. The scheduler also uses it, for its own equivalent actions."""
        event = EventView(self._next_event, now.unix_s, kind, actor, text, job, node, level)
        self._write(event)
        if actor not in (SCHEDULER, owner):
            self.newest_act = event.seq
            self.save(ActRecord(event))

    def refused(self, text: str, now: Now, *, actor: str, node: NodeId | None = None) -> None:
        """Writes an action denied to a user. Limited by member and minute."""
        text = text[:ACT_CHARS]
        if self._refused.admit(actor, text, now):
            self.act("act_refused", text, now, actor=actor, node=node, level="warning")

    def sum_up(self, now: Now) -> None:
        """Writes one summary event per cause with surplus events in a past minute, once a tick."""
        for bound in (self._of_nodes, self._attempts_of_nodes):
            for one in bound.take_over(now):
                node = NodeId(one.cause)
                more = counted(one.count, "more event")
                text = f"{node}: {more} within a minute, the last: {one.last}"
                self.note("events_dropped", text, now, node=node, level="warning")
        for one in self._of_users.take_over(now):
            more = counted(one.count, "more event")
            text = f"tasks of {one.cause}: {more} within a minute, the last: {one.last}"
            self.note("events_dropped", text, now, level="warning")
        for one in self._refused.take_over(now):
            more = counted(one.count, "more action")
            text = f"{more} refused within a minute, the last: {one.last}"
            self.act("acts_refused", text, now, actor=one.cause, level="warning")

    def _is_admitted(self, kind: str, text: str, job: JobId | None, now: Now) -> bool:
        node = self._speaker
        if node is None or kind.startswith("job_"):
            return True
        bound = self._of_nodes if job is None else self._attempts_of_nodes
        return bound.admit(node, text, now)

    def _write(self, event: EventView) -> None:
        if len(event.text) > EVENT_CHARS:
            event = msgspec.structs.replace(event, text=event.text[:EVENT_CHARS])
        self._next_event = event.seq + 1
        self.events.append(event)
        self.save(EventRecord(event))

    def take(self) -> list[Effect]:
        """Returns the effects so far, in order; the next call starts empty."""
        effects, self._effects = self._effects, []
        return effects
