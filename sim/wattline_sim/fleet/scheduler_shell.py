"""The scheduler's shell over virtual time: group commit to a disk that survives, then sends."""

from collections.abc import Callable
from typing import TypeVar

from wattline_protocol.ids import Epoch, JobId, NodeId, UserName
from wattline_protocol.messages import FromAgent
from wattline_protocol.requests import Answer, Request
from wattline_protocol.site import Site
from wattline_scheduler.core.cluster import Cluster
from wattline_scheduler.core.effects import Effect, Reply, Save, Send
from wattline_scheduler.core.events import (
    TICK_PERIOD_S,
    AgentSaid,
    ClientAsked,
    Event,
    PlanDue,
    TimePassed,
)
from wattline_scheduler.core.invariants import check_invariants
from wattline_scheduler.core.records import (
    AttemptRecord,
    BookRecord,
    DemandRecord,
    EventRecord,
    GangRecord,
    JobRecord,
    LimitRecord,
    NodeRecord,
    Record,
    Saved,
)
from wattline_sim.fleet.agent_shell import FROM_AGENT, SCHEDULER, TO_AGENT
from wattline_sim.fleet.network import Network
from wattline_sim.fleet.story import Story
from wattline_sim.fleet.world import HostClock, World

BATCH_S = 0.002
"""Messages that arrive this close together share a transaction."""
CRASH_SHARE = 0.0005
"""Chance that the scheduler dies at a step of a batch, while faults are on."""
MAX_EVENTS_KEPT = 500

Key = tuple[str, tuple[object, ...]]
R = TypeVar("R")


class Disk:
    """Records by key, as the store keeps them."""

    def __init__(self) -> None:
        self.epoch = 0
        self.records: dict[Key, Record] = {}

    def commit(self, records: list[Record]) -> None:
        """All or nothing."""
        for record in records:
            key = (type(record).__name__, tuple(getattr(record, name) for name in record.key))
            self.records[key] = record

    def books(self) -> tuple[BookRecord, ...]:
        """The books as a restart would find them."""
        return tuple(r for r in self.records.values() if isinstance(r, BookRecord))

    def every(self, kind: type[R]) -> tuple[R, ...]:
        """All records of a kind."""
        return tuple(r for r in self.records.values() if isinstance(r, kind))

    def load(self, instance: str) -> Saved:
        """Raise the epoch and read everything."""
        self.epoch += 1
        every = list(self.records.values())
        events = [r for r in every if isinstance(r, EventRecord)]
        return Saved(
            epoch=Epoch(self.epoch),
            instance=instance,
            jobs=tuple(r for r in every if isinstance(r, JobRecord)),
            gangs=tuple(r for r in every if isinstance(r, GangRecord)),
            attempts=tuple(r for r in every if isinstance(r, AttemptRecord)),
            nodes=tuple(r for r in every if isinstance(r, NodeRecord)),
            books=self.books(),
            demands=tuple(r for r in every if isinstance(r, DemandRecord)),
            limits=tuple(r for r in every if isinstance(r, LimitRecord)),
            events=tuple(events[-MAX_EVENTS_KEPT:]),
            next_job=JobId(1 + max((r.id for r in every if isinstance(r, JobRecord)), default=0)),
            next_event=1 + max((r.seq for r in events), default=0),
        )


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
    ) -> None:
        self._world, self._network, self._site, self._story = world, network, site, story
        self._after_step, self._may_crash = after_step, may_crash
        self.disk = Disk()
        self.clock = HostClock(world)
        self.cluster: Cluster | None = None
        self.answers: dict[int, Answer] = {}
        """Answers that reached the client, by the number of the request."""
        self._life = 0
        self._queue: list[Event] = []
        self._down_until_s = 0.0

    def start(self) -> None:
        """A new process over the disk of the last."""
        if self.cluster is not None or self._world.now_s < self._down_until_s:
            return
        self._life += 1
        saved = self.disk.load(instance=f"scheduler-{self._life}")
        self.cluster = Cluster(self._site, saved, self.clock.now)
        self._network.attach(SCHEDULER, self._receive)
        life = self._life

        def tick() -> None:
            if self._life == life:
                self._take(TimePassed())
                self._world.after(TICK_PERIOD_S, tick)

        tick()

    def crash(self, down_s: float) -> None:
        """SIGKILL; started again after a while."""
        self.cluster = None
        self._life += 1
        self._queue.clear()
        self._network.detach(SCHEDULER)
        self._down_until_s = max(self._down_until_s, self._world.now_s + down_s)
        self._world.after(down_s, self.start)

    def ask(self, ask: int, request: Request) -> None:
        """A client's request; lost when the scheduler is down."""
        if self.cluster is not None:
            self._take(ClientAsked(b"client", ask, UserName("ops"), "admin", request))

    def _receive(self, source: str, data: bytes) -> None:
        message: FromAgent = FROM_AGENT.decode(data)
        self._take(AgentSaid(NodeId(source), message))

    def _take(self, event: Event) -> None:
        if not self._queue:
            life = self._life

            def work() -> None:
                if self._life == life:
                    self._work()

            self._world.after(BATCH_S, work)
        self._queue.append(event)

    def _work(self) -> None:
        cluster = self.cluster
        if cluster is None:
            return
        events, self._queue = self._queue, []
        effects: list[Effect] = []
        for event in events:
            effects += cluster.handle(event, self.clock.now)
        if cluster.wants_plan:
            effects += cluster.handle(PlanDue(), self.clock.now)
        check_invariants(cluster, self.clock.now)
        self._carry_out(effects)
        self._after_step()

    def _carry_out(self, effects: list[Effect]) -> None:
        if self._dies():
            return
        records = [e.record for e in effects if isinstance(e, Save)]
        self.disk.commit(records)
        for record in records:
            if isinstance(record, EventRecord):
                self._story.event(self._world.now_s, f"{record.event.kind}: {record.event.text}")
        for effect in effects:
            if self._dies():
                return
            if isinstance(effect, Send):
                data = TO_AGENT.encode(effect.message)
                self._network.send(SCHEDULER, effect.node, data)
            elif isinstance(effect, Reply):
                self.answers[effect.ask] = effect.answer

    def _dies(self) -> bool:
        if self._may_crash() and self._world.rng.random() < CRASH_SHARE:
            self.crash(down_s=self._world.rng.uniform(0.1, 5.0))
            return True
        return False
