"""What agents say, served in turn: one that floods, or lies, keeps no other node waiting.

As for clients (`turns`): each step of the loop serves agents for at most `AGENTS_S`, in turn by
what each has cost. Honest agents say a few messages a second, each of some ten microseconds, so
all of them are served in each step. What is saved for an agent counts `ROW_S` a record and each
greeting `HELLO_S`, so that nothing that an agent repeats costs a write each time without bound.
"""

from collections.abc import Callable

from wattline_protocol.ids import NodeId, Now
from wattline_protocol.wire.agent_messages import FromAgent, Hello, Rollups
from wattline_protocol.wire.transport import Incoming
from wattline_scheduler.core.model.effects import Effect, Save
from wattline_scheduler.shell.agent_endpoint import AgentDesk
from wattline_scheduler.shell.clients.fair_queue import FairLimits, FairQueue

AGENTS_S = 0.05
"""So long a step serves agents: beats of a second from some thousand nodes."""

LIMITS = FairLimits(share=0.25, burst_s=2.0, items=2_000, bytes=16 * 1024 * 1024)
"""Of each agent. A node that starts and ends a hundred tasks a second uses this up by its records;
one that comes back sends its spool at once."""

ROW_S = 0.0005
"""500 records a second are saved for one agent in the long run, and 4,000 at once."""

HELLO_S = 0.1
"""A greeting may begin an incarnation: then the node's record is saved and its caps are read."""


class AgentTurns:
    """Takes in what agents say, and has it handled in turn; all for the loop's thread."""

    def __init__(
        self,
        desk: AgentDesk,
        clock: Callable[[], Now],
        handle: Callable[[NodeId, FromAgent, Now], list[Effect]],
    ) -> None:
        self._desk, self._clock, self._handle = desk, clock, handle
        self._queue: FairQueue[Incoming] = FairQueue(LIMITS)

    def take_in(self) -> None:
        """Let what came in wait for its turn; beyond an agent's room it is refused."""
        now = self._clock().mono_s
        for incoming in self._desk.receive():
            if not self._queue.put(incoming.member.name, incoming, len(incoming.data), now):
                self._desk.turn_away(incoming)

    def serve(self) -> list[Effect]:
        """Serve whose turn it is, for `AGENTS_S` at most."""
        effects: list[Effect] = []

        def serve(name: str, incoming: Incoming, now: Now) -> float:
            message = self._desk.admit(incoming)
            done = [] if message is None else self._handle(NodeId(name), message, now)
            effects.extend(done)
            return _counts_s(message, done)

        self._queue.serve(self._clock, AGENTS_S, serve)
        return effects

    def next_in_s(self) -> float | None:
        """In how long something may be served; None = nothing waits."""
        return self._queue.next_in_s(self._clock().mono_s)


def _counts_s(message: FromAgent | None, effects: list[Effect]) -> float:
    """What comes after the turn, or counts more than its time."""
    rows = sum([isinstance(effect, Save) for effect in effects])
    match message:
        case Rollups(items=items):
            return ROW_S * len(items)
        case Hello():
            return HELLO_S + ROW_S * rows
        case _:
            return ROW_S * rows
