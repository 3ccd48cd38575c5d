"""The scheduler's shell over virtual time: group commit to a disk that survives, then sends."""

from collections.abc import Callable

from wattline_protocol.ids import Incarnation, Instant, NodeId, UserName
from wattline_protocol.site.model import Site
from wattline_protocol.wire.agent_messages import FromAgent, ToAgent
from wattline_protocol.wire.client_messages import Answer, Request
from wattline_scheduler.core.cluster import Cluster
from wattline_scheduler.core.invariants import check_invariants
from wattline_scheduler.core.model.effects import ActOutOfBand, Effect
from wattline_scheduler.core.model.events import (
    TICK_PERIOD_S,
    AgentMessage,
    ClientRequest,
    DomainMetered,
    Event,
    OutOfBandDone,
    PlanDue,
    TimePassed,
    ZoneSensed,
)
from wattline_scheduler.records import EventRecord, Record
from wattline_scheduler.store.errors import StoreError, StoreFenced
from wattline_sim.fleet.agent_shell import FROM_AGENT, SCHEDULER, TO_AGENT
from wattline_sim.fleet.disk import Disk
from wattline_sim.fleet.network import Network
from wattline_sim.fleet.story import Story
from wattline_sim.fleet.world import START_UNIX_S, HostClock, World
from wattline_sim.shells.scheduler_effects import Outlets, deliver, saved

OPERATOR = UserName("ops")
"""Who asks for everything that has no other user."""

BATCH_S = 0.002
"""Messages that arrive this close together share a transaction."""
CRASH_SHARE = 0.0005
"""Chance that the scheduler dies at a step of a batch, while faults are on."""
START_AGAIN_S = 1.0
"""A scheduler that could not use its disk is started again after this
long, as the systemd unit says."""


ActByBmc = Callable[[ActOutOfBand, Callable[[], Instant], Callable[[OutOfBandDone], None]], None]
"""An order, the clock of this host, and who is told what came of it."""


class SchedulerShell:
    """One scheduler process: may die before a commit, after it, or between two sends."""

    def __init__(
        self,
        world: World,
        network: Network,
        site: Site,
        story: Story,
        after_step: Callable[[], None],
        may_crash: Callable[[], bool],
        act_out_of_band: ActByBmc,
    ) -> None:
        self._act_out_of_band = act_out_of_band
        self._world, self._network, self._site, self._story = world, network, site, story
        self._after_step, self._may_crash = after_step, may_crash
        self.disk = Disk()
        self.clock = HostClock(world)
        self.cluster: Cluster | None = None
        self.answers: dict[int, Answer] = {}
        """Answers that reached the client, by the number of the request."""
        self.handled: list[Event] = []
        """Events of the newest transaction."""
        self.must_recover = False
        """The next start is one with `--recover`: an old backup lies on the disk."""
        self._life = 0
        self._queue: list[Event] = []
        self._down_until_s = self._stalled_until_s = 0.0

    def start(self) -> None:
        """A new process over the disk of the last."""
        if self.cluster is not None or self._world.now_s < self._down_until_s:
            return
        try:
            saved = self.disk.open(self._unix_s, f"run-{self._life}", recover=self.must_recover)
        except StoreError as error:
            self._stopped(f"it did not start: {type(error).__name__}")
            return
        self.must_recover = False
        self._life += 1
        self.cluster = Cluster(self._site, saved, self.clock.now)
        self._network.attach(SCHEDULER, self._receive)
        self._tick()

    @property
    def _unix_s(self) -> float:
        """At a start. Whoever recovers a backup puts the clock right first."""
        return START_UNIX_S + self._world.now_s if self.must_recover else self.clock.now.unix_s

    def _tick(self) -> None:
        self._take(TimePassed())
        self._world.after(TICK_PERIOD_S, self._guarded(self._tick))

    def crash(self, down_s: float) -> None:
        """SIGKILL; started again after a while."""
        self.cluster = None
        self._life += 1
        self._queue.clear()
        self._stalled_until_s = 0.0
        self._network.detach(SCHEDULER)
        self._down_until_s = max(self._down_until_s, self._world.now_s + down_s)
        self._world.after(down_s, self.start)

    def _stopped(self, why: str) -> None:
        self._story.event(self._world.now_s, f"the scheduler ended: {why}")
        self.crash(down_s=START_AGAIN_S)

    def reboot(self, down_s: float) -> None:
        """Its host starts anew: another monotonic clock, another error of the wall clock."""
        self.crash(down_s)
        self.clock = HostClock(self._world)

    def restore(self, backup: bytes, down_s: float) -> None:
        """The disk is lost; an operator puts a backup in its place."""
        self.crash(down_s)
        self.disk.put_back(backup)
        self.must_recover = True

    def stall(self, for_s: float) -> None:
        """The process gets no processor: everything waits, in order."""
        self._stalled_until_s = self._world.now_s + for_s

    @property
    def has_run_s(self) -> float:
        """How long it has not stalled."""
        return self._world.now_s - self._stalled_until_s

    @property
    def is_at_work(self) -> bool:
        """It runs, and is not held up."""
        return self.cluster is not None and self._stalled_until_s <= self._world.now_s

    def knows(self, node: NodeId) -> Incarnation | None:
        """The incarnation of a node that it believes; None = none now."""
        known = self.cluster.state.nodes[node] if self.cluster is not None else None
        return known.incarnation if known is not None and known.is_adopted else None

    def replace(self, old_runs_on_s: float) -> None:
        """A second scheduler starts on the same store while this one lives on for a while."""
        if self.cluster is None or self.disk.store is None:
            return
        old, store, life = self.cluster, self.disk.store, self._life

        def resend() -> None:
            """The old one wakes up: its first transaction must fail, whatever it says is old."""
            effects = old.handle(TimePassed(), self.clock.now)
            records = saved(effects)
            try:
                if records:
                    store.commit(records)
            except StoreFenced:
                return
            self._say(effects, life)

        self._world.after(old_runs_on_s, resend)
        self.cluster = None
        self._life += 1
        self._queue.clear()
        self.start()

    def sense(self, event: DomainMetered | ZoneSensed) -> None:
        """A meter or a cooling plant says something."""
        if self.cluster is not None:
            self._take(event)

    def ask(self, ask: int, request: Request, user: UserName = OPERATOR) -> None:
        """A client's request; lost when the scheduler is down."""
        if self.cluster is not None:
            self._take(ClientRequest(b"client", ask, user, "admin", request))

    def _receive(self, source: str, data: bytes) -> None:
        message: FromAgent = FROM_AGENT.decode(data)
        self._take(AgentMessage(NodeId(source), message))

    def _take(self, event: Event) -> None:
        if not self._queue:
            self._world.after(BATCH_S, self._guarded(self._work))
        self._queue.append(event)

    def _guarded(self, act: Callable[[], None]) -> Callable[[], None]:
        """`act`, unless this process is gone by then."""
        life = self._life

        def later() -> None:
            if self._life == life:
                act()

        return later

    def _work(self) -> None:
        cluster = self.cluster
        if cluster is None:
            return
        if self._stalled_until_s > self._world.now_s:
            self._world.at(self._stalled_until_s, self._guarded(self._work))
            return
        self.handled, self._queue = self._queue, []
        effects: list[Effect] = []
        for event in self.handled:
            effects += cluster.handle(event, self.clock.now)
        if cluster.wants_plan:
            effects += cluster.handle(PlanDue(), self.clock.now)
        check_invariants(cluster, self.clock.now)
        self._carry_out(effects)

    def _carry_out(self, effects: list[Effect]) -> None:
        """As the production shell: one transaction for all saves, and only then words."""
        if self._dies():
            return
        try:
            self._commit(saved(effects))
        except StoreError as error:
            self._stopped(type(error).__name__)
            return
        self._say(effects, self._life)

    def _say(self, effects: list[Effect], life: int) -> None:
        def act(order: ActOutOfBand) -> None:
            self._act_out_of_band(order, lambda: self.clock.now.mono_s, self._told(life))

        outlets = Outlets(self._send, self.answers.__setitem__, act)
        for effect in effects:
            if self._dies():
                return
            deliver(effect, outlets)

    def _send(self, node: NodeId, message: ToAgent) -> None:
        self._network.send(SCHEDULER, node, TO_AGENT.encode(message))

    def _told(self, life: int) -> Callable[[OutOfBandDone], None]:
        """Takes what came of an order, if the process that gave it still runs."""

        def take(event: OutOfBandDone) -> None:
            if self._life == life:
                self._take(event)

        return take

    def _commit(self, records: list[Record]) -> None:
        self.disk.commit(records)
        self._after_step()
        for record in records:
            if isinstance(record, EventRecord):
                self._story.event(self._world.now_s, f"{record.event.kind}: {record.event.text}")

    def _dies(self) -> bool:
        if self._may_crash() and self._world.rng.random() < CRASH_SHARE:
            self.crash(down_s=self._world.rng.uniform(0.1, 5.0))
            return True
        return False
