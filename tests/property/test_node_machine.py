"""The agent's half of the lease protocol under arbitrary histories: I2 after every single effect.

A model scheduler keeps the books as DESIGN 4 says; messages of both sides lie in bags from which
any may be delivered, late, twice, or never. Agents crash, drivers reload or refuse, tasks come
and go. After every effect: what the driver would let the node draw is within what the books count.
"""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from support.node.rig import MAX, Rig, order, ref, wall
from wattline_agent.core.effects import Effect, Send
from wattline_protocol.ids import Epoch, Incarnation, Sequence, TaskRef
from wattline_protocol.wire.agent_messages import (
    Adopted,
    Beat,
    BeatSeen,
    ForgetTask,
    FromAgent,
    Hello,
    Lease,
    LeaseAck,
    PauseTask,
    Rehello,
    ResumeTask,
    StartTask,
    StopTask,
    ToAgent,
)

GPUS = 3
BAG = 60
W = 1000
leases = st.integers(0, GPUS * MAX // (25 * W)).map(lambda n: wall(n * 25 * W))
some_gpus = st.sets(st.integers(0, GPUS - 1), min_size=1)
gpu = st.integers(0, GPUS - 1)
shares = st.sampled_from([1000, 1000, 500, 300])


class Books:
    """What the scheduler believes: the largest lease that may be in force."""

    def __init__(self) -> None:
        self.acked_mw = wall(GPUS * MAX)
        self.sent: list[tuple[int, int, int, int]] = []
        self.adopted = 0
        self.names: tuple[int, int] | None = None
        """Epoch and incarnation to which leases may be sent."""

    @property
    def committed_mw(self) -> int:
        """DESIGN 4, I1."""
        return max([self.acked_mw, *(lease[3] for lease in self.sent)])

    def take(self, message: FromAgent, epoch: int) -> None:
        """Adopted replaces the entry; an acknowledgement counts only for an outstanding lease."""
        is_new = isinstance(message, Adopted) and message.incarnation > self.adopted
        if isinstance(message, Adopted) and is_new and message.epoch == epoch:
            self.acked_mw, self.sent = message.holding_mw, []
            self.adopted, self.names = message.incarnation, (epoch, message.incarnation)
        if isinstance(message, LeaseAck):
            name = (message.epoch, message.incarnation, message.seq)
            for at, lease in enumerate(self.sent):
                if lease[:3] == name and message.epoch == epoch:
                    self.acked_mw, self.sent = lease[3], self.sent[at + 1 :]
                    return


class NodeMachine(RuleBasedStateMachine):
    """One node and its scheduler."""

    def __init__(self) -> None:
        super().__init__()
        self.rig = Rig(GPUS)
        self.books = Books()
        self.to_agent: list[ToAgent] = []
        self.to_scheduler: list[FromAgent] = []
        self.attempts = 0
        self.live: list[TaskRef] = []
        self.rig.watch = self._watch
        self.rig.boot()
        self.connect()

    def connect(self) -> None:
        """Join in order, so that histories begin with something."""
        self.rig.join()
        for message in self.to_scheduler:
            self.books.take(message, self.rig.epoch)
        self.to_scheduler.clear()

    @initialize(gpus=some_gpus, seconds=st.sampled_from([0.0, 1.0, 5.0, 14.0]))
    def begin_with_work(self, gpus: set[int], seconds: float) -> None:
        """Most of what can go wrong needs a task that draws all it is let."""
        self.work_is_started(gpus, 0, seconds)

    @precondition(lambda self: self.books.names is not None and len(self.books.sent) < 8)
    @rule(
        gpus=some_gpus,
        task=st.integers(0, 3),
        seconds=st.sampled_from([0.0, 1.0, 5.0, 14.0]),
        share=shares,
    )
    def work_is_started(self, gpus: set[int], task: int, seconds: float, share: int = 1000) -> None:
        """A whole lease, then a task, with a network that works."""
        self.lease(wall(GPUS * MAX), 700, now=True)
        self.deliver_all()
        self.start_task(gpus, task, now=True, stop=False, share=share)
        self.time_passes(seconds, answered=True)
        self.deliver_all()

    @precondition(lambda self: self.books.names is not None and len(self.books.sent) < 8)
    @rule(lease_mw=leases)
    def lease_is_settled(self, lease_mw: int) -> None:
        """Sent, and whatever the agent says about it is heard."""
        self.lease(lease_mw, 700, now=True)
        self.deliver_all()

    def _watch(self, effect: Effect) -> None:
        if isinstance(effect, Send):
            self.to_scheduler = [*self.to_scheduler[-BAG:], effect.message]
        self.check_draw()

    @invariant()
    def check_draw(self) -> None:
        """I2, against the truth."""
        allowed_mw = self.rig.allowed_wall_mw()
        assert allowed_mw <= self.books.committed_mw, (
            f"the node may draw {allowed_mw} mW, the books count {self.books.committed_mw} mW"
        )

    @invariant()
    def never_twice(self) -> None:
        """I7: at most one living attempt per task."""
        alive = [(t.order.ref.job, t.order.ref.task) for t in self.rig.tasks.values() if not t.exit]
        assert len(alive) == len(set(alive))
        assert len(self.rig.launches) == len(set(self.rig.launches)), "launched twice"

    @invariant()
    def no_gpu_is_given_twice(self) -> None:
        """What living tasks were given of a GPU is no more than the whole."""
        given = [0] * GPUS
        for task in self.rig.tasks.values():
            for index in task.order.gpus if not task.group_ended else ():
                given[index] += task.order.gpu_share_permille
        assert max(given) <= 1000, f"given, in thousandths: {given}"

    # --- the scheduler acts -------------------------------------------------------------

    def _names(self) -> tuple[Epoch, Incarnation, Sequence]:
        assert self.books.names is not None
        epoch, incarnation = self.books.names
        return Epoch(epoch), Incarnation(incarnation), self.rig.next_seq()

    def _post(self, message: ToAgent, *, now: bool) -> None:
        self.to_agent = [*self.to_agent[-BAG:], message]
        if now:
            self.rig.say(message)

    @precondition(lambda self: self.books.names is not None and len(self.books.sent) < 8)
    @rule(lease_mw=leases, cap=st.integers(150, 750), now=st.booleans())
    def lease(self, lease_mw: int, cap: int, now: bool) -> None:
        """Booked before it is sent."""
        epoch, incarnation, seq = self._names()
        self.books.sent.append((epoch, incarnation, seq, lease_mw))
        self._post(Lease(epoch, incarnation, seq, lease_mw, (cap * W,) * GPUS), now=now)

    @precondition(lambda self: self.books.names is not None)
    @rule(
        gpus=some_gpus, task=st.integers(0, 3), now=st.booleans(), stop=st.booleans(), share=shares
    )
    def start_task(
        self, gpus: set[int], task: int, now: bool, stop: bool, share: int = 1000
    ) -> None:
        """A new attempt, whether or not the last one has ended: the agent must see to it."""
        if self.books.names is None:
            return
        self.attempts += 1
        name = ref(task, self.attempts)
        on_isolation = "stop" if stop else "continue"
        wanted = order(name, *sorted(gpus), on_isolation=on_isolation, gpu_share_permille=share)
        self.live = [*self.live[-5:], name]
        self._post(StartTask(*self._names(), wanted), now=now)

    @precondition(lambda self: self.books.names is not None and bool(self.live))
    @rule(data=st.data(), kind=st.sampled_from(["stop", "pause", "resume", "forget"]))
    def command_task(self, data: st.DataObject, kind: str) -> None:
        """About an attempt that exists, or did."""
        name = data.draw(st.sampled_from(self.live))
        match kind:
            case "stop":
                self._post(StopTask(*self._names(), name, 1.0, "test"), now=True)
            case "pause":
                self._post(PauseTask(*self._names(), name, 2.0, "test"), now=True)
            case "resume":
                self._post(ResumeTask(*self._names(), name), now=True)
            case _:
                self._post(ForgetTask(*self._names(), name), now=True)

    @rule()
    def scheduler_restarts(self) -> None:
        """The books survive; the new epoch knows no incarnation."""
        self.rig.epoch += 1
        self.rig.instance = f"s{self.rig.epoch}"
        self.books.names = None
        self.rig.say(Rehello(Epoch(self.rig.epoch), "restarted"))

    # --- the network --------------------------------------------------------------------

    @precondition(lambda self: bool(self.to_agent))
    @rule(data=st.data())
    def deliver_to_agent(self, data: st.DataObject) -> None:
        """Any message, however old, perhaps again."""
        self.rig.say(data.draw(st.sampled_from(self.to_agent)))

    @precondition(lambda self: bool(self.to_scheduler))
    @rule(data=st.data())
    def deliver_to_scheduler(self, data: st.DataObject) -> None:
        """Any message, however old, perhaps again."""
        self._hear(data.draw(st.sampled_from(self.to_scheduler)))

    @rule()
    def deliver_all(self) -> None:
        """The network works for a moment: what was said arrives in order."""
        waiting, self.to_scheduler = self.to_scheduler, []
        for message in waiting:
            self._hear(message)

    def _hear(self, message: FromAgent) -> None:
        self.books.take(message, self.rig.epoch)
        if isinstance(message, Hello):
            self._post(self.rig.welcome(message), now=True)
        if isinstance(message, Beat):
            self.rig.say(BeatSeen(message.epoch, message.incarnation, message.seq))

    # --- the node -----------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.2, 1.0, 4.0, 12.0]), answered=st.booleans())
    def time_passes(self, seconds: float, answered: bool) -> None:
        """Rounds of the shell's loop."""
        self.rig.pass_s(seconds, answered=answered)

    @rule()
    def agent_crashes(self) -> None:
        """kill -9, and a new agent."""
        self.rig.crash()
        self.rig.boot()
        self.rig.join()

    @precondition(lambda self: not self.rig.holds_answers)
    @rule()
    def driver_slows(self) -> None:
        """Caps take effect, but nobody hears of it until the driver answers."""
        self.rig.holds_answers = True

    @rule()
    def driver_answers(self) -> None:
        """It has caught up."""
        self.rig.answer_caps()

    @rule(index=gpu, what=st.sampled_from(["error", "ignores", "hung", "bmc", "well", "well"]))
    def gpu_changes(self, index: int, what: str) -> None:
        """It refuses, lies, hangs, is capped by its BMC, or recovers."""
        at = self.rig.gpus[index]
        at.error, at.ignores, at.is_hung = "", what == "ignores", what == "hung"
        at.error = "no permission" if what == "error" else ""
        at.bmc_mw = 300 * W if what == "bmc" else MAX

    @rule()
    def driver_reloads(self) -> None:
        """No task survives that; every limit is back at its default."""
        for name in list(self.rig.tasks):
            self.rig.end(name)
        for at in self.rig.gpus:
            at.cooling_until_s = 0.0
        self.rig.reload_driver()

    @precondition(lambda self: bool(self.rig.tasks))
    @rule(data=st.data())
    def task_ends(self, data: st.DataObject) -> None:
        """By itself."""
        self.rig.end(data.draw(st.sampled_from(sorted(self.rig.tasks))))

    @precondition(lambda self: self.books.names is not None and len(self.books.sent) < 8)
    @rule(seconds=st.sampled_from([0.2, 1.0, 2.0, 4.0]), lease_mw=leases)
    def work_ends_and_its_watts_go_elsewhere(self, seconds: float, lease_mw: int) -> None:
        """The scheduler is in a hurry to give away what a GPU draws that is not idle yet."""
        for name in list(self.rig.tasks):
            self.rig.end(name)
        self.time_passes(seconds, answered=True)
        self.lease_is_settled(lease_mw)

    @rule()
    def keeper_is_looked_at(self) -> None:
        """The agent learns what became of its tasks."""
        self.rig.handle(self.rig.seen())


NodeMachine.TestCase.settings = settings(
    max_examples=200,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestNodeMachine = NodeMachine.TestCase
