"""A node's core with everything around it played by plain data: driver, keeper, disk, scheduler.

`Rig` has effects carried out as a simulation has; what the driver really allows is in `rig.gpus`.
"""

from collections.abc import Callable, Collection, Mapping

from support.node.parts import (
    BOOT,
    IDLE,
    MAX,
    MIN,
    TERMS,
    WELCOME,
    ModelGpu,
    ModelTask,
    messages_of,
    names,
    of,
    order,
    ref,
    wall,
)
from wattline_agent.core.effects import Effect
from wattline_agent.core.events import (
    CapsRead,
    Connected,
    DriverReloaded,
    Event,
    HostRead,
    Sampled,
    SchedulerMessage,
    Started,
    TasksSeen,
    TimePassed,
)
from wattline_agent.core.invariants import check_invariants
from wattline_agent.core.model import Facts
from wattline_agent.core.node import Node
from wattline_agent.core.ports import (
    CapResult,
    ClockResult,
    DeviceInfo,
    FastReading,
    HostReading,
    LaunchContext,
    Reading,
    Stale,
    TaskSeen,
)
from wattline_protocol.ids import (
    Epoch,
    GpuIndex,
    Incarnation,
    Instant,
    NodeId,
    Now,
    Sequence,
    TaskRef,
    UnixTime,
)
from wattline_protocol.wire.agent_messages import (
    Beat,
    BeatSeen,
    ExitKind,
    ForgetTask,
    FromAgent,
    Hello,
    Lease,
    LeaseTask,
    LimitTask,
    NotifyTask,
    PauseTask,
    ResumeTask,
    StartTask,
    StopTask,
    TaskExit,
    ToAgent,
    Welcome,
)
from wattline_protocol.wire.gpu_process import GpuProcess
from wattline_protocol.wire.task_order import Notice, TaskOrder
from wattline_sim.shells.agent_effects import Disk, Driver, Keeper, carry_out

__all__ = [
    "BOOT",
    "IDLE",
    "MAX",
    "MIN",
    "TERMS",
    "Rig",
    "messages_of",
    "names",
    "of",
    "order",
    "ref",
    "wall",
]


class ModelKeeper(Keeper):
    """The tasks of a rig."""

    def __init__(self, rig: "Rig") -> None:
        self._rig = rig

    def launch(self, order: TaskOrder, context: LaunchContext) -> None:
        del context
        if order.ref not in self._rig.tasks:
            self._rig.tasks[order.ref] = ModelTask(order, self._rig.now_s)
            self._rig.launches.append(order.ref)

    def stop(self, ref: TaskRef, grace_s: float, why: str, kind: ExitKind | None = None) -> None:
        del grace_s, why, kind
        self._rig.end(ref, "signaled")

    def kill(self, ref: TaskRef, kind: ExitKind, why: str) -> None:
        del kind, why
        self._rig.end(ref, "signaled")

    def freeze(self, ref: TaskRef) -> None:
        task = self._rig.tasks[ref]
        if not self._rig.keeps_freezes and task.exit is None:
            self._rig.cool(task)
            task.phase = "paused"

    def thaw(self, ref: TaskRef) -> None:
        self._rig.tasks[ref].notice = None
        if self._rig.tasks[ref].exit is None:
            self._rig.tasks[ref].phase = "running"

    def notify(self, ref: TaskRef, notice: Notice | None) -> None:
        if ref in self._rig.tasks and self._rig.keeps_notices:
            self._rig.tasks[ref].notice = notice

    def limit(self, ref: TaskRef, runtime_limit_s: float) -> None:
        self._rig.tasks[ref].limit(runtime_limit_s)

    def drop(self, ref: TaskRef) -> None:
        self._rig.tasks.pop(ref, None)

    def grant_lease(self, ref: TaskRef, until_mono_s: float) -> None:
        self._rig.tasks[ref].has_task_lease = True

    def renew(self, until_mono_s: float) -> None:
        """No task lease runs out here."""

    def privileged(self) -> frozenset[TaskRef]:
        return frozenset(self._rig.privileged)


class Rig(Driver):
    """A node that runs: `rig.join()`, `rig.lease(…)`, `rig.start(…)`, `rig.pass_s(…)`."""

    def __init__(self, gpus: int = 2, *, seed: bytes = b"seed", **facts: object) -> None:
        self.now_s = 1000.0
        self.gpus = [ModelGpu(GpuIndex(i)) for i in range(gpus)]
        self.tasks: dict[TaskRef, ModelTask] = {}
        self.driver, self.keeper, self.disk = self, ModelKeeper(self), Disk()
        self.boot_id, self.driver_loads = BOOT, 1
        self.effects: list[Effect] = []
        """Everything carried out since the last `take`."""
        self.holds_answers = False
        """Caps are set, but CapsRead is kept back until `answer_caps`."""
        self.kept_answers: list[CapsRead] = []
        self.keeps_freezes = False  # Freeze is asked for and does not happen
        self.keeps_notices = True  # False: its disk is full
        self.privileged, self.launches = set[TaskRef](), list[TaskRef]()
        self.use: dict[GpuIndex, dict[TaskRef, int]] = {}
        """What the driver tells of each attempt's use of shared GPUs."""
        self.host = HostReading(10.0, 1 << 30)
        self.epoch, self.instance, self.incarnation, self.seq = 1, "s1", 0, 0
        self.watch: Callable[[Effect], None] = lambda effect: None  # after each effect
        self._facts = facts
        self._seed = seed
        self.node = self._node()

    # --- the shell ----------------------------------------------------------------------

    def _node(self) -> Node:
        facts = Facts(NodeId("n1"), self._seed, **self._facts)  # type: ignore[arg-type]  # as given
        return Node(facts, self.disk.state, self.disk.usage)

    @property
    def now(self) -> Now:
        """The clocks."""
        return Now(Instant(self.now_s), UnixTime(self.now_s + 1e9))

    def handle(self, *events: Event) -> list[Effect]:
        """Hand events in that came together and carry out all that follows."""
        done: list[Effect] = []
        queue: list[Event] = list(events)
        while queue:
            together, queue = queue, []
            for effect in self.node.handle_all(together, self.now):
                done.append(effect)
                self.effects.append(effect)
                answer = carry_out(effect, self)
                if isinstance(answer, CapsRead) and self.holds_answers:
                    self.kept_answers.append(answer)
                elif answer is not None:
                    queue.append(answer)
                self.watch(effect)
            check_invariants(self.node.state, self.now)
        return done

    def send(self, message: FromAgent) -> None:
        """What is sent is among the effects."""

    def answer_caps(self) -> None:
        """Let the driver's answers through."""
        self.holds_answers = False
        while self.kept_answers:
            self.handle(self.kept_answers.pop(0))

    # --- the driver ---------------------------------------------------------------------

    def apply_caps(self, caps_mw: Mapping[GpuIndex, int]) -> tuple[CapResult, ...]:
        """In the worst order: what goes up first. Watched after each."""
        results = []
        for index in sorted(caps_mw, key=lambda i: self.gpus[i].limit_mw - caps_mw[i]):
            results.append(self._set(index, caps_mw[index]))
            self.watch(self.effects[-1])
        return tuple(results)

    def read_caps(self) -> tuple[CapResult, ...]:
        """What the driver says of all limits."""
        return tuple(self._limits(gpu) for gpu in self.gpus)

    def lock_clocks(self, ceilings_mhz: Mapping[GpuIndex, int]) -> tuple[ClockResult, ...]:
        """Lock or unlock clocks."""
        return tuple(self._lock(index, mhz) for index, mhz in ceilings_mhz.items())

    def foreign(self, gpus: Collection[GpuIndex]) -> dict[GpuIndex, tuple[GpuProcess, ...]]:
        """Processes of GPUs that belong to no task."""
        return {index: self.gpus[index].foreign for index in gpus}

    def _set(self, index: GpuIndex, cap_mw: int) -> CapResult:
        gpu = self.gpus[index]
        if gpu.is_hung or gpu.is_lost:
            return CapResult(index, None, None, "the driver does not answer")
        if gpu.error:
            return CapResult(index, gpu.enforced_mw, gpu.limit_mw, gpu.error)
        assert MIN <= cap_mw <= MAX, f"GPU {index}: a cap of {cap_mw} mW is out of range"
        if not gpu.ignores:
            gpu.limit_mw = cap_mw
        return CapResult(index, gpu.enforced_mw, gpu.limit_mw, is_taken=True)

    def _lock(self, index: GpuIndex, ceiling_mhz: int) -> ClockResult:
        gpu = self.gpus[index]
        if not gpu.error:
            gpu.locked_mhz = ceiling_mhz
        return ClockResult(index, ceiling_mhz, gpu.error)

    def _limits(self, gpu: ModelGpu) -> CapResult:
        if gpu.is_hung or gpu.is_lost:
            return CapResult(gpu.index, None, None, "the driver does not answer")
        return CapResult(gpu.index, gpu.enforced_mw, gpu.limit_mw)

    # --- hardware and processes ---------------------------------------------------------

    def infos(self) -> tuple[DeviceInfo, ...]:
        """What the driver says about the GPUs."""
        return tuple(g.info for g in self.gpus)

    @property
    def driver_instance(self) -> str:
        """Changes with every load of the driver."""
        return f"{self.boot_id}/{self.driver_loads}"

    def _running_on(self, gpu: ModelGpu) -> bool:
        return any(
            gpu.index in t.order.gpus and t.phase != "paused" and not t.group_ended
            for t in self.tasks.values()
        )

    def draw_mw(self, gpu: ModelGpu) -> int:
        """1 s average draw now."""
        wanted_mw = max(IDLE, gpu.foreign_mw)
        if self._running_on(gpu) or self.now_s < gpu.cooling_until_s:
            wanted_mw = max(wanted_mw, gpu.load_mw)
        bound_mw = gpu.enforced_mw * gpu.overshoot_permille // 1000
        return wanted_mw if wanted_mw <= IDLE else min(wanted_mw, bound_mw)

    def allowed_mw(self, gpu: ModelGpu) -> int:
        """Most it may draw with the limit in force and what is on it now."""
        is_busy = self._running_on(gpu) or self.now_s < gpu.cooling_until_s
        return gpu.limit_mw if is_busy else IDLE

    def allowed_wall_mw(self) -> int:
        """Most the node may draw at the wall."""
        return wall(sum(self.allowed_mw(g) for g in self.gpus))

    def cool(self, task: ModelTask) -> None:
        """Its GPUs draw on for as long as their average needs to fall."""
        for gpu in (one for one in self.gpus if one.index in task.order.gpus):
            gpu.cooling_until_s = self.now_s + 1.0

    def end(self, name: TaskRef, kind: str = "exited", *, leftovers: bool = False) -> None:
        """A process group ends."""
        task = self.tasks.get(name)
        if task is None or task.exit is not None:
            return
        self.cool(task)
        task.exit = TaskExit(kind, code=0)  # type: ignore[arg-type]  # tests name valid kinds
        task.phase, task.group_ended, task.ended_s = "ended", not leftovers, self.now_s

    def reading(self, gpu: ModelGpu) -> Reading:
        """One GPU's telemetry."""
        if gpu.is_hung or gpu.is_lost:
            return Stale(gpu.index, self.now_s - 9.0, "the driver does not answer", gpu.is_lost)
        power_mw = self.draw_mw(gpu)
        return FastReading(
            gpu.index,
            self.now_s,
            power_mw,
            enforced_mw=gpu.enforced_mw,
            host_limit_mw=gpu.limit_mw,
            util_pct=gpu.util_at(power_mw),
            energy_mj=gpu.energy_mj,
            power_throttle_ns=gpu.throttle_ns,
        )

    def seen(self) -> TasksSeen:
        """What the keeper knows."""
        return TasksSeen(
            tuple(
                TaskSeen(
                    order=task.order,
                    phase=task.phase,  # type: ignore[arg-type]  # a TaskPhase by construction
                    pid=100,
                    run_s=(task.ended_s if task.exit else self.now_s) - task.started_s,
                    exit=task.exit,
                    group_ended=task.group_ended,
                    notice=task.notice,
                    has_task_lease=task.has_task_lease,
                )
                for task in self.tasks.values()
            )
        )

    # --- time ---------------------------------------------------------------------------

    def boot(self) -> list[Effect]:
        """The agent starts."""
        return self.handle(
            Started(
                self.boot_id,
                self.driver_instance,
                self.infos(),
                self.read_caps(),
                self.seen().tasks,
            )
        )

    def crash(self) -> None:
        """The agent dies; driver, tasks and disk stay. `boot` starts it again."""
        self._seed += b"'"
        self.kept_answers.clear()
        self.holds_answers = False
        self.node = self._node()

    def reload_driver(self) -> None:
        """The driver is unloaded and loaded again."""
        self.driver_loads += 1
        for gpu in self.gpus:
            gpu.limit_mw, gpu.energy_mj, gpu.throttle_ns, gpu.locked_mhz = MAX, 0, 0, 0
        if self.node.state.is_started:
            self.handle(DriverReloaded(self.driver_instance, self.infos()))

    def sample(self) -> list[Effect]:
        """One round of the shell's loop."""
        done = self.handle(self.seen())
        done += self.handle(HostRead(self.host))
        readings = tuple(self.reading(g) for g in self.gpus)
        foreign = self.foreign(self.node.managed_gpus)
        return done + self.handle(Sampled(readings, self.use, foreign))

    def pass_s(self, seconds: float, *, answered: bool = True) -> list[Effect]:
        """Let time pass in rounds of a second; beats are answered, or not."""
        done: list[Effect] = []
        end_s = self.now_s + seconds
        while self.now_s < end_s - 1e-6:
            step_s = min(1.0, end_s - self.now_s)
            self.now_s += step_s
            for gpu in self.gpus:
                gpu.energy_mj += round(self.draw_mw(gpu) * step_s)
            done += self.handle(TimePassed())
            round_done = self.sample()
            done += round_done
            for beat in messages_of(round_done, Beat):
                if answered:
                    done += self.say(BeatSeen(beat.epoch, beat.incarnation, beat.seq))
        return done

    # --- the scheduler ------------------------------------------------------------------

    def say(self, message: ToAgent) -> list[Effect]:
        """The scheduler says something."""
        return self.handle(SchedulerMessage(message))

    def welcome(self, hello: Hello, **changes: object) -> Welcome:
        """The Welcome for a Hello; issues the next incarnation."""
        self.incarnation += 1
        fields = {
            "protocol": 1,
            "epoch": Epoch(self.epoch),
            "instance": self.instance,
            "incarnation": Incarnation(self.incarnation),
            "nonce": hello.nonce,
            **WELCOME,
        }
        return Welcome(**{**fields, **changes})  # type: ignore[arg-type]  # built by name for brevity

    def join(self, **terms: object) -> list[Effect]:
        """Boot if needed, connect, and be welcomed."""
        done: list[Effect] = []
        if not self.node.state.is_started:
            done += self.boot()
        done += self.handle(Connected())
        (hello,) = messages_of(done, Hello)[-1:]
        return done + self.say(self.welcome(hello, **terms))

    def ready(self, **terms: object) -> None:
        """Joined, every GPU confirmed idle, idle draw learned and reported."""
        self.join(**terms)
        self.pass_s(12)
        hello = messages_of(self.effects, Hello)[-1]
        if self.node.state.session.greeting is not None:
            self.say(self.welcome(hello, **terms))
        self.pass_s(1)
        self.effects.clear()

    def next_seq(self) -> Sequence:
        """A sequence never used before."""
        self.seq += 1
        return Sequence(self.seq)

    def lease_message(self, lease_mw: int, *caps_mw: int, seq: int | None = None) -> Lease:
        """A lease of this incarnation."""
        number = self.next_seq() if seq is None else Sequence(seq)
        caps_mw = caps_mw or (MAX,) * len(self.gpus)
        return Lease(Epoch(self.epoch), Incarnation(self.incarnation), number, lease_mw, caps_mw)

    def lease(self, lease_mw: int, *caps_mw: int, seq: int | None = None) -> list[Effect]:
        """The scheduler leases."""
        return self.say(self.lease_message(lease_mw, *caps_mw, seq=seq))

    def _names(self) -> tuple[Epoch, Incarnation, Sequence]:
        return Epoch(self.epoch), Incarnation(self.incarnation), self.next_seq()

    def start_message(self, name: TaskRef, *gpus: int, **changes: object) -> StartTask:
        """A StartTask of this incarnation."""
        return StartTask(*self._names(), order(name, *gpus, **changes))

    def start(self, name: TaskRef, *gpus: int, **changes: object) -> list[Effect]:
        """The scheduler starts an attempt."""
        return self.say(self.start_message(name, *gpus, **changes))

    def stop(self, name: TaskRef) -> list[Effect]:
        """The scheduler stops an attempt."""
        return self.say(StopTask(*self._names(), name, 30.0, "cancelled by ada"))

    def pause(self, name: TaskRef, kill_after_s: float = 5.0) -> list[Effect]:
        """The scheduler pauses an attempt."""
        return self.say(PauseTask(*self._names(), name, kill_after_s, "feed b lost"))

    def resume(self, name: TaskRef) -> list[Effect]:
        """The scheduler resumes an attempt."""
        return self.say(ResumeTask(*self._names(), name))

    def limit(self, name: TaskRef, runtime_limit_s: float) -> list[Effect]:
        """The scheduler changes an attempt's run time limit."""
        return self.say(LimitTask(*self._names(), name, runtime_limit_s))

    def notify(self, name: TaskRef, notice: Notice | None, in_s: float = 0.0) -> list[Effect]:
        """The scheduler knows of an interruption, or of none any more."""
        return self.say(NotifyTask(*self._names(), name, notice, in_s))

    def lease_task(self, name: TaskRef) -> list[Effect]:
        """The scheduler has isolation end the attempt."""
        return self.say(LeaseTask(*self._names(), name))

    def forget(self, name: TaskRef) -> list[Effect]:
        """The scheduler has the end on disk."""
        return self.say(ForgetTask(*self._names(), name))

    def run(self, name: TaskRef, *gpus: int, **changes: object) -> None:
        """A lease for everything, and an attempt that runs."""
        self.lease(wall(len(self.gpus) * MAX))
        self.start(name, *gpus, **changes)
        self.handle(self.seen())
        assert self.tasks[name].phase == "running"
        self.effects.clear()

    @property
    def lease_in_force_mw(self) -> int | None:
        """As on disk."""
        on_disk = self.disk.state
        return on_disk.lease.lease_mw if on_disk is not None and on_disk.lease else None
