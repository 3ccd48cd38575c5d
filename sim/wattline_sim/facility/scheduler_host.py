"""The scheduler's shell over virtual time: commits what the core saves, then sends it.

Messages are handled as they come: a group commit would save nothing here. What was committed
survives a crash; the core is rebuilt from it.
"""

from collections.abc import Callable

from wattline_protocol.data.secrets import SecretDone
from wattline_protocol.ids import NodeId, UserName
from wattline_protocol.site.model import Site
from wattline_protocol.wire.agent_messages import FromAgent, LogChunk, Rollups
from wattline_protocol.wire.client_messages import Answer, Denied, Request
from wattline_protocol.wire.task_reports.run_records import RecordRead
from wattline_scheduler.core.cluster import Cluster
from wattline_scheduler.core.model.effects import Effect
from wattline_scheduler.core.model.events import (
    TICK_PERIOD_S,
    AgentMessage,
    ClientRequest,
    Event,
    PlanDue,
    TimePassed,
)
from wattline_sim.facility.clockwork import Stopwatch
from wattline_sim.facility.judging.ledger import Ledger
from wattline_sim.facility.wire import Wire
from wattline_sim.fleet.world import HostClock, World
from wattline_sim.shells.scheduler_effects import Outlets, deliver, saved

PLAN_S = 0.01
"""As the real shell: a burst of submissions is planned at once."""
ASK_AGAIN_S = 5.0
"""A client whose request was not answered repeats it."""


class Office:
    """One scheduler process over a disk that survives it."""

    def __init__(self, world: World, wire: Wire, site: Site, stopwatch: Stopwatch) -> None:
        self._world, self._wire, self.site = world, wire, site
        self._stopwatch = stopwatch
        self.disk = Ledger()
        self.clock = HostClock(world)
        self.cluster: Cluster | None = None
        self._life = 0
        self._asks = 0
        self._takers: dict[int, Callable[[Answer], None]] = {}
        self._is_planning = False

    def start(self) -> None:
        """A new process over the disk of the last."""
        if self.cluster is not None:
            return
        self._life += 1
        self._is_planning = False
        saved = self.disk.open(self.clock.now.unix_s, f"run-{self._life}")
        self.cluster = Cluster(self.site, saved, self.clock.now)
        self._wire.attach_scheduler(self._agent_message)
        self._tick(self._life)

    def crash(self) -> None:
        """SIGKILL: only the disk remains."""
        self.cluster = None
        self._life += 1
        self._wire.attach_scheduler(None)

    def ask(self, request: Request, take: Callable[[Answer], None] | None = None) -> None:
        """As a careful client: asks again until it is answered."""
        self._asks += 1
        ask = self._asks
        self._takers[ask] = take or refuse_denials

        def again() -> None:
            if ask in self._takers:
                self._take(ClientRequest(b"client", ask, UserName("ops"), "admin", request))
            if ask in self._takers:
                self._world.after(ASK_AGAIN_S, again)

        again()

    def sense(self, event: Event) -> None:
        """A meter or a cooling plant was read."""
        self._take(event)

    # --- inside ----------------------------------------------------------------------------

    def _tick(self, life: int) -> None:
        if self._life == life:
            self._take(TimePassed())
            self._world.after(TICK_PERIOD_S, lambda: self._tick(life))

    def _agent_message(self, node: NodeId, message: FromAgent) -> None:
        if not isinstance(message, LogChunk | RecordRead | SecretDone | Rollups):
            self._take(AgentMessage(node, message))

    def _take(self, event: Event) -> None:
        cluster = self.cluster
        if cluster is None:
            return
        with self._stopwatch.part("scheduler"):
            effects = cluster.handle(event, self.clock.now)
        self._carry_out(effects)
        if cluster.wants_plan and not self._is_planning:
            self._is_planning = True
            life = self._life
            self._world.after(PLAN_S, lambda: self._plan(life))

    def _plan(self, life: int) -> None:
        if self._life == life:
            self._is_planning = False
            self._take(PlanDue())

    def _carry_out(self, effects: list[Effect]) -> None:
        records = saved(effects)
        if records:
            self.disk.commit(records)
        outlets = Outlets(self._wire.to_agent, self._reply)
        for effect in effects:
            deliver(effect, outlets)

    def _reply(self, ask: int, answer: Answer) -> None:
        take = self._takers.pop(ask, None)
        if take is not None:
            take(answer)


class RequestDenied(AssertionError):
    """The scheduler refused what a scenario asked for."""


def refuse_denials(answer: Answer) -> None:
    """What a scenario asks for must be possible."""
    if isinstance(answer, Denied):
        raise RequestDenied(f"{answer.kind}: {answer.reason}")
