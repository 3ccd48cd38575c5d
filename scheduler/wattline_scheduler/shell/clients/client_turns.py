"""What clients ask, served in turn: a member's bytes are read when it is that member's turn.

Each step of the loop serves clients for at most `CLIENTS_S`, so that beats, leases, ticks and plans
are on time whatever is asked. Who is next is decided by what each member has cost (`fairqueue`).
Long work is done in parts of `PART_S`, one piece of long work of a member at a time, in a lane of
its own: a long list does not hold up what the same member submits meanwhile. So an answer to long
work is ready some steps later, and what came in after it may be answered first.
"""

from collections.abc import Callable
from dataclasses import dataclass

from wattline_protocol.ids import Now
from wattline_protocol.wire.client_messages import Answer, Ask, Denied
from wattline_protocol.wire.transport import Incoming
from wattline_scheduler.core.model.effects import Effect, Reply, Save
from wattline_scheduler.shell.clients.client_endpoint import ClientDesk, Session
from wattline_scheduler.shell.clients.fair_queue import FairLimits, FairQueue
from wattline_scheduler.time_slices import Parts

CLIENTS_S = 0.025
"""So long a step serves clients; what is served when that is over is served to its end."""

PART_S = 0.005
"""So long a turn goes on with long work; the part in which that is over is ended."""

LIMITS = FairLimits(share=0.5, burst_s=2.0, items=5_000, bytes=16 * 1024 * 1024)
"""Of each member's lane. A script may have some thousand submissions under way; a member that asks
without end gets half of the loop's time, where nobody else wants it."""

MAX_LONG = 256
"""Pieces of long work of one member that wait; each takes up to half a second on large sites."""

ROW_S = 0.00005
"""What putting a record on disk counts; the commit comes after the turn."""

_LONG = "\0"
"""Ends the name of a member's lane for long work; no name of a member has it."""


@dataclass(slots=True)
class Long:
    """Long work for a client."""

    session: Session
    ask: int
    begin: Callable[[Now], Parts[list[Effect]]]
    parts: Parts[list[Effect]] | None = None
    """None = not begun."""


class ClientTurns:
    """Takes in what clients say, and has it answered in turn; all for the loop's thread."""

    def __init__(
        self,
        desk: ClientDesk,
        clock: Callable[[], Now],
        answer: Callable[[Session, Ask], list[Effect]],
        failed: Callable[[Session, int, str, Exception], list[Effect]],
    ) -> None:
        """`failed`: what to do where an answer or a part of one raised an error; it raises that
        again where the state may have been changed."""
        self._desk, self._clock, self._answer, self._failed = desk, clock, answer, failed
        self._queue: FairQueue[Incoming | Long] = FairQueue(LIMITS)

    def take_in(self) -> None:
        """Let what came in wait for its turn; beyond a member's room it is refused."""
        now = self._clock().mono_s
        for incoming in self._desk.receive():
            name = incoming.member.name
            if not self._queue.put(name, incoming, len(incoming.data), now):
                self._desk.turn_away(incoming)

    def later(
        self, session: Session, ask: int, begin: Callable[[Now], Parts[Answer]]
    ) -> list[Effect]:
        """Answer in parts, begun when it is its turn; an answer only where it is refused."""
        return self.act_later(session, ask, lambda now: _replied(session, ask, begin(now)))

    def act_later(
        self, session: Session, ask: int, begin: Callable[[Now], Parts[list[Effect]]]
    ) -> list[Effect]:
        """Do something in parts, as `later`; it ends with all its effects."""
        lane = session.user + _LONG
        if self._queue.waiting(lane) >= MAX_LONG:
            text = f"{MAX_LONG} questions of {session.user} wait for their answers; try again"
            return [Reply(session.connection, ask, Denied("busy", text))]
        self._queue.put(lane, Long(session, ask, begin), 0, self._clock().mono_s)
        return []

    def serve(self) -> list[Effect]:
        """Serve whose turn it is, for `CLIENTS_S` at most."""
        effects: list[Effect] = []

        def serve(_: str, item: Incoming | Long, __: Now) -> float:
            done = self._served(item)
            effects.extend(done)
            return ROW_S * sum(isinstance(effect, Save) for effect in done)

        self._queue.serve(self._clock, CLIENTS_S, serve)
        return effects

    def next_in_s(self) -> float | None:
        """In how long something may be served; None = nothing waits."""
        return self._queue.next_in_s(self._clock().mono_s)

    def _served(self, item: Incoming | Long) -> list[Effect]:
        if isinstance(item, Long):
            return self._go_on(item)
        pair = self._desk.admit(item)
        if pair is None:
            return []
        session, ask = pair
        try:
            return self._answer(session, ask)
        except Exception as error:
            return self._failed(session, ask.ask, type(ask.request).__name__, error)

    def _go_on(self, work: Long) -> list[Effect]:
        if self._desk.sessions.get(work.session.connection) is not work.session:
            return []  # its client is gone
        began = self._clock()
        try:
            if work.parts is None:
                work.parts = work.begin(began)
            next(work.parts)
            while self._clock().mono_s < began.mono_s + PART_S:
                next(work.parts)
        except StopIteration as found:
            done: list[Effect] = found.value
            return done
        except Exception as error:
            return self._failed(work.session, work.ask, "question", error)
        self._queue.put_back(work, 0)
        return []


def _replied(session: Session, ask: int, parts: Parts[Answer]) -> Parts[list[Effect]]:
    answer = yield from parts
    return [Reply(session.connection, ask, answer)]
