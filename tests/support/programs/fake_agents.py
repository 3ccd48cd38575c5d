"""Agents at message level: they follow the protocol, and can be made to misbehave.

A fake keeps I2 on its own arithmetic (the same `wall` functions), so a test can compare what all
nodes could truly draw with their budgets.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from support.core.sites import BASE_MW, PSU_PERMILLE, gpu
from wattline_protocol.ids import Epoch, GpuIndex, Incarnation, NodeId, Sequence, TaskRef, UnixTime
from wattline_protocol.job.rank_reports import RankPlace
from wattline_protocol.site.wall_power import cap_within_mw, gpu_bound_mw, wall_mw
from wattline_protocol.wire.agent_messages import (
    PROTOCOL_VERSION,
    Adopted,
    Beat,
    BeatSeen,
    CommandDone,
    CommandOutcome,
    ExitKind,
    Farewell,
    ForgetTask,
    FromAgent,
    GpuInfo,
    GpuSample,
    Hello,
    Lease,
    LeaseAck,
    LeaseRefused,
    LeaseTask,
    LimitTask,
    NotifyTask,
    PauseTask,
    Refused,
    Rehello,
    ResumeTask,
    StartTask,
    StopTask,
    TaskExit,
    TaskPhase,
    TaskReport,
    TaskUpdate,
    TaskUsage,
    ToAgent,
    Welcome,
)
from wattline_protocol.wire.agents.data_messages import HoldData
from wattline_protocol.wire.task_order import Notice, TaskOrder
from wattline_protocol.wire.task_reports.checkpoints import CheckpointTrouble, SavedCheckpoint
from wattline_protocol.wire.task_reports.rank_steps import RankSteps


@dataclass
class FakeTask:
    """An attempt as the fake runs it."""

    order: TaskOrder
    phase: TaskPhase = "running"
    exit: TaskExit | None = None
    has_run: bool = True
    """Whether it has had a program, once its start is over."""
    usage: TaskUsage = field(default_factory=TaskUsage)
    metrics: dict[str, float] = field(default_factory=dict)
    checkpoint: SavedCheckpoint | None = None
    notice: Notice | None = None
    has_task_lease: bool = False
    is_lease_refused: bool = False
    """Its keeper has not granted one yet."""
    progress_marks: int = 0
    places: tuple[RankPlace, ...] = ()
    """Where its ranks say they are, once their stacks are requested."""
    checkpoint_trouble: CheckpointTrouble | None = None
    ranks: tuple[RankSteps, ...] = ()

    def report(self) -> TaskReport:
        return TaskReport(
            ref=self.order.ref,
            phase=self.phase,
            gpus=self.order.gpus,
            pid=4_000 + self.order.ref.task,
            started_unix_s=UnixTime(1.0) if self.has_run and self.phase != "starting" else None,
            usage=self.usage,
            metrics=dict(self.metrics),
            checkpoint=self.checkpoint,
            progress_marks=self.progress_marks,
            checkpoint_trouble=self.checkpoint_trouble,
            ranks=self.ranks,
            exit=self.exit,
            runtime_limit_s=self.order.runtime_limit_s,
            notice=self.notice,
            has_task_lease=self.has_task_lease,
        )


@dataclass
class FakeAgent:
    """One node's agent. `said` collects what it sends; the harness delivers it."""

    node: NodeId
    gpus: list[GpuInfo] = field(default_factory=lambda: [gpu(i) for i in range(8)])
    hostname: str = ""
    said: list[FromAgent] = field(default_factory=list)
    heard: list[ToAgent] = field(default_factory=list)
    """Everything delivered to it, oldest first."""
    tasks: dict[TaskRef, FakeTask] = field(default_factory=dict)
    caps_mw: dict[GpuIndex, int] = field(default_factory=dict)
    epoch: Epoch = Epoch(0)  # noqa: RUF009 - an int at run time
    incarnation: Incarnation = Incarnation(0)  # noqa: RUF009 - an int at run time
    lease_mw: int = 0
    lease_seq: Sequence = Sequence(0)  # noqa: RUF009 - an int at run time
    beat_seq: int = 0
    hellos: int = 0
    is_observe: bool = False
    starts_as: TaskPhase = "running"
    now_s: float = 0.0
    """Its clock; whoever drives it moves it."""
    heard_s: float = 0.0
    """When the newest answered beat (or Hello) was sent."""
    beats_out: dict[int, float] = field(default_factory=dict)
    hello_sent_s: float = 0.0
    can_run_as: bool = False
    address: str = ""
    launchers: tuple[str, ...] = ()
    keeper_account: str = "wattline"
    """Its keeper starts tasks as other accounts of the host."""
    is_member: bool = False
    """This process was welcomed."""
    is_powered: bool = True
    """False: switched off; it draws nothing and says nothing."""
    answer_starts: CommandOutcome = "done"
    is_unstoppable: bool = False
    """Its tasks neither freeze nor die when they are ordered to pause."""
    is_stubborn: bool = False
    """Its tasks hear the stop notice and run on until they end by themselves."""
    wants_mw: int | None = None
    """Uncapped draw of a busy GPU; None: whatever its cap allows, and the cap never binds."""
    wants_of: dict[GpuIndex, int] = field(default_factory=dict)
    """The same of single GPUs."""
    util_pct: int | None = None
    """What it says of every GPU's utilisation."""
    is_slow_to_ack: bool = False
    """Keeps leases to itself until `ack_now`."""
    unacked: list[Lease] = field(default_factory=list)
    """Leases taken and not acknowledged yet."""

    def __post_init__(self) -> None:
        self.caps_mw = {g.index: g.cap_min_mw for g in self.gpus}

    # --- what it says -------------------------------------------------------------------

    def hello(self, **changes: object) -> Hello:
        """A new Hello with a fresh nonce; not sent."""
        self.hellos += 1
        self.hello_sent_s = self.now_s
        hello = Hello(
            protocol=PROTOCOL_VERSION,
            node=self.node,
            nonce=f"{self.node}-{self.hellos}".encode(),
            agent_version="fake",
            boot_id="boot",
            hostname=self.hostname or self.node,
            cpus=64,
            memory_bytes=512 * 2**30,
            gpus=tuple(self.gpus),
            epoch_seen=self.epoch,
            incarnation_seen=self.incarnation,
            observe=self.is_observe,
            can_run_as=self.can_run_as,
            address=self.address,
            launchers=self.launchers,
            keeper_account=self.keeper_account,
            takes_notices=True,
            takes_recovery=True,
        )
        return msgspec.structs.replace(hello, **changes)

    def say_hello(self, **changes: object) -> None:
        self.said.append(self.hello(**changes))

    def beat(self, **changes: object) -> Beat:
        """The next beat; not sent."""
        self.beat_seq += 1
        self.beats_out[self.beat_seq] = self.now_s
        busy = self.busy()
        samples = tuple(self._sample(g, is_busy=g.index in busy) for g in self.gpus)
        beat = Beat(
            epoch=self.epoch,
            incarnation=self.incarnation,
            seq=self.beat_seq,
            lease_seq=self.lease_seq,
            lease_mw=self.lease_mw,
            holding_mw=self.holding_mw(),
            gpus=samples,
            tasks=self.reports(),
        )
        return msgspec.structs.replace(beat, **changes)

    def _sample(self, gpu: GpuInfo, *, is_busy: bool) -> GpuSample:
        cap_mw = self.caps_mw[gpu.index]
        wants_mw = cap_mw if self.wants_mw is None else self.wants_mw
        wants_mw = self.wants_of.get(gpu.index, wants_mw)
        return GpuSample(
            index=gpu.index,
            power_mw=min(wants_mw, cap_mw) if is_busy else gpu.idle_mw,
            cap_mw=cap_mw,
            cap_bound_ms=1000 if is_busy and wants_mw > cap_mw else 0,
            util_pct=self.util_pct,
            is_idle=not is_busy,
        )

    def say_beat(self, **changes: object) -> None:
        """Once a second; a process that was not welcomed yet says Hello instead."""
        if not self.is_powered:
            return
        if self.is_member:
            self.said.append(self.beat(**changes))
        else:
            self.say_hello()

    def say_farewell(self) -> None:
        self.said.append(Farewell(self.epoch, self.incarnation))

    def reports(self) -> tuple[TaskReport, ...]:
        return tuple(task.report() for task in self.tasks.values())

    def busy(self) -> set[GpuIndex]:
        """GPUs with a task that is neither ended nor frozen."""
        live = (t for t in self.tasks.values() if t.phase not in ("ended", "paused"))
        return {index for task in live for index in task.order.gpus}

    def holding_mw(self, more: Iterable[GpuIndex] = ()) -> int:
        """What the caps in force guarantee at the wall (I2), with `more` GPUs busy."""
        if not self.is_powered:
            return 0
        return self._wall_mw(self.caps_mw, self.busy() | set(more))

    def floor_mw(self, more: Iterable[GpuIndex] = ()) -> int:
        """The same at minimum caps."""
        low = {g.index: g.cap_min_mw for g in self.gpus}
        return self._wall_mw(low, self.busy() | set(more))

    def _wall_mw(self, caps_mw: dict[GpuIndex, int], busy: set[GpuIndex]) -> int:
        load_mw = BASE_MW + sum(
            gpu_bound_mw(caps_mw[g.index], g.overshoot_permille) if g.index in busy else g.idle_mw
            for g in self.gpus
        )
        return wall_mw(load_mw, PSU_PERMILLE)

    def kill_what_expired(self, task_lease_s: float) -> None:
        """The keeper ends what may not run on while the node is cut off (I5)."""
        if self.now_s - self.heard_s <= task_lease_s:
            return
        for task in list(self.tasks.values()):
            if task.has_task_lease and task.phase != "ended":
                self.end(task.order.ref, kind="task_lease_expired")

    # --- what happens to its tasks ------------------------------------------------------

    def end(
        self, ref: TaskRef, code: int = 0, kind: ExitKind = "exited", run_s: float = 1.0
    ) -> None:
        """The task's process ends."""
        task = self.tasks[ref]
        task.has_run = task.phase != "starting"
        task.phase = "ended"
        task.usage = TaskUsage(run_s=run_s, gpu_s=run_s * len(task.order.gpus))
        task.exit = TaskExit(kind=kind, code=code if kind == "exited" else None, places=task.places)
        self.tell(task)

    def end_all(self, code: int = 0) -> None:
        for ref, task in list(self.tasks.items()):
            if task.phase != "ended":
                self.end(ref, code)

    def tell(self, task: FakeTask) -> None:
        self.said.append(TaskUpdate(self.epoch, self.incarnation, task.report()))

    def restart(self) -> None:
        """The agent's process is new; its tasks run on, its caps and lease are as they were."""
        self.unacked.clear()
        self.said.clear()
        self.is_member = False
        self.say_hello()

    def switch_off(self) -> None:
        """No power: nothing runs, nothing is said."""
        self.is_powered = False
        self.tasks.clear()
        self.said.clear()

    def switch_on(self) -> None:
        """Boots: caps are at their minimum before anything can use a GPU (I6)."""
        self.is_powered = True
        self.lose_tasks()

    def lose_tasks(self) -> None:
        """The host rebooted: nothing runs."""
        self.tasks.clear()
        self.caps_mw = {g.index: g.cap_min_mw for g in self.gpus}
        self.restart()

    # --- what it receives --------------------------------------------------------------

    def deliver(self, message: ToAgent) -> None:
        """Take one message of the scheduler, as an agent would."""
        if not self.is_powered:
            return
        self.heard.append(message)
        match message:
            case Welcome():
                self._welcomed(message)
            case BeatSeen():
                self.heard_s = max(self.heard_s, self.beats_out.pop(message.seq, 0.0))
            case Rehello():
                if message.epoch >= self.epoch:
                    self.say_hello()
            case Refused():
                pass
            case (
                Lease()
                | StartTask()
                | StopTask()
                | PauseTask()
                | ResumeTask()
                | LimitTask()
                | NotifyTask()
                | LeaseTask()
                | ForgetTask()
                | HoldData()
            ):
                if (message.epoch, message.incarnation) == (self.epoch, self.incarnation):
                    self._obey(message)
            case _:
                pass

    def _welcomed(self, welcome: Welcome) -> None:
        is_newest = welcome.nonce == f"{self.node}-{self.hellos}".encode()
        is_used = welcome.epoch == self.epoch and welcome.incarnation <= self.incarnation
        if not is_newest or is_used:
            return
        self.epoch, self.incarnation = welcome.epoch, welcome.incarnation
        self.is_member = True
        self.heard_s = max(self.heard_s, self.hello_sent_s)
        self.lease_seq, self.lease_mw = Sequence(0), self.holding_mw()
        self.said.append(
            Adopted(
                self.epoch,
                self.incarnation,
                self.holding_mw(),
                tuple(self.caps_mw.values()),
                self.reports(),
            )
        )
        self.say_beat()

    def _obey(self, command: ToAgent) -> None:
        match command:
            case Lease():
                self._lease(command)
            case StartTask():
                self._start(command)
            case StopTask():
                self._stop(command)
            case PauseTask():
                if not self.is_unstoppable:
                    self._set_phase(command.ref, "running", "paused")
                self._done(command.seq)
            case ResumeTask():
                self._resume(command)
            case LimitTask():
                task = self.tasks.get(command.ref)
                if task is not None:
                    limit_s = command.runtime_limit_s
                    task.order = msgspec.structs.replace(task.order, runtime_limit_s=limit_s)
                self._done(command.seq)
            case NotifyTask():
                task = self.tasks.get(command.ref)
                if task is not None:
                    task.notice = command.notice
                self._done(command.seq)
            case LeaseTask():
                if (leased := self.tasks.get(command.ref)) is not None:
                    leased.has_task_lease |= not leased.is_lease_refused
                self._done(command.seq)
            case HoldData():
                self._done(command.seq)
            case ForgetTask():
                self.tasks.pop(command.ref, None)
                self._done(command.seq)

    def _lease(self, lease: Lease) -> None:
        if lease.seq < self.lease_seq:
            return
        if lease.seq > self.lease_seq:
            if not self._can_keep(lease):
                return
            self.lease_seq, self.lease_mw = lease.seq, lease.lease_mw
            self._apply(lease)
        if self.is_slow_to_ack:
            self.unacked.append(lease)
        else:
            self._ack(lease)

    def _can_keep(self, lease: Lease) -> bool:
        """Whether the minimum caps of what runs are within the lease; else it is refused."""
        lowest_mw = self.floor_mw()
        if lowest_mw <= lease.lease_mw:
            return True
        self.caps_mw = {g.index: g.cap_min_mw for g in self.gpus}
        reason = "the minimum caps of running tasks exceed it"
        self.said.append(LeaseRefused(self.epoch, self.incarnation, lease.seq, lowest_mw, reason))
        return False

    def _apply(self, lease: Lease) -> None:
        """Wanted caps where they keep the lease, else every busy GPU the same share."""
        self.caps_mw = {g.index: lease.caps_mw[g.index] for g in self.gpus}
        if self.holding_mw() > self.lease_mw:
            self._share(self.busy())

    def _share(self, busy: set[GpuIndex]) -> None:
        """Every busy GPU gets the same part of the lease."""
        idle_mw = sum(g.idle_mw for g in self.gpus if g.index not in busy)
        load_mw = self.lease_mw * PSU_PERMILLE // 1000 - BASE_MW - idle_mw
        for index in busy:
            cap_mw = cap_within_mw(load_mw // len(busy), self.gpus[index].overshoot_permille)
            self.caps_mw[index] = max(cap_mw, self.gpus[index].cap_min_mw)

    def _ack(self, lease: Lease) -> None:
        caps_mw = tuple(self.caps_mw.values())
        self.said.append(LeaseAck(self.epoch, self.incarnation, lease.seq, lease.lease_mw, caps_mw))

    def ack_now(self) -> None:
        """Acknowledge the newest lease that was kept back."""
        self.is_slow_to_ack = False
        if self.unacked:
            self._ack(max(self.unacked, key=lambda lease: lease.seq))
        self.unacked.clear()

    def _start(self, command: StartTask) -> None:
        order = command.order
        if order.ref not in self.tasks and self.answer_starts == "done":
            if self.floor_mw(order.gpus) > self.lease_mw:
                self._done(command.seq, "not_covered", "its floor is above the lease")
                return
            self._share(self.busy() | set(order.gpus))
            task = FakeTask(order, self.starts_as, has_task_lease=order.on_isolation == "stop")
            self.tasks[order.ref] = task
        self._done(command.seq, self.answer_starts)
        if order.ref in self.tasks:
            self.tell(self.tasks[order.ref])

    def _stop(self, command: StopTask) -> None:
        task = self.tasks.get(command.ref)
        if task is None:
            order = TaskOrder(command.ref, "", "", "batch", (), {}, (), "process")
            end = TaskExit(kind="not_startable", detail="was not running here")
            self.tasks[command.ref] = task = FakeTask(order, "ended", end)
        elif task.phase != "ended":
            if self.is_stubborn:
                self._done(command.seq)
                return
            task.phase = "ended"
            task.exit = TaskExit(kind="signaled", signal=15, places=task.places)
        self._done(command.seq)
        self.tell(task)

    def _set_phase(self, ref: TaskRef, before: TaskPhase, after: TaskPhase) -> None:
        task = self.tasks.get(ref)
        if task is not None and task.phase == before:
            task.phase = after
            self.tell(task)

    def _resume(self, command: ResumeTask) -> None:
        task = self.tasks.get(command.ref)
        if task is not None and task.phase == "paused":
            if self.floor_mw(task.order.gpus) > self.lease_mw:
                self._done(command.seq, "not_covered", "its floor is above the lease")
                return
            self._share(self.busy() | set(task.order.gpus))
        self._set_phase(command.ref, "paused", "running")
        self._done(command.seq)

    def _done(self, seq: Sequence, outcome: CommandOutcome = "done", detail: str = "") -> None:
        self.said.append(CommandDone(self.epoch, self.incarnation, seq, outcome, detail))
