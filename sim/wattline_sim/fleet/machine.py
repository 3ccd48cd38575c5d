"""A host below the agent: driver, GPUs, processes and disk. Survives the agent's crashes."""

import functools
from collections.abc import Callable, Collection, Mapping

import msgspec

from wattline_agent.core.ports import (
    CapResult,
    DeviceInfo,
    FastReading,
    LaunchContext,
    Reading,
    Stale,
    TaskSeen,
    held_below,
    to_write,
)
from wattline_protocol.ids import GpuIndex, NodeId, TaskRef, UnixTime
from wattline_protocol.job.spec import WHOLE_GPU
from wattline_protocol.wire.agent_messages import SW_POWER_CAP, ExitKind, TaskExit
from wattline_protocol.wire.gpu_process import GpuProcess
from wattline_protocol.wire.task_order import Notice, TaskOrder
from wattline_sim.fleet.hardware import (
    CAP_MAX_MW,
    CAP_MIN_MW,
    IDLE_MW,
    SAVED,
    SIM_EXIT,
    Gpu,
    Process,
    info_of,
    process_of,
    unread_info,
    uuid_of,
)
from wattline_sim.fleet.world import HostClock, World
from wattline_sim.shells.agent_effects import Disk, Driver, Keeper

__all__ = ["CAP_MAX_MW", "CAP_MIN_MW", "IDLE_MW", "Gpu", "Machine", "Process"]

SETTLE_S = 1.0
"""A GPU's 1 s average needs this long to fall to idle when its load ends."""
FREEZE_S = 0.05
RELOAD_S = 2.0
"""Unloading and loading the driver; nothing answers meanwhile."""
NO_DEVICE_S = 0.05
"""A program ends so soon when it does not find the device that it was given."""


class BmcUndone(AssertionError):
    """A write lifted a limit that was seen to be a BMC's; where the last writer wins it is gone."""


class Machine(Driver, Keeper):
    """Driver, processes and disk of one node; `AgentShell` is what runs on it."""

    def __init__(self, world: World, node: NodeId, gpus: int) -> None:
        self.world = world
        self.node = node
        self.clock = HostClock(world)
        self.gpus = {GpuIndex(i): Gpu(GpuIndex(i)) for i in range(gpus)}
        self.processes: dict[TaskRef, Process] = {}
        self.disk = Disk()
        self.boots, self.takes_recovery = 1, True
        self.names_silent = True
        """A GPU that does not answer has its name all the same."""
        self.driver_loads = 1
        self.is_up = True
        self.is_disk_full = False
        self.starts = 0
        """Processes ever started."""
        self.on_launch: Callable[[TaskRef], None] = lambda _: None  # of each that is started
        self.on_kill: Callable[[TaskRef, ExitKind], None] = lambda _, __: None
        self.on_boot: Callable[[], None] = lambda: None
        """Called before anything runs again."""

    # --- driver -------------------------------------------------------------------------

    @property
    def boot_id(self) -> str:
        """As the kernel says."""
        return f"{self.node}-boot-{self.boots}"

    @property
    def driver_instance(self) -> str:
        """Changes when the driver is loaded again."""
        return f"{self.boot_id}-driver-{self.driver_loads}"

    def infos(self, known: Collection[GpuIndex] = ()) -> tuple[DeviceInfo, ...]:
        """What an agent lists of each GPU. `known`: those that its process has read before."""
        return tuple(
            info_of(self.node, gpu)
            if self.names_silent or gpu.index in known or not self._why_silent(gpu)
            else unread_info(gpu, self._why_silent(gpu))
            for gpu in self.gpus.values()
        )

    def set_cap(self, index: GpuIndex, cap_mw: int) -> CapResult:
        """Set a limit, if this GPU answers and lets us."""
        gpu = self.gpus[index]
        if self._why_silent(gpu):
            return CapResult(index, None, None, self._why_silent(gpu))
        if not gpu.is_settable:
            return CapResult(index, gpu.enforced_mw, gpu.limit_mw, "no permission")
        before = CapResult(index, gpu.enforced_mw, gpu.limit_mw)
        cap_mw = min(max(to_write(before, cap_mw), CAP_MIN_MW), CAP_MAX_MW)
        held_mw = held_below(gpu.enforced_mw, gpu.limit_mw)
        if cap_mw > gpu.bmc_mw and (held_mw is not None or cap_mw > self._ceiling_mw(gpu)):
            raise BmcUndone(
                f"a write of {cap_mw} mW to GPU {index} of {self.node} undid a BMC's {gpu.bmc_mw}"
            )
        gpu.limit_mw = gpu.own_mw = cap_mw
        return CapResult(index, gpu.enforced_mw, gpu.limit_mw, held_mw=held_mw, is_taken=True)

    def _ceiling_mw(self, gpu: Gpu) -> int:
        """What the agent has on disk of a BMC's limit. One that was lowered below the agent's own
        since then cannot be seen: the driver shows the lowest limit only."""
        on_disk = self.disk.state.ceiling_mw if self.disk.state is not None else {}
        return on_disk.get(uuid_of(self.node, gpu.index), CAP_MAX_MW)

    def apply_caps(self, caps_mw: Mapping[GpuIndex, int]) -> tuple[CapResult, ...]:
        """Set limits in order."""
        return tuple(self.set_cap(index, cap_mw) for index, cap_mw in caps_mw.items())

    def read_caps(self) -> tuple[CapResult, ...]:
        """Read all limits."""
        return tuple(self._read_cap(gpu) for gpu in self.gpus.values())

    def _read_cap(self, gpu: Gpu) -> CapResult:
        if self._why_silent(gpu):
            return CapResult(gpu.index, None, None, self._why_silent(gpu))
        return CapResult(gpu.index, gpu.enforced_mw, gpu.limit_mw)

    def raise_limit(self, gpu: Gpu) -> bool:
        """Some process other than the agent sets the highest limit, if the driver lets it."""
        if not self.is_up or self._why_silent(gpu) or not gpu.is_settable:
            return False
        gpu.limit_mw = CAP_MAX_MW
        return True

    def floor_caps(self) -> None:
        """Every GPU at its minimum: what a start does before it trusts anything."""
        for index in self.gpus:
            self.set_cap(index, CAP_MIN_MW)

    def _why_silent(self, gpu: Gpu) -> str:
        if gpu.is_lost:
            return "the GPU is lost"
        is_hung = gpu.hung_until_s > self.world.now_s
        return "the driver does not answer" if is_hung else ""

    def lose(self, gpu: Gpu) -> None:
        """A GPU falls off the bus; what runs on it dies of it, sooner or later."""
        gpu.is_lost = True
        for process in self.living():
            if gpu.index in process.order.gpus:
                dies = functools.partial(self._end, process, "exited", 1)
                self.world.after(self.world.rng.uniform(0.0, 5.0), dies)

    def bring_back(self, gpu: Gpu) -> None:
        """It answers again after a reset, which takes its limit away, and longer than its average
        needs to fall.
        """
        has_process = any(gpu.index in p.order.gpus for p in self.living())
        if gpu.is_lost and (has_process or self.draws_mw()[gpu.index] > IDLE_MW):
            self.world.after(1.0, lambda: self.bring_back(gpu))
        elif gpu.is_lost:
            gpu.is_lost = False
            gpu.limit_mw = gpu.own_mw = CAP_MAX_MW

    def foreign(self, gpus: Collection[GpuIndex]) -> dict[GpuIndex, tuple[GpuProcess, ...]]:
        """As an agent finds them, on those that answer."""
        answering = [self.gpus[i] for i in sorted(gpus) if not self._why_silent(self.gpus[i])]
        found = (GpuProcess(4711, "python", "ada"),)
        return {gpu.index: () if gpu.foreign_mw is None else found for gpu in answering}

    def cool_foreign(self, gpu: Gpu) -> None:
        """What a foreign process draws changes, or it ends: its average follows a while later."""
        gpu.last_load_mw = self.loads_mw().get(gpu.index, IDLE_MW)
        gpu.busy_until_s = gpu.foreign_until_s = self.world.now_s

    def is_answering(self, gpu: Gpu) -> bool:
        """Whether the driver says anything of it."""
        return not self._why_silent(gpu)

    def living(self) -> list[Process]:
        """Those that have not ended."""
        return [p for p in self.processes.values() if p.exit is None]

    def read(self, index: GpuIndex) -> Reading:
        """One GPU's telemetry."""
        gpu, mono_s = self.gpus[index], self.clock.now.mono_s
        if self._why_silent(gpu):
            return Stale(index, mono_s - 1.0, self._why_silent(gpu), is_lost=gpu.is_lost)
        load_mw = self.loads_mw().get(index)
        power_mw = self._draw_mw(gpu, load_mw)
        gpu.energy_mj += power_mw * (self.world.now_s - gpu.read_s)
        gpu.read_s = self.world.now_s
        capped = load_mw is not None and load_mw > gpu.enforced_mw
        return FastReading(
            index=index,
            mono_s=mono_s,
            power_mw=power_mw,
            enforced_mw=gpu.enforced_mw,
            host_limit_mw=gpu.limit_mw,
            temp_c=40,
            util_pct=None if gpu.mig is not None else 100 if power_mw > IDLE_MW else 0,
            reasons=SW_POWER_CAP if capped else 0,
            energy_mj=int(gpu.energy_mj),
            power_throttle_ns=0,
        )

    def reload_driver(self) -> None:
        """Unload and load the driver: takes a while, and fails once a process holds a GPU."""
        if self.is_loaded():
            return
        for gpu in self.gpus.values():
            gpu.hung_until_s = self.world.now_s + RELOAD_S
        boot = self.boots

        def loaded() -> None:
            if self.boots == boot and self.is_up and not self.is_loaded():
                self.driver_loads += 1
                for gpu in self.gpus.values():
                    gpu.limit_mw = gpu.own_mw = CAP_MAX_MW
                    gpu.is_lost = False

        self.world.after(RELOAD_S, loaded)

    def is_loaded(self) -> bool:
        """Some GPU draws more than idle, or did a moment ago, or a foreign process has it."""
        has_foreign = any(gpu.foreign_mw is not None for gpu in self.gpus.values())
        return has_foreign or any(draw_mw > IDLE_MW for draw_mw in self.draws_mw().values())

    # --- truth --------------------------------------------------------------------------

    def loads_mw(self) -> dict[GpuIndex, int]:
        """What its processes would draw uncapped, for each GPU that any of them loads."""
        loads: dict[GpuIndex, int] = {}
        for process in self.processes.values():
            if process.is_running:
                for index in process.order.gpus:
                    load_mw = loads.get(index, IDLE_MW)
                    if process.order.mig:
                        part_mw = (process.demand_mw - IDLE_MW) * self._part(process, index)
                        loads[index] = load_mw + part_mw // WHOLE_GPU
                    else:
                        loads[index] = max(load_mw, process.demand_mw)
        for index, gpu in self.gpus.items():
            if gpu.foreign_mw is not None:
                loads[index] = max(loads.get(index, IDLE_MW), gpu.foreign_mw)
        return loads

    def given(self) -> dict[GpuIndex, int]:
        """Thousandths of each GPU that living processes were given."""
        given: dict[GpuIndex, int] = {}
        for process in self.living():
            for index in process.order.gpus:
                given[index] = given.get(index, 0) + self._part(process, index)
        return given

    def _part(self, process: Process, index: GpuIndex) -> int:
        """Thousandths of the GPU that the process has; nothing with a MIG device that is gone."""
        mig, divided = process.order.mig, self.gpus[index].mig or ()
        if not mig:
            return process.order.gpu_share_permille
        return next((one.share_permille for one in divided if one.uuid == mig), 0)

    def devices_in_use(self, gpu: Gpu) -> list[str]:
        """MIG devices of the GPU that living processes have, as often as they are had."""
        return [p.order.mig for p in self.living() if p.order.mig and gpu.index in p.order.gpus]

    def profile_of(self, ref: TaskRef) -> str | None:
        """Of the MIG device of a process, empty for GPUs; None = it is not here, or its device is
        not.
        """
        process = self.processes.get(ref)
        if process is None or not process.order.mig:
            return None if process is None else ""
        here = (one for index in process.order.gpus for one in self.gpus[index].mig or ())
        return next((one.profile for one in here if one.uuid == process.order.mig), None)

    def undivided(self, gpu: Gpu) -> list[TaskRef]:
        """Living processes that were given the GPU itself, or a share of it."""
        return [p.order.ref for p in self.living() if not p.order.mig and gpu.index in p.order.gpus]

    def draws_mw(self) -> dict[GpuIndex, int]:
        """1 s average draw of each GPU now."""
        loads = self.loads_mw()
        return {index: self._draw_mw(gpu, loads.get(index)) for index, gpu in self.gpus.items()}

    def _draw_mw(self, gpu: Gpu, load_mw: int | None) -> int:
        if not self.is_up:
            return 0
        if load_mw is None and self.world.now_s - gpu.busy_until_s < SETTLE_S:
            load_mw = gpu.last_load_mw
        return IDLE_MW if load_mw is None else min(load_mw, gpu.enforced_mw)

    def allowed_mw(
        self,
        is_reserve: Callable[[Gpu], bool] = lambda _: False,
        excused: Collection[GpuIndex] = (),
    ) -> int:
        """Most the GPUs may draw together under the limits in force, by what runs on them.
        `is_reserve`: what foreign processes draw on this one is covered by a reserve. `excused`:
        GPUs of which a limit that others have raised counts as before.
        """
        draws = self.draws_mw()
        tasks = {i for p in self.living() if p.is_running for i in p.order.gpus}
        return sum(
            IDLE_MW
            if gpu.index not in tasks and is_reserve(gpu)
            else min(gpu.enforced_mw, gpu.own_mw if gpu.index in excused else gpu.enforced_mw)
            if draws[gpu.index] > IDLE_MW or gpu.foreign_mw is not None
            else IDLE_MW
            for gpu in self.gpus.values()
        )

    # --- processes ----------------------------------------------------------------------

    def launch(self, order: TaskOrder, context: LaunchContext) -> None:
        """Start a process; a second launch of the same attempt does nothing."""
        if order.ref in self.processes:
            return
        process = self.processes[order.ref] = process_of(order, context, self.world.now_s)
        self.starts += 1
        self.on_launch(order.ref)
        self._plan_end(process)
        self._watch_lease(process)
        if order.mig and not any(self._part(process, index) for index in order.gpus):
            self.world.after(NO_DEVICE_S, functools.partial(self._end, process, "exited", 1))

    def stop(self, ref: TaskRef, grace_s: float, why: str, kind: ExitKind | None = None) -> None:
        """SIGTERM now, SIGKILL after the grace; how soon it obeys is random."""
        del why
        process = self.processes.get(ref)
        if process is None or process.exit is not None or process.stop_at_s is not None:
            return
        obeys_s = self.world.rng.choice([0.0, 0.1, grace_s / 2, grace_s])
        process.stop_at_s = self.world.now_s + obeys_s
        self.world.after(obeys_s, lambda: self._end(process, kind or "signaled", 15))

    def freeze(self, ref: TaskRef) -> None:
        """Stop it where it is, soon."""
        process = self.processes.get(ref)
        if process is not None and process.is_running:
            self.world.after(FREEZE_S, lambda: self._freeze(process))

    def thaw(self, ref: TaskRef) -> None:
        """Let it run on."""
        process = self.processes.get(ref)
        if process is not None and process.exit is None and process.is_frozen:
            process.is_frozen, process.notice = False, None
            process.resumed_s = self.world.now_s
            self._plan_end(process)

    def prolong(self, by_s: float) -> None:
        """What it runs takes so much longer than it was to."""
        for process in self.living():
            process.left_s += by_s
            if process.is_running:
                self._count_run(process)
                self._plan_end(process)

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
            self.on_kill(ref, kind)
            self._end(process, kind, 9)

    def privileged(self) -> frozenset[TaskRef]:
        """Living processes that may set caps."""
        return frozenset(p.order.ref for p in self.living() if p.is_privileged)

    def drop(self, ref: TaskRef) -> None:
        """Forget an ended one."""
        process = self.processes.get(ref)
        if process is not None and process.exit is not None:
            del self.processes[ref]

    def grant_lease(self, ref: TaskRef, until_mono_s: float) -> None:
        """From now on isolation ends it."""
        process = self.processes.get(ref)
        if process is not None and process.exit is None and process.lease_until_mono_s is None:
            process.lease_until_mono_s = until_mono_s
            self._watch_lease(process)

    def renew(self, until_mono_s: float) -> None:
        """Extend the task lease of those that stop on isolation; never shorten."""
        for process in self.processes.values():
            if process.lease_until_mono_s is not None:
                process.lease_until_mono_s = max(process.lease_until_mono_s, until_mono_s)

    def seen(self) -> tuple[TaskSeen, ...]:
        """What keeper and disk know."""
        return tuple(self._seen(p) for p in self.processes.values())

    def wipe_disk(self) -> None:
        """The agent's state is gone, as after a new installation."""
        self.disk = Disk()

    def reboot(self) -> None:
        """Everything volatile is gone: processes, limits; the disk stays."""
        for process in list(self.processes.values()):
            self._end(process, "keeper_lost", 9)
        self.boots += 1
        self.clock = HostClock(self.world)
        for gpu in self.gpus.values():
            gpu.limit_mw = gpu.own_mw = CAP_MAX_MW
            gpu.hung_until_s, gpu.is_lost = 0.0, False
            gpu.busy_until_s, gpu.foreign_mw = -1e9, None
        self.on_boot()

    def _seen(self, process: Process) -> TaskSeen:
        end_s = process.ended_s if process.exit else self.world.now_s
        run_s = process.ran_s + (0.0 if process.is_frozen else end_s - process.resumed_s)
        return TaskSeen(
            order=process.order,
            phase=process.phase,
            pid=1000 + process.order.ref.task,
            started_unix_s=UnixTime(self.clock.now.unix_s - (self.world.now_s - process.started_s)),
            run_s=run_s,
            checkpoint=SAVED if run_s >= process.saves_after_s else None,
            exit=process.exit,
            group_ended=process.exit is not None,
            notice=process.notice,
            has_task_lease=process.lease_until_mono_s is not None,
        )

    def _plan_end(self, process: Process) -> None:
        process.work += 1
        plan = process.work

        def done() -> None:
            if process.work == plan and process.is_running:
                self._end(process, "exited", int(process.order.env.get(SIM_EXIT, "0")))

        self.world.after(process.left_s, done)

    def _freeze(self, process: Process) -> None:
        if process.is_running:
            self._cool(process)
            self._count_run(process)
            process.is_frozen = True
            process.work += 1

    def _count_run(self, process: Process) -> None:
        ran_s = self.world.now_s - process.resumed_s
        process.left_s -= ran_s
        process.ran_s += ran_s
        process.resumed_s = self.world.now_s

    def _cool(self, process: Process) -> None:
        loads = self.loads_mw()
        for index in process.order.gpus:
            gpu = self.gpus[index]
            gpu.last_load_mw, gpu.busy_until_s = loads[index], self.world.now_s

    def _end(self, process: Process, kind: ExitKind, code: int) -> None:
        if process.exit is not None:
            return
        if process.is_running:
            self._cool(process)
        process.ended_s = self.world.now_s
        process.exit = TaskExit(
            kind=kind,
            code=code if kind == "exited" else None,
            signal=None if kind == "exited" else code,
            detail=f"{kind} {code}",
            ended_unix_s=self.clock.now.unix_s,
        )

    def _watch_lease(self, process: Process) -> None:
        def look() -> None:
            if process.exit is not None or process.lease_until_mono_s is None:
                return
            if self.clock.now.mono_s >= process.lease_until_mono_s:
                self._end(process, "task_lease_expired", 9)
            else:
                self.world.after(0.5, look)

        if process.lease_until_mono_s is not None:
            self.world.after(0.5, look)
