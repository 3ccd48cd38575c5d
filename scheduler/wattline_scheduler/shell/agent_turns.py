"""Fair scheduling of agents' messages: an agent that floods or lies delays no other node.

As for clients (`client_turns`): each step of the loop serves agents for at most `AGENTS_S`, in turn
by the cost of each. Honest agents send a few messages a second of some ten microseconds each, so
all of them are served in each step. Each record saved for an agent is charged `ROW_S` and each
Hello `HELLO_S`, so that no message repeated by an agent costs unbounded disk writes.
"""

from collections.abc import Callable

from wattline_protocol.ids import NodeId, Now
from wattline_protocol.wire.agent_messages import FromAgent, Hello, Rollups
from wattline_protocol.wire.transport import Incoming
from wattline_scheduler.core.model.effects import Effect, Save
from wattline_scheduler.shell.agent_endpoint import AgentEndpoint
from wattline_scheduler.shell.clients.fair_queue import FairLimits, FairQueue

AGENTS_S = 0.05
"""Time per step for agents: beats of a second from some thousand nodes."""

LIMITS = FairLimits(share=0.25, burst_s=2.0, items=2_000, bytes=16 * 1024 * 1024)
"""Limits of each agent. The records of a node that starts and ends a hundred tasks a second use
this up; a node that reconnects sends its spool at once."""

ROW_S = 0.0005
"""500 records a second are saved for one agent in the long run, and 4,000 at once."""

HELLO_S = 0.1
"""A Hello may begin an incarnation: then the node's record is saved and its caps are read."""


class AgentTurns:
    """Receives agents' messages and handles them in turn; all for the loop's thread."""

    def __init__(
        self,
        endpoint: AgentEndpoint,
        clock: Callable[[], Now],
        handle: Callable[[NodeId, FromAgent, Now], list[Effect]],
    ) -> None:
        self._endpoint, self._clock, self._handle = endpoint, clock, handle
        self._queue: FairQueue[Incoming] = FairQueue(LIMITS)

    def take_in(self) -> None:
        """Queue messages received; those beyond an agent's limits are dropped."""
        now = self._clock().mono_s
        for incoming in self._endpoint.receive():
            if not self._queue.put(incoming.member.name, incoming, len(incoming.data), now):
                self._endpoint.reject(incoming)

    def serve(self) -> list[Effect]:
        """Serve agents in turn, for `AGENTS_S` at most."""
        effects: list[Effect] = []

        def serve(name: str, incoming: Incoming, now: Now) -> float:
            message = self._endpoint.admit(incoming)
            done = [] if message is None else self._handle(NodeId(name), message, now)
            effects.extend(done)
            return _counts_s(message, done)

        self._queue.serve(self._clock, AGENTS_S, serve)
        return effects

    def next_in_s(self) -> float | None:
        """Time until something may be served; None = nothing is queued."""
        return self._queue.next_in_s(self._clock().mono_s)


def _counts_s(message: FromAgent | None, effects: list[Effect]) -> float:
    """Cost beyond the time measured: of work after the turn, or charged higher."""
    rows = sum([isinstance(effect, Save) for effect in effects])
    match message:
        case Rollups(items=items):
            return ROW_S * len(items)
        case Hello():
            return HELLO_S + ROW_S * rows
        case _:
            return ROW_S * rows
