"""Arbitrary events, messages lost, repeated and reordered, crashes of everything: rules hold.

After every step `check_invariants` runs, and what each node could truly draw is compared with what
the books say about it; each start is held against the reservations on disk. In the end the faults
heal and every job must finish.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from support.core.harness import TICK_S
from support.core.lossy import MAX_IN_FLIGHT
from support.core.parts import explain_job
from support.core.remade_offers import compare
from support.core.reserving_rules import NODES, choices, nodes, reserve_any
from support.core.saving_rules import save_any
from support.core.sites import A_FEW, gpu, job, migs
from support.core.training_rules import BUSY_S, WANTS_MW, TrainingRules
from wattline_protocol.ids import DomainId, JobId, NodeId
from wattline_protocol.job.selection import only
from wattline_protocol.wire.agent_messages import FromAgent
from wattline_protocol.wire.client_messages import (
    Cancel,
    CancelGridEvent,
    DeclareOff,
    DeclareOn,
    Drain,
    GridEvent,
    Hold,
    Release,
    Requeue,
    Restore,
    Shed,
    Submit,
    Undrain,
    Update,
)
from wattline_scheduler.core.invariants import check_invariants
from wattline_scheduler.core.model.events import AgentMessage, PlanDue, TimePassed

MIG = 0
"""In place of a share: a MIG device, of GPU 0 of each node."""
QUEUES, ACCOUNTS = ("default", "default", "small", "cool"), ("", "", "lab", "vision")
HEAL_S = 240.0
STEPS = 250


class CoreMachine(TrainingRules):
    @initialize()
    def join(self) -> None:
        for agent in self.h.agents.values():
            agent.gpus[0] = gpu(0, mig=migs(*A_FEW, *A_FEW[:1], node=agent.node))
            agent.now_s = self.h.mono_s
            agent.say_hello()
        self.calm()
        for size in (1, 2):
            self.submit(gpus=2, size=size, priority=50, count=2, stops=size == 2, retries=1)

    def calm(self) -> None:
        """Deliver everything in order until nothing is in flight."""
        h = self.h
        for _ in range(500):
            is_quiet = True
            for node, agent in h.agents.items():
                said, agent.said = agent.said, []
                for message in said:
                    self.arrives(node, message)
                reported, h.to_agents[node] = h.to_agents[node], []
                for order in reported:
                    agent.deliver(order)
                is_quiet = is_quiet and not said and not reported
            if h.cluster.wants_plan:
                h.handle(PlanDue())
            elif is_quiet:
                return
        raise AssertionError("messages go on for ever")

    def arrives(self, node: NodeId, message: FromAgent) -> None:
        if node not in self.h.cut_off:
            self.h.handle(AgentMessage(node, message))

    # --- the network --------------------------------------------------------------------

    @rule(node=nodes, at=choices, repeat=st.booleans())
    def to_scheduler(self, node: str, at: int, repeat: bool) -> None:
        said = self.h.agents[NodeId(node)].said
        if said:
            message = said[at % len(said)] if repeat else said.pop(at % len(said))
            self.arrives(NodeId(node), message)
        del said[:-MAX_IN_FLIGHT]

    @rule(node=nodes, at=choices, repeat=st.booleans())
    def to_agent(self, node: str, at: int, repeat: bool) -> None:
        flying = self.h.to_agents[NodeId(node)]
        if flying:
            message = flying[at % len(flying)] if repeat else flying.pop(at % len(flying))
            self.h.agents[NodeId(node)].deliver(message)

    @rule(node=nodes, at=choices)
    def lose(self, node: str, at: int) -> None:
        for flying in (self.h.agents[NodeId(node)].said, self.h.to_agents[NodeId(node)]):
            if flying:
                flying.pop(at % len(flying))

    @rule()
    def in_order(self) -> None:
        self.calm()

    @rule(node=nodes)
    def cut(self, node: str) -> None:
        if not self.h.cut_off:
            self.h.cut_off.add(NodeId(node))

    @rule()
    def mend(self) -> None:
        self.h.cut_off.clear()

    @rule(seconds=st.integers(1, 6))
    def all_goes_well(self, seconds: int) -> None:
        """Beats, ticks and plans as on a good day, so that work gets somewhere between faults."""
        for _ in range(seconds):
            for agent in self.h.agents.values():
                agent.say_beat()
            self.calm()
            for _ in range(7):
                self.advance(TICK_S)
                self.calm()

    # --- time and faults ----------------------------------------------------------------

    @rule(ticks=st.integers(1, 8))
    def time(self, ticks: int) -> None:
        for _ in range(ticks):
            self.advance(TICK_S)

    @rule(seconds=st.sampled_from([3.0, 7.0, 30.0]))
    def long_time(self, seconds: float) -> None:
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Keepers act in time; the scheduler learns that time has passed afterwards."""
        self.h.mono_s += seconds
        for agent in self.h.agents.values():
            agent.now_s = self.h.mono_s
            agent.kill_what_expired(self.h.site.timing.task_lease_s)
        self.h.handle(TimePassed())

    @rule(node=nodes)
    def beat(self, node: str) -> None:
        self.h.agents[NodeId(node)].say_beat()

    @rule()
    def plan(self) -> None:
        if self.h.cluster.wants_plan:
            self.h.handle(PlanDue())

    @rule(node=nodes)
    def agent_restarts(self, node: str) -> None:
        agent = self.h.agents[NodeId(node)]
        if agent.is_powered:
            agent.restart()

    @rule(node=nodes)
    def host_reboots(self, node: str) -> None:
        agent = self.h.agents[NodeId(node)]
        if agent.is_powered:
            agent.lose_tasks()

    @rule()
    def scheduler_restarts(self) -> None:
        """What was said to it and not taken in is lost; what it had sent may still arrive."""
        self.h.restart_scheduler()

    @rule(node=nodes)
    def switch_off(self, node: str) -> None:
        if all(agent.is_powered for agent in self.h.agents.values()):
            self.h.agents[NodeId(node)].switch_off()

    @rule(node=nodes)
    def declare_off(self, node: str) -> None:
        if not self.h.agents[NodeId(node)].is_powered:
            self.ask(DeclareOff(NodeId(node), node))

    @rule(node=nodes)
    def switch_on(self, node: str) -> None:
        """Operators switch on only what was declared on: a watt not in the books is not drawn."""
        agent = self.h.agents[NodeId(node)]
        if not agent.is_powered:
            if self.h.node(node).record.is_off:
                self.ask(DeclareOn(NodeId(node)))
            agent.switch_on()

    # --- people -------------------------------------------------------------------------

    @precondition(lambda self: len(self.h.cluster.state.work.open) < 8)
    @rule(
        gpus=st.integers(0, 8),
        size=st.integers(1, 2),
        priority=st.sampled_from([25, 50, 75]),
        count=st.integers(1, 3),
        stops=st.booleans(),
        retries=st.integers(0, 1),
        share=st.sampled_from([1000, 1000, 500, 300, MIG]),
        parent=st.none() | choices,
        due_s=st.sampled_from([0, 0, 20, 90]),
        queue=st.sampled_from(QUEUES),
        account=st.sampled_from(ACCOUNTS),
        inside=st.none() | choices,
        runtime_s=st.sampled_from([0, 0, 5]),
    )
    def submit(
        self,
        gpus: int,
        size: int,
        priority: int,
        count: int,
        stops: bool,
        retries: int,
        share: int = 1000,
        parent: int | None = None,
        due_s: int = 0,
        queue: str = "default",
        account: str = "",
        inside: int | None = None,
        runtime_s: int = 0,
    ) -> None:
        wanted = job().gpus(gpus).nodes(size).priority(priority).array(count, 2).retries(retries)
        wanted = wanted.queue(queue).account(account).runtime(runtime_s)
        if inside is not None and self.reserved:
            wanted = wanted.reservation(self.some_reservation(inside))
        if share == MIG:
            wanted = wanted.gpus(1).mig(A_FEW[gpus % len(A_FEW)])
        elif share < 1000:
            wanted = wanted.share(share)
        if stops:
            wanted = wanted.stops_on_isolation()
        others = list(self.h.cluster.state.work.jobs)
        if parent is not None and others:
            other = others[parent % len(others)]
            wanted = wanted.after_any(other) if parent % 2 else wanted.after_ok(other)
        if due_s:
            due = datetime.fromtimestamp(self.h.now.unix_s + due_s, UTC)
            wanted = wanted.deadline(due.isoformat())
        self.ask(Submit(wanted.build(), f"t{self.asks}"))

    @rule(node=nodes, at=choices, code=st.integers(0, 1))
    def task_ends(self, node: str, at: int, code: int) -> None:
        agent = self.h.agents[NodeId(node)]
        running = [ref for ref, task in agent.tasks.items() if task.phase != "ended"]
        if running:
            agent.end(running[at % len(running)], code)

    @rule(at=choices, verb=st.sampled_from([Cancel, Hold, Release]))
    def job_verb(self, at: int, verb: type[Cancel] | type[Hold] | type[Release]) -> None:
        jobs = list(self.h.cluster.state.work.jobs)
        if jobs:
            self.ask(verb(only(jobs[at % len(jobs)])))

    @rule(at=choices, index=st.integers(0, 2), verb=st.sampled_from([Cancel, Hold, Release]))
    def index_verb(
        self, at: int, index: int, verb: type[Cancel] | type[Hold] | type[Release]
    ) -> None:
        jobs = list(self.h.cluster.state.work.jobs)
        if jobs:
            self.ask(verb(only(jobs[at % len(jobs)], index)))

    @rule(at=choices, index=st.integers(-1, 2))
    def requeue(self, at: int, index: int) -> None:
        """A whole job, or one index of it."""
        jobs = list(self.h.cluster.state.work.jobs)
        if jobs and len(self.h.cluster.state.work.open) < 8:
            job_ = jobs[at % len(jobs)]
            which = only(job_, index) if index >= 0 else only(job_)
            self.ask(Requeue(which, f"r{self.asks}"))

    @rule(
        at=choices,
        change=st.sampled_from(
            [
                *[("priority", "low"), ("priority", 90), ("at_a_time", 1), ("time", "1h")],
                *[("queue", "small"), ("queue", "default"), ("account", "vision")],
            ]
        ),
    )
    def update(self, at: int, change: tuple[str, str | int]) -> None:
        jobs = list(self.h.cluster.state.work.jobs)
        if jobs:
            self.ask(Update(only(jobs[at % len(jobs)]), dict([change])))

    @rule(at=choices)
    def explain(self, at: int) -> None:
        """Whatever the state: an answer, and nothing is changed by looking."""
        self.h.handle(TimePassed())  # a new run has things to save, before it is asked anything
        state = self.h.cluster.state
        jobs = [job_ for job_ in state.work.jobs.values() if not job_.is_ended]
        if not jobs:
            return
        asked = jobs[at % len(jobs)]
        view = explain_job(state, asked, self.h.now)
        compare(state, [g for j in jobs for g in j.gangs if g.live][at % 3 :: 2], self.h.now)
        assert view.start_unix_s is None or view.start_unix_s >= self.h.now.unix_s
        assert bool(view.start_why) == bool(view.nodes_needed)
        check_invariants(self.h.cluster, self.h.now)
        assert not state.journal.take()

    @rule(node=nodes, is_drain=st.sampled_from([True, False, False]), is_now=st.booleans())
    def drain(self, node: str, is_drain: bool, is_now: bool) -> None:
        name = NodeId(node)
        self.ask(Drain(name, is_now=is_now) if is_drain else Undrain(name))

    @rule(
        domain=st.sampled_from([None, "pdu-a", "pdu-b", "room"]),
        fraction=st.sampled_from([0.1, 0.3, 0.6]),
        for_s=st.sampled_from([0.0, 5.0]),
        ramp_s=st.sampled_from([0.0, 4.0]),
    )
    def shed(self, domain: str | None, fraction: float, for_s: float, ramp_s: float) -> None:
        where = DomainId(domain) if domain else None
        self.ask(Shed(where, fraction, for_s=for_s, ramp_s=ramp_s, release_s=ramp_s))

    @rule(
        domain=st.sampled_from(["site", "pdu-a", "room"]),
        fraction=st.sampled_from([0.1, 0.3, 0.6]),
        later_s=st.sampled_from([0.0, 2.0, 8.0]),
        ramp_s=st.sampled_from([0.0, 4.0]),
    )
    def grid_event(self, domain: str, fraction: float, later_s: float, ramp_s: float) -> None:
        start_s = self.h.now.unix_s + later_s
        event = GridEvent(
            f"{domain}-{round(start_s * 1000)}",
            end_unix_s=start_s + 6.0,
            domain=DomainId(domain),
            start_unix_s=start_s,
            fraction=fraction,
            ramp_s=ramp_s,
        )
        self.ask(event)

    @rule(at=choices)
    def cancel_event(self, at: int) -> None:
        events = [r for r in self.h.cluster.state.limits.values() if r.source == "event"]
        if events:
            name = events[at % len(events)].name
            self.ask(CancelGridEvent(name.removeprefix("event ")))

    @rule(domain=st.sampled_from(["site", "pdu-a", "pdu-b", "room"]))
    def restore(self, domain: str) -> None:
        self.ask(Restore(DomainId(domain)))

    # --- what must hold -----------------------------------------------------------------

    @invariant()
    def nodes_draw_no_more_than_the_books_say(self) -> None:
        for node, agent in self.h.agents.items():
            booked_mw = self.h.cluster.state.books.committed_mw(node)
            assert agent.holding_mw() <= booked_mw, f"{node} holds more than {booked_mw} mW"

    @invariant()
    def no_part_of_a_gpu_is_with_two(self) -> None:
        for node, agent in self.h.agents.items():
            given: dict[int, int] = {}
            for task in agent.tasks.values():
                for index in task.order.gpus if task.phase != "ended" else ():
                    given[index] = given.get(index, 0) + task.order.gpu_share_permille
            assert max(given.values(), default=0) <= 1000, f"{node} in thousandths: {given}"
            live = [task.order.mig for task in agent.tasks.values() if task.phase != "ended"]
            devices = [mig for mig in live if mig]
            assert len(set(devices)) == len(devices), f"{node} gave a MIG device twice"

    @invariant()
    def nobody_has_more_jobs_open_than_the_site_lets_them(self) -> None:
        work, site = self.h.cluster.state.work, self.h.site
        assert max(work.open_jobs.of_user.values(), default=0) <= site.open_jobs_per_user
        assert all(one.open_jobs <= (one.quota.open_jobs or 10**9) for one in work.quotas.all)

    @invariant()
    def no_task_runs_twice(self) -> None:
        running: dict[tuple[JobId, int], str] = {}
        for node, agent in self.h.agents.items():
            for ref, task in agent.tasks.items():
                if task.phase == "ended":
                    continue
                other = running.setdefault((ref.job, ref.task), f"{ref} on {node}")
                assert other == f"{ref} on {node}", f"{other} and {ref} on {node}"

    def teardown(self) -> None:
        """Faults heal: every accepted job ends."""
        h = self.h
        h.cut_off.clear()
        for node in NODES:
            self.switch_on(node)
            self.ask(Undrain(NodeId(node)))
        for domain, _ in list(h.cluster.state.limits):
            self.ask(Restore(domain))
        self.reserve_nothing()
        for number in list(h.cluster.state.work.jobs):
            self.ask(Release(only(number)))
            if h.job(number).spec.service:
                self.ask(Cancel(only(number)))
        end_s = h.mono_s + HEAL_S
        while h.cluster.state.work.open and h.mono_s < end_s:
            for agent in h.agents.values():
                agent.end_all()
            self.all_goes_well(1)
        stuck = [j for j in h.cluster.state.work.jobs.values() if not j.is_ended]
        assert not stuck, "\n".join(f"{j.story()}; {j.wait_reason}" for j in stuck)


CoreMachine.TestCase.settings = settings(max_examples=50, stateful_step_count=60)
TestCoreMachine = CoreMachine.TestCase

Step = Callable[[CoreMachine, Random], None]

WALK: tuple[tuple[int, Step], ...] = (
    (20, lambda m, r: m.all_goes_well(r.randint(1, 4))),
    (25, lambda m, r: m.to_scheduler(r.choice(NODES), r.randint(0, 9), r.random() < 0.3)),
    (25, lambda m, r: m.to_agent(r.choice(NODES), r.randint(0, 9), r.random() < 0.3)),
    (10, lambda m, r: m.beat(r.choice(NODES))),
    (10, lambda m, _: m.plan()),
    (10, lambda m, r: m.time(r.randint(1, 8))),
    (8, lambda m, r: m.lose(r.choice(NODES), r.randint(0, 9))),
    (12, lambda m, r: m.task_ends(r.choice(NODES), r.randint(0, 9), int(r.random() < 0.3))),
    (4, lambda m, r: m.cut(r.choice(NODES))),
    (4, lambda m, _: m.mend()),
    (2, lambda m, r: m.long_time(r.choice([3.0, 7.0, 30.0]))),
    (3, lambda m, r: m.agent_restarts(r.choice(NODES))),
    (2, lambda m, r: m.host_reboots(r.choice(NODES))),
    (3, lambda m, _: m.scheduler_restarts()),
    (2, lambda m, r: m.switch_off(r.choice(NODES))),
    (4, lambda m, r: m.switch_on(r.choice(NODES))),
    (2, lambda m, r: m.declare_off(r.choice(NODES))),
    (2, lambda m, r: m.job_verb(r.randint(0, 9), r.choice((Cancel, Hold, Release, Release)))),
    (2, lambda m, r: m.index_verb(r.randint(0, 9), r.randint(0, 2), r.choice((Hold, Release)))),
    (2, lambda m, r: m.requeue(r.randint(0, 9), r.randint(-1, 2))),
    (2, lambda m, r: m.update(r.randint(0, 9), ("priority", r.randint(0, 100)))),
    (2, lambda m, r: m.update(r.randint(0, 9), ("queue", r.choice(QUEUES)))),
    (1, lambda m, r: m.update(r.randint(0, 9), ("account", r.choice(ACCOUNTS[2:])))),
    (1, lambda m, r: m.serve(r.randint(0, 4), r.randint(1, 3), r.choice(ACCOUNTS))),
    (3, lambda m, r: m.scale(r.randint(0, 9), r.randint(1, 4))),
    (2, lambda m, r: m.explain(r.randint(0, 9))),
    (1, lambda m, r: m.drain(r.choice(NODES), r.random() < 0.3, r.random() < 0.5)),
    (2, lambda m, r: m.shed(_domain(r), _share(r), 5.0, r.choice((0.0, 4.0)))),
    (2, lambda m, r: m.grid_event(_domain(r), _share(r), *r.choices((0.0, 3.0), k=2))),
    (4, save_any),
    (9, lambda m, r: m.ranks_report(r.choice(NODES), r.choice(BUSY_S), r.choice(WANTS_MW))),
    (1, lambda m, r: m.cancel_event(r.randint(0, 9))),
    (3, reserve_any),
    (2, lambda m, r: m.unreserve(r.randint(0, 9)) if m.reserved else None),
    (2, lambda m, r: m.send_inside(r.randint(0, 9), r.random() < 0.7) if m.reserved else None),
)


def _domain(r: Random) -> str:
    return r.choice(("site", "pdu-a", "room"))


def _share(r: Random) -> float:
    return r.choice((0.1, 0.3, 0.6))


def submit_any(m: CoreMachine, r: Random) -> None:
    if len(m.h.cluster.state.work.open) < 8:
        m.submit(
            gpus=r.randint(0, 8),
            size=r.randint(1, 2),
            priority=r.choice((25, 50, 75)),
            count=r.randint(1, 3),
            stops=r.random() < 0.5,
            retries=r.randint(0, 1),
            share=r.choice((1000, 1000, 500, 300, MIG)),
            parent=r.choice((None, None, r.randint(0, 9))),
            due_s=r.choice((0, 0, 0, 20, 90)),
            queue=r.choice(QUEUES),
            account=r.choice(ACCOUNTS),
            inside=r.choice((None, r.randint(0, 9))),
            runtime_s=r.choice((0, 0, 5)),
        )


@pytest.mark.parametrize("seed", range(20))
def test_a_long_walk_with_work(seed: int) -> None:
    """The same rules, weighted so that much work is under way when faults strike."""
    r = Random(seed)
    machine = CoreMachine()
    machine.join()
    weights, steps = zip(*WALK, (10, submit_any), strict=True)
    for step in r.choices(steps, weights, k=STEPS):
        step(machine, r)
        machine.nodes_draw_no_more_than_the_books_say()
        machine.nobody_has_more_jobs_open_than_the_site_lets_them()
        machine.no_task_runs_twice()
    machine.teardown()
