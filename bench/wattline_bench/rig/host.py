"""A host below a production agent core, in real time: GPUs, processes and a disk in memory.

Its H100s draw what their task wants, as far as the cap lets them; what a task wants changes every
few seconds. The driver answers whatever it is asked, a few milliseconds later (see `fleet`).
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from wattline_agent.core.ports import (
    CapResult,
    DeviceInfo,
    FastReading,
    LaunchContext,
    Reading,
    TaskSeen,
)
from wattline_protocol.ids import GpuIndex, NodeId, TaskRef, UnixTime
from wattline_protocol.wire.agent_messages import SW_POWER_CAP, ExitKind, TaskExit, TaskPhase
from wattline_protocol.wire.task_order import Notice, TaskOrder
from wattline_sim.shells.agent_effects import Driver, Keeper

CAP_MIN_MW, CAP_MAX_MW, IDLE_MW = 200_000, 700_000, 75_000
WANTED_MW = (250_000, 700_000)
"""Minimum and maximum demand of each GPU of a task."""
CHANGE_SHARE = 0.1
"""Chance that a task's demand changes between two samples."""


@dataclass(slots=True)
class _Process:
    order: TaskOrder
    started_s: float
    started_unix_s: UnixTime
    wanted_mw: int
    phase: TaskPhase = "running"
    exit: TaskExit | None = None
    ended_s: float = 0.0
    notice: Notice | None = None


class BenchHost(Driver, Keeper):
    """Driver, keeper and disk of one node."""

    def __init__(self, node: NodeId, gpus: int, random: Random) -> None:
        self.node = node
        self._random = random
        self._limits_mw = [CAP_MAX_MW] * gpus
        self._energy_mj = [0.0] * gpus
        self._throttled_ns = [0] * gpus
        self._sampled_s = 0.0
        self._processes: dict[TaskRef, _Process] = {}

    # --- driver -------------------------------------------------------------------------

    def infos(self) -> tuple[DeviceInfo, ...]:
        """What the driver says about each GPU."""
        return tuple(
            DeviceInfo(
                index=GpuIndex(index),
                uuid=f"GPU-{self.node}-{index}",
                name="NVIDIA H100 80GB HBM3",
                memory_bytes=80 << 30,
                cap_min_mw=CAP_MIN_MW,
                cap_default_mw=CAP_MAX_MW,
                cap_max_mw=CAP_MAX_MW,
                can_cap=True,
            )
            for index in range(len(self._limits_mw))
        )

    def apply_caps(self, caps_mw: Mapping[GpuIndex, int]) -> tuple[CapResult, ...]:
        """Set limits and read them back."""
        for index, cap_mw in caps_mw.items():
            self._limits_mw[index] = min(max(cap_mw, CAP_MIN_MW), CAP_MAX_MW)
        return tuple(self._limit(index) for index in caps_mw)

    def read_caps(self) -> tuple[CapResult, ...]:
        """All limits, nothing set."""
        return tuple(self._limit(GpuIndex(at)) for at in range(len(self._limits_mw)))

    def _limit(self, index: GpuIndex) -> CapResult:
        return CapResult(index, self._limits_mw[index], self._limits_mw[index])

    def sample(self, mono_s: float) -> tuple[Reading, ...]:
        """Fast telemetry of all GPUs."""
        wanted_mw = self._wanted_mw()
        passed_s = mono_s - self._sampled_s if self._sampled_s else 0.0
        self._sampled_s = mono_s
        return tuple(
            self._reading(at, wanted, mono_s, passed_s) for at, wanted in enumerate(wanted_mw)
        )

    def _wanted_mw(self) -> list[int]:
        wanted_mw = [IDLE_MW] * len(self._limits_mw)
        for process in self._processes.values():
            if process.phase != "running":
                continue
            if self._random.random() < CHANGE_SHARE:
                process.wanted_mw = self._random.randrange(*WANTED_MW)
            for index in process.order.gpus:
                wanted_mw[index] = process.wanted_mw
        return wanted_mw

    def _reading(self, at: int, wanted_mw: int, mono_s: float, passed_s: float) -> FastReading:
        limit_mw = self._limits_mw[at]
        power_mw = min(wanted_mw, limit_mw)
        self._energy_mj[at] += power_mw * passed_s
        is_capped = wanted_mw > limit_mw
        self._throttled_ns[at] += int(passed_s * 1e9) if is_capped else 0
        return FastReading(
            index=GpuIndex(at),
            mono_s=mono_s,
            power_mw=power_mw,
            enforced_mw=limit_mw,
            host_limit_mw=limit_mw,
            temp_c=40 + power_mw // 20_000,
            util_pct=100 if power_mw > IDLE_MW else 0,
            sm_clock_mhz=1_980,
            memory_used_bytes=40 << 30,
            reasons=SW_POWER_CAP if is_capped else 0,
            energy_mj=int(self._energy_mj[at]),
            power_throttle_ns=self._throttled_ns[at],
        )

    # --- keeper -------------------------------------------------------------------------

    def launch(self, order: TaskOrder, context: LaunchContext) -> None:
        """Start a process; a second launch of the same attempt does nothing."""
        del context
        wanted_mw = self._random.randrange(*WANTED_MW)
        process = _Process(order, time.monotonic(), UnixTime(time.time()), wanted_mw)
        self._processes.setdefault(order.ref, process)

    def stop(self, ref: TaskRef, grace_s: float, why: str, kind: ExitKind | None = None) -> None:
        """It ends at once."""
        del grace_s
        self.kill(ref, kind or "signaled", why)

    def kill(self, ref: TaskRef, kind: ExitKind, why: str) -> None:
        """It ends at once."""
        del why
        process = self._alive(ref)
        if process is not None:
            process.phase, process.ended_s = "ended", time.monotonic()
            process.exit = TaskExit(kind=kind, signal=15)

    def freeze(self, ref: TaskRef) -> None:
        """Its GPUs are idle until it is thawed."""
        process = self._alive(ref)
        if process is not None:
            process.phase = "paused"

    def thaw(self, ref: TaskRef) -> None:
        """Its GPUs draw as before."""
        process = self._alive(ref)
        if process is not None:
            process.phase, process.notice = "running", None

    def notify(self, ref: TaskRef, notice: Notice | None) -> None:
        """It reads none."""
        process = self._alive(ref)
        if process is not None:
            process.notice = notice

    def limit(self, ref: TaskRef, runtime_limit_s: float) -> None:
        """Only a restarted agent reads it; none restarts here."""

    def grant_lease(self, ref: TaskRef, until_mono_s: float) -> None:
        """No task lease expires here."""

    def renew(self, until_mono_s: float) -> None:
        """No task lease expires here."""

    def _alive(self, ref: TaskRef) -> _Process | None:
        process = self._processes.get(ref)
        return process if process is not None and process.exit is None else None

    def drop(self, ref: TaskRef) -> None:
        """Forget an ended one."""
        self._processes.pop(ref, None)

    def tasks(self, mono_s: float) -> tuple[TaskSeen, ...]:
        """What the keeper knows."""
        return tuple(
            TaskSeen(
                order=process.order,
                phase=process.phase,
                pid=1_000 + process.order.ref.task,
                started_unix_s=process.started_unix_s,
                run_s=(process.ended_s if process.exit else mono_s) - process.started_s,
                exit=process.exit,
                group_ended=process.exit is not None,
                notice=process.notice,
            )
            for process in self._processes.values()
        )
