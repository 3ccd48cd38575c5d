"""The network between scheduler and agents: message objects that arrive a little later, or never.

The deterministic fleet simulation proves the codec; here messages pass as they are, for speed, and
through the production codec only where a run asks for it.
"""

from collections.abc import Callable

from wattline_protocol.ids import NodeId
from wattline_protocol.wire.agent_messages import FromAgent, ToAgent
from wattline_protocol.wire.codec import Codec
from wattline_sim.fleet.world import World

DELAY_S = 0.001
"""One way, on a machine-room network, program to program; half as much again at random."""

_FROM_AGENT: Codec[FromAgent] = Codec(FromAgent)
_TO_AGENT: Codec[ToAgent] = Codec(ToAgent)


class Wire:
    """Both directions for all nodes; who is not attached hears nothing."""

    def __init__(self, world: World, *, encoded: bool = False) -> None:
        self._world = world
        self._is_encoded = encoded
        self._agents: dict[NodeId, Callable[[ToAgent], None]] = {}
        self._scheduler: Callable[[NodeId, FromAgent], None] | None = None
        self.loss = 0.0
        """Share of messages that never arrive."""
        self.cut: set[NodeId] = set()
        """Nodes that can reach nobody and be reached by nobody."""
        self.sent = 0

    def attach_agent(self, node: NodeId, receive: Callable[[ToAgent], None]) -> None:
        """This node's agent listens."""
        self._agents[node] = receive

    def detach_agent(self, node: NodeId) -> None:
        """This node's agent is gone."""
        self._agents.pop(node, None)

    def attach_scheduler(self, receive: Callable[[NodeId, FromAgent], None] | None) -> None:
        """The scheduler listens; None: it is gone."""
        self._scheduler = receive

    def to_scheduler(self, node: NodeId, message: FromAgent) -> None:
        """Send from an agent."""
        if self._is_lost(node):
            return
        if self._is_encoded:
            message = _FROM_AGENT.decode(_FROM_AGENT.encode(message))

        def arrive() -> None:
            if self._scheduler is not None and node not in self.cut:
                self._scheduler(node, message)

        self._world.after(self._delay_s(), arrive)

    def to_agent(self, node: NodeId, message: ToAgent) -> None:
        """Send from the scheduler."""
        if self._is_lost(node):
            return
        if self._is_encoded:
            message = _TO_AGENT.decode(_TO_AGENT.encode(message))

        def arrive() -> None:
            receive = self._agents.get(node)
            if receive is not None and node not in self.cut:
                receive(message)

        self._world.after(self._delay_s(), arrive)

    def _is_lost(self, node: NodeId) -> bool:
        self.sent += 1
        return node in self.cut or (self.loss > 0.0 and self._world.rng.random() < self.loss)

    def _delay_s(self) -> float:
        return DELAY_S * (1.0 + 0.5 * self._world.rng.random())
