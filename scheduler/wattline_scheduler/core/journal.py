"""The one way out of the core: effects in order, and the lines of the event log."""

from collections import deque
from typing import Literal

from wattline_protocol.ids import JobId, NodeId, Now
from wattline_protocol.messages import ToAgent
from wattline_protocol.requests import Answer
from wattline_protocol.views import EventView
from wattline_scheduler.core.effects import ActOutOfBand, Effect, Reply, Save, Send
from wattline_scheduler.core.records import EventRecord, Record

EVENTS_KEPT = 1_000
"""Events in memory; older ones are on disk."""

SCHEDULER = "scheduler"
"""Who causes what nobody asked for."""

Level = Literal["info", "warning", "alarm"]


class Journal:
    """Collects what one call of `handle` wants done."""

    def __init__(self, events: tuple[EventRecord, ...], next_event: int) -> None:
        self.events: deque[EventView] = deque((e.event for e in events), maxlen=EVENTS_KEPT)
        self._next_event = next_event
        self._effects: list[Effect] = []

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

    def note(
        self,
        kind: str,
        text: str,
        now: Now,
        *,
        who: str = SCHEDULER,
        job: JobId | None = None,
        node: NodeId | None = None,
        level: Level = "info",
    ) -> None:
        """A line for the event and audit log."""
        seq = self._next_event
        self._next_event += 1
        event = EventView(seq, now.unix_s, kind, who, text, job, node, level)
        self.events.append(event)
        self.save(EventRecord(seq, event))

    def take(self) -> list[Effect]:
        """The effects so far, in order; the next call starts empty."""
        effects, self._effects = self._effects, []
        return effects
