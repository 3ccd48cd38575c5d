"""One node's keeper: starts, freezes and ends simulated tasks on the plant's GPUs.

The agent's core orders it through the same `TaskRunner` calls as the real keeper.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from wattline_agent.core.ports import LaunchContext, TaskSeen
from wattline_protocol.ids import TaskRef, UnixTime
from wattline_protocol.wire.agent_messages import ExitKind, TaskExit, TaskPhase
from wattline_protocol.wire.task_order import Notice, TaskOrder
from wattline_protocol.wire.task_reports.rank_steps import RankSteps
from wattline_sim.facility.context import Ground
from wattline_sim.facility.plant.catalogue import WORKLOADS
from wattline_sim.facility.works import ENDLESS_S, WorkKey
from wattline_sim.fleet.world import HostClock
from wattline_sim.shells.agent_effects import Keeper

FREEZE_S = 0.05
OBEY_S = 1.0
"""A simulated task that is asked to stop saves its checkpoint and ends after this long."""
WORKLOAD, WORK_S = "FACILITY_WORKLOAD", "FACILITY_WORK_S"
GANG_NODES, PRIORITY = "FACILITY_NODES", "FACILITY_PRIORITY"
SEED = "FACILITY_SEED"
"""What a simulated task does, in its job's environment."""


@dataclass(slots=True)
class Process:
    """One task's process group."""

    order: TaskOrder
    gpus: list[int]
    """Flat numbers in the plant."""
    work: WorkKey
    started_s: float
    lease_until_mono_s: float | None
    is_frozen: bool = False
    is_stopping: bool = False
    exit: TaskExit | None = None
    notice: Notice | None = None
    ended_s: float = 0.0


class SimKeeper(Keeper):
    """Tasks of one node."""

    def __init__(self, ground: Ground, clock: HostClock, first_gpu: int) -> None:
        self._world, self._plant, self._works = ground.world, ground.plant, ground.works
        self._clock = clock
        self._first_gpu = first_gpu
        self.processes: dict[TaskRef, Process] = {}
        self.has_news = True
        """Something changed since `observe`."""
        self.ranks_of: Callable[[Sequence[int]], tuple[RankSteps, ...]] = lambda _: ()
        """What the ranks on GPUs, by their flat numbers, report of their steps."""

    # --- what the agent orders (TaskRunner) -----------------------------------------------

    def launch(self, order: TaskOrder, context: LaunchContext) -> None:
        """Load the GPUs with what the job's environment names."""
        if order.ref in self.processes:
            return
        env = order.env
        nodes = int(env.get(GANG_NODES, "1"))
        gpus = [self._first_gpu + index for index in order.gpus]
        work = (order.ref.job, order.ref.task // nodes)
        self.processes[order.ref] = Process(
            order=order,
            gpus=gpus,
            work=work,
            started_s=self._world.now_s,
            lease_until_mono_s=context.lease_until_mono_s,
        )
        self._plant.load(gpus, WORKLOADS[env[WORKLOAD]], int(env[SEED]), gang=work)
        self._works.take(
            work,
            gpus,
            wanted=nodes * len(gpus),
            work_s=float(env.get(WORK_S, ENDLESS_S)),
            priority=int(env[PRIORITY]),
        )
        self.has_news = True

    def stop(self, ref: TaskRef, grace_s: float, why: str, kind: ExitKind | None = None) -> None:
        """SIGTERM: it saves and ends soon, within its grace."""
        del why
        process = self.processes.get(ref)
        if process is None or process.exit is not None or process.is_stopping:
            return
        process.is_stopping = self.has_news = True
        self._world.after(min(OBEY_S, grace_s), lambda: self._end(process, kind or "signaled", 15))

    def freeze(self, ref: TaskRef) -> None:
        """All its processes, a moment later."""
        process = self.processes.get(ref)
        if process is not None:
            self._world.after(FREEZE_S, lambda: self._freeze(process))

    def thaw(self, ref: TaskRef) -> None:
        """Runs on."""
        process = self.processes.get(ref)
        if process is not None and process.exit is None and process.is_frozen:
            process.is_frozen, process.notice = False, None
            self.has_news = True
            self._plant.thaw(process.gpus)

    def notify(self, ref: TaskRef, notice: Notice | None) -> None:
        """It reads none."""
        if ref in self.processes:
            self.processes[ref].notice = notice

    def limit(self, ref: TaskRef, runtime_limit_s: float) -> None:
        """The limit that a restarted agent reads."""
        process = self.processes.get(ref)
        if process is not None:
            process.order = msgspec.structs.replace(process.order, runtime_limit_s=runtime_limit_s)

    def kill(self, ref: TaskRef, kind: ExitKind, why: str) -> None:
        """SIGKILL."""
        del why
        process = self.processes.get(ref)
        if process is not None:
            self._end(process, kind, 9)

    def drop(self, ref: TaskRef) -> None:
        """Forget an ended one."""
        process = self.processes.get(ref)
        if process is not None and process.exit is not None:
            del self.processes[ref]
            self.has_news = True

    def grant_lease(self, ref: TaskRef, until_mono_s: float) -> None:
        """Unless it has one."""
        process = self.processes.get(ref)
        if process is not None and process.lease_until_mono_s is None:
            process.lease_until_mono_s = until_mono_s

    def renew(self, until_mono_s: float) -> None:
        """Extend task leases; never shorten."""
        for process in self.processes.values():
            if process.lease_until_mono_s is not None:
                process.lease_until_mono_s = max(process.lease_until_mono_s, until_mono_s)

    def observe(self) -> tuple[TaskSeen, ...]:
        """All attempts not dropped."""
        self.has_news = False
        return tuple(self._seen(process) for process in self.processes.values())

    # --- what happens by itself ------------------------------------------------------------

    def look(self) -> None:
        """Each second: end what is finished or whose task lease has run out."""
        for process in self.processes.values():
            if process.exit is not None:
                continue
            if self._works.is_done(process.work):
                self._end(process, "exited", 0)
            elif (
                process.lease_until_mono_s is not None
                and self._clock.now.mono_s >= process.lease_until_mono_s
            ):
                self._end(process, "task_lease_expired", 9)

    def lose_power(self) -> None:
        """The host went dark: everything that ran is gone; the disk remembers that it did."""
        for process in self.processes.values():
            self._end(process, "keeper_lost", 9)

    def boot(self, clock: HostClock) -> None:
        """The host is up again, with a new clock."""
        self._clock = clock

    def _freeze(self, process: Process) -> None:
        if process.exit is None and not process.is_frozen:
            process.is_frozen = self.has_news = True
            self._plant.freeze(process.gpus)

    def _end(self, process: Process, kind: ExitKind, code: int) -> None:
        if process.exit is not None:
            return
        self._plant.unload(process.gpus)
        self._works.leave(process.gpus)
        process.ended_s = self._world.now_s
        self.has_news = True
        is_exit = kind == "exited"
        process.exit = TaskExit(
            kind=kind,
            code=code if is_exit else None,
            signal=None if is_exit else code,
            detail=f"{kind} {code}",
            ended_unix_s=self._clock.now.unix_s,
        )

    def _seen(self, process: Process) -> TaskSeen:
        end_s = process.ended_s if process.exit else self._world.now_s
        run_s = end_s - process.started_s
        phase: TaskPhase = "paused" if process.is_frozen else "running"
        if process.exit is not None:
            phase = "ended"
        elif process.is_stopping:
            phase = "stopping"
        return TaskSeen(
            order=process.order,
            phase=phase,
            pid=1000 + process.order.ref.task,
            started_unix_s=UnixTime(self._clock.now.unix_s - run_s),
            run_s=run_s,
            exit=process.exit,
            group_ended=process.exit is not None,
            notice=process.notice,
            ranks=self.ranks_of(process.gpus) if phase == "running" else (),
        )
