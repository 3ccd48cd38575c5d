"""Fair scheduling of clients' requests: a member's bytes are decoded when its turn comes.

Each step of the loop serves clients for at most `CLIENTS_S`, so that beats, leases, ticks and plans
are on time whatever is requested. The next member is chosen by the cost of each so far
(`fair_queue`). Long work is done in parts of `PART_S`, one piece of long work of a member at a
time, in a separate lane: a long list does not delay what the same member submits meanwhile. So an
answer to long work is ready some steps later, and later requests may be answered first.

An act on an array of 10,000 tasks is not divided. After such an overrun one more step serves
clients alone, so that others have their answers, and the third one what is due alone: the act, a
plan and the transactions of both would be one step of 0.3 s.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from wattline_protocol.ids import Now
from wattline_protocol.wire.client_messages import Answer, Ask, Denied
from wattline_protocol.wire.transport import Incoming
from wattline_scheduler.core.model.effects import Effect, Reply, Save
from wattline_scheduler.shell.clients.client_endpoint import ClientEndpoint, Session
from wattline_scheduler.shell.clients.fair_queue import FairLimits, FairQueue
from wattline_scheduler.shell.http_api.exchange import DOOR
from wattline_scheduler.time_slices import Parts, go_on

CLIENTS_S = 0.025
"""Time per step for clients; a request that is being served then is completed."""

OVERRUN_CPU_S = 2 * CLIENTS_S
"""CPU time of a step's requests beyond which what is due waits for two steps."""

PART_S = 0.005
"""Time per turn for long work; the part under way then is completed."""

LIMITS = FairLimits(share=0.5, burst_s=2.0, items=5_000, bytes=16 * 1024 * 1024)
"""Limits of each lane of a member. A script may have some thousand submissions under way; a member
that sends requests without end gets half of the loop's time, where no other needs it."""

MAX_LONG = 256
"""Queued long work of one member; each takes up to half a second on large sites."""

ROW_S = 0.00005
"""Charge for a record written to disk; the commit comes after the turn."""

_LONG = "\0"
"""Suffix of a member's lane for long work; no member's name contains it."""


@dataclass(slots=True)
class LongRequest:
    """Long work for a client."""

    session: Session
    ask: int
    begin: Callable[[Now], Parts[list[Effect]]]
    parts: Parts[list[Effect]] | None = None
    """None = not started."""


class ClientTurns:
    """Receives clients' requests and answers them in turn; all for the loop's thread."""

    def __init__(
        self,
        endpoint: ClientEndpoint,
        clock: Callable[[], Now],
        answer: Callable[[Session, Ask], list[Effect]],
        failed: Callable[[Session, int, str, Exception], list[Effect]],
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        """`failed`: handles an error raised by an answer or a part of one; raises it again where
        the state may have been changed."""
        self._endpoint, self._clock, self._answer, self._failed = endpoint, clock, answer, failed
        self._cpu_clock = cpu_clock
        self._queue: FairQueue[Incoming | LongRequest] = FairQueue(LIMITS)
        self.defers_due = False
        """Whether what is due waits for a later step."""
        self._is_due_next = False

    def take_in(self) -> None:
        """Queue requests received; those beyond a member's limits are refused."""
        now = self._clock().mono_s
        for incoming in self._endpoint.receive():
            name = incoming.member.name
            if not self._queue.put(name, incoming, len(incoming.data), now):
                self._endpoint.reject(incoming)

    def later(
        self, session: Session, ask: int, begin: Callable[[Now], Parts[Answer]]
    ) -> list[Effect]:
        """Queue an answer in parts, started in its turn; returns an answer only if refused."""
        return self.act_later(session, ask, lambda now: _replied(session, ask, begin(now)))

    def act_later(
        self, session: Session, ask: int, begin: Callable[[Now], Parts[list[Effect]]]
    ) -> list[Effect]:
        """Queue an act in parts, as `later`; the last part returns all its effects."""
        lane = session.user + _LONG
        if self._queue.waiting(lane) >= MAX_LONG:
            text = f"{MAX_LONG} queries of {session.user} are unanswered; retry later"
            return [Reply(session.connection, ask, Denied("busy", text))]
        self._queue.put(lane, LongRequest(session, ask, begin), 0, self._clock().mono_s)
        return []

    def serve(self) -> list[Effect]:
        """Serve members in turn, for `CLIENTS_S` at most; none in the step of what was deferred."""
        if self._is_due_next:
            self._is_due_next = self.defers_due = False
            return []
        effects: list[Effect] = []
        began_s = self._cpu_clock()

        def serve(_: str, item: Incoming | LongRequest, __: Now) -> float:
            done = self._served(item)
            effects.extend(done)
            return ROW_S * sum(isinstance(effect, Save) for effect in done)

        self._queue.serve(self._clock, CLIENTS_S, serve)
        has_overrun = self._cpu_clock() - began_s > OVERRUN_CPU_S
        self._is_due_next, self.defers_due = self.defers_due, self.defers_due or has_overrun
        return effects

    def next_in_s(self) -> float | None:
        """Time until something may be served; None = nothing is queued."""
        return self._queue.next_in_s(self._clock().mono_s)

    def _served(self, item: Incoming | LongRequest) -> list[Effect]:
        if isinstance(item, LongRequest):
            return self._continue(item)
        pair = self._endpoint.admit(item)
        if pair is None:
            return []
        session, ask = pair
        try:
            return self._answer(session, ask)
        except Exception as error:
            return self._failed(session, ask.ask, type(ask.request).__name__, error)

    def _continue(self, work: LongRequest) -> list[Effect]:
        connection = work.session.connection
        if connection != DOOR and self._endpoint.sessions.get(connection) is not work.session:
            return []  # its client has disconnected
        began = self._clock()
        until_s = began.mono_s + PART_S
        try:
            if work.parts is None:
                work.parts = work.begin(began)
            done = go_on(work.parts, lambda: self._clock().mono_s >= until_s)
        except Exception as error:
            return self._failed(work.session, work.ask, "question", error)
        if done is not None:
            return done
        self._queue.put_back(work, 0)
        return []


def _replied(session: Session, ask: int, parts: Parts[Answer]) -> Parts[list[Effect]]:
    answer = yield from parts
    return [Reply(session.connection, ask, answer)]
