"""A cluster with fake agents, a virtual clock and a disk, for tests of the scheduler's core."""

from collections.abc import Callable
from typing import TypeVar

from support.core.sites import JobBuilder
from support.programs.fake_agents import FakeAgent
from wattline_protocol.ids import Epoch, Instant, JobId, NodeId, Now, TaskRef, UnixTime, UserName
from wattline_protocol.site.model import Role, Site
from wattline_protocol.views.site_views import EventView, JobState
from wattline_protocol.wire.agent_messages import Beat, BeatSeen, FromAgent, ToAgent
from wattline_protocol.wire.client_messages import (
    Acted,
    Answer,
    Denied,
    Done,
    Request,
    Submit,
    Submitted,
)
from wattline_scheduler.api_key_record import ApiKeyRecord
from wattline_scheduler.core.cluster import Cluster
from wattline_scheduler.core.invariants import check_invariants
from wattline_scheduler.core.leases.lease_load import booking_of, floor_of
from wattline_scheduler.core.model.effects import Effect, Send
from wattline_scheduler.core.model.events import (
    AgentMessage,
    ClientRequest,
    Event,
    PlanDue,
    TimePassed,
)
from wattline_scheduler.core.model.jobs.job import Gang, Job
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.data_record import DataSetRecord, DataVersionRecord
from wattline_scheduler.notification_record import NotificationRecord
from wattline_scheduler.records import (
    ActRecord,
    AttemptRecord,
    BookRecord,
    DemandRecord,
    EventRecord,
    GangRecord,
    JobRecord,
    LimitRecord,
    MemberRecord,
    MeterRecord,
    NodeRecord,
    PlantRecord,
    ProblemRecord,
    Record,
    ReservationRecord,
    RolloutRecord,
    Saved,
    UseRecord,
)
from wattline_scheduler.route_record import RouteRecord
from wattline_sim.shells.scheduler_effects import Outlets, deliver, saved

START = 1_000.0
UNIX_START = 1_700_000_000.0
TICK_S = 0.15
BEAT_S = 1.0
MAX_ROUNDS = 1_000

T = TypeVar("T", bound=Record)


class Disk:
    """What was saved, by key; survives the scheduler."""

    def __init__(self) -> None:
        self.rows: dict[tuple[type, tuple[object, ...]], Record] = {}
        self.epoch = 0

    def save(self, record: Record) -> None:
        key = tuple(getattr(record, name) for name in record.key)
        self.rows[type(record), key] = record

    def of(self, kind: type[T]) -> tuple[T, ...]:
        rows = [(key, row) for (_, key), row in self.rows.items() if isinstance(row, kind)]
        return tuple(row for _, row in sorted(rows, key=lambda pair: pair[0]))

    def load(self) -> Saved:
        """As the store would: the epoch is raised first."""
        self.epoch += 1
        jobs, events = self.of(JobRecord), self.of(EventRecord)
        return Saved(
            epoch=Epoch(self.epoch),
            instance=f"run-{self.epoch}",
            jobs=jobs,
            gangs=self.of(GangRecord),
            attempts=self.of(AttemptRecord),
            nodes=self.of(NodeRecord),
            books=self.of(BookRecord),
            demands=self.of(DemandRecord),
            limits=tuple(r for r in self.of(LimitRecord) if r.phase != "over"),
            meters=self.of(MeterRecord),
            plants=self.of(PlantRecord),
            uses=self.of(UseRecord),
            reservations=tuple(r for r in self.of(ReservationRecord) if r.phase != "over"),
            api_keys=tuple(r for r in self.of(ApiKeyRecord) if r.revoked_unix_s is None),
            routes=tuple(r for r in self.of(RouteRecord) if r.removed_unix_s is None),
            data_sets=self.of(DataSetRecord),
            data_versions=self.of(DataVersionRecord),
            problems=_problems_in_order(self.of(ProblemRecord)),
            events=events,
            newest_act=max((one.seq for one in self.of(ActRecord)), default=0),
            members=tuple(one for one in self.of(MemberRecord) if not one.is_removed),
            rollouts=self.of(RolloutRecord),
            notifications=tuple(r for r in self.of(NotificationRecord) if not r.outcome),
            next_job=JobId(max((j.id for j in jobs), default=0) + 1),
            next_event=max((e.seq for e in events), default=0) + 1,
        )


def _problems_in_order(saved: tuple[ProblemRecord, ...]) -> tuple[ProblemRecord, ...]:
    """The ended ones by their ends, then the open ones."""
    return tuple(sorted(saved, key=lambda one: (one.until_unix_s is None, one.until_unix_s or 0.0)))


def _is_quiet(event: Event, effects: list[Effect]) -> bool:
    """A tick or a beat of which nothing is saved and nothing sent but the beat's receipt."""
    if isinstance(event, TimePassed):
        return not effects
    is_beat = isinstance(event, AgentMessage) and isinstance(event.message, Beat)
    return is_beat and all(isinstance(e, Send) and isinstance(e.message, BeatSeen) for e in effects)


class Harness:
    """Drives a Cluster; invariants are checked after every event, but once in `BEAT_S` after
    quiet ones: these are nine in ten, and their checks were most of what the tests cost."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.disk = Disk()
        self.mono_s = START
        self.agents = {node.id: FakeAgent(node.id) for node in site.nodes}
        self.cut_off: set[NodeId] = set()
        """Nodes whose messages are lost, both ways."""
        self.replies: dict[int, Answer] = {}
        self.sent: list[tuple[NodeId, ToAgent]] = []
        self.effects: list[Effect] = []
        self._asks = 0
        self._next_check_s = START
        self.cluster = Cluster(site, self.disk.load(), self.now)

    @property
    def now(self) -> Now:
        return Now(Instant(self.mono_s), UnixTime(UNIX_START + self.mono_s - START))

    # --- events -------------------------------------------------------------------------

    def handle(self, event: Event) -> list[Effect]:
        """One event; its effects are carried out in order and messages delivered at once."""
        effects = self.cluster.handle(event, self.now)
        if self.mono_s >= self._next_check_s or not _is_quiet(event, effects):
            check_invariants(self.cluster, self.now)
            self._next_check_s = self.mono_s + BEAT_S
        self.effects.extend(effects)
        for record in saved(effects):
            self.save(record)
        outlets = Outlets(self.send, self.replies.__setitem__)
        for effect in effects:
            deliver(effect, outlets)
        return effects

    def save(self, record: Record) -> None:
        """Put a record on disk."""
        self.disk.save(record)

    def send(self, node: NodeId, message: ToAgent) -> None:
        """Deliver a message to a node's agent, unless it is cut off."""
        self.sent.append((node, message))
        if node not in self.cut_off:
            self.agents[node].deliver(message)

    def say(self, node: str, message: FromAgent) -> list[Effect]:
        """A message of a node arrives, whatever its fake agent thinks."""
        return self.handle(AgentMessage(NodeId(node), message))

    def settle(self) -> None:
        """Deliver what agents said, and plan, until nothing happens any more."""
        for _ in range(MAX_ROUNDS):
            spoken = self._deliver()
            if self.cluster.wants_plan:
                self.handle(PlanDue())
            elif not spoken:
                return
        raise AssertionError("messages go on for ever")

    def _deliver(self) -> bool:
        spoken = False
        for node, agent in self.agents.items():
            said, agent.said = agent.said, []
            for message in said:
                if node not in self.cut_off:
                    self.handle(AgentMessage(node, message))
                    spoken = True
        return spoken

    def tick(self, tick_s: float = TICK_S) -> None:
        """One tick of virtual time without beats."""
        self.mono_s += tick_s
        self.handle(TimePassed())
        self.settle()

    def run(self, seconds: float, tick_s: float = TICK_S) -> None:
        """Let time pass, with a beat of every adopted agent each second. `tick_s`: `BEAT_S` where
        a long time passes and nothing in it depends on what happens between two beats."""
        end_s = self.mono_s + seconds
        next_beat_s = self.mono_s
        while self.mono_s < end_s:
            if self.mono_s >= next_beat_s:
                next_beat_s += BEAT_S
                for agent in self.agents.values():
                    if agent.incarnation:
                        agent.say_beat()
            self.tick(tick_s)

    # --- the site -----------------------------------------------------------------------

    def join(self, *names: str) -> None:
        """These nodes (or all) say Hello and are adopted."""
        for name in names or tuple(self.agents):
            self.agents[NodeId(name)].say_hello()
        self.settle()

    def restart_scheduler(self) -> None:
        """kill -9: only what was saved is left."""
        self.mono_s += 0.5
        for agent in self.agents.values():
            agent.said.clear()
        self.cluster = Cluster(self.site, self.disk.load(), self.now)
        check_invariants(self.cluster, self.now)

    def ask(self, request: Request, *, user: str = "ops", role: Role = "operator") -> Answer:
        return self.replies[self.start(request, user=user, role=role)]

    def start(self, request: Request, *, user: str = "ops", role: Role = "operator") -> int:
        """Ask for what may be answered later; the key of the answer in `replies`."""
        self._asks += 1
        self.handle(ClientRequest(b"c", self._asks, UserName(user), role, request))
        return self._asks

    def do(self, request: Request, *, user: str = "ops", role: Role = "operator") -> str:
        """A request that must be granted."""
        answer = self.ask(request, user=user, role=role)
        self.settle()
        if isinstance(answer, Acted):
            assert not answer.refused, answer
            return "\n".join(one.text for one in answer.jobs)
        assert isinstance(answer, Done), answer
        return answer.text

    def submit(self, job: JobBuilder, *, user: str = "ada", role: Role = "operator") -> JobId:
        """Submit, and let everything happen that happens at once. Operators may ask for any
        priority."""
        self._asks += 1
        answer = self.ask(Submit(job.build(), f"token-{self._asks}"), user=user, role=role)
        assert isinstance(answer, Submitted), answer
        self.settle()
        return answer.job

    def refuse(self, job: JobBuilder, *, user: str = "ada") -> str:
        """Why a submission was denied."""
        self._asks += 1
        answer = self.ask(Submit(job.build(), f"token-{self._asks}"), user=user, role="submitter")
        assert isinstance(answer, Denied), answer
        return answer.reason

    # --- what is seen -------------------------------------------------------------------

    def job(self, number: JobId) -> Job:
        return self.cluster.state.work.jobs[number]

    def state_of(self, number: JobId) -> JobState:
        return self.job(number).record.state

    def gang(self, number: JobId, gang: int = 0) -> Gang:
        return self.job(number).gangs[gang]

    def node(self, name: str) -> NodeNow:
        return self.cluster.state.nodes[NodeId(name)]

    def counted_mw(self, name: str) -> tuple[int, int]:
        """The floor of a node, and what must be kept for it, once beats were heard."""
        self.run(2)
        return floor_of(self.node(name)), booking_of(self.cluster.state, self.node(name)).booked_mw

    def agent(self, name: str) -> FakeAgent:
        return self.agents[NodeId(name)]

    def committed_kw(self, name: str) -> float:
        return self.cluster.state.books.committed_mw(NodeId(name)) / 1e6

    def sent_to(self, name: str, kind: type[ToAgent]) -> list[ToAgent]:
        """Messages of one kind that were sent to a node, oldest first."""
        return [m for node, m in self.sent if node == name and isinstance(m, kind)]

    def events(self, kind: str) -> list[EventView]:
        return [event for event in self.cluster.state.journal.events if event.kind == kind]

    def acts(self) -> list[EventView]:
        """What people did and were refused, oldest first, as it is on disk."""
        return [record.event for record in self.disk.of(ActRecord)]

    def end_tasks(self, code: int = 0, only: Callable[[FakeAgent], bool] = lambda _: True) -> None:
        """Every running task ends."""
        for agent in self.agents.values():
            if only(agent):
                agent.end_all(code)
        self.settle()


def joined(site: Site) -> Harness:
    """All its nodes have said Hello, are adopted, and have nothing to do."""
    harness = Harness(site)
    harness.join()
    harness.run(2)
    return harness


def running(h: Harness, number: JobId) -> list[tuple[NodeId, TaskRef]]:
    """Node and name of each live try of the job."""
    return [(a.node, a.record.ref) for g in h.job(number).gangs for a in g.live]


def end_one(h: Harness, number: JobId, code: int, run_s: float = 1.0) -> None:
    """The first of them ends, and what follows happens."""
    node, ref = running(h, number)[0]
    h.agent(node).end(ref, code, run_s=run_s)
    h.settle()
