"""One node being simulated: physics between its state file, its truth record and its sysfs tree.

Time comes in from outside as step boundaries, so the same code serves the daemon (wall time) and
tests (virtual time).
"""

import pynvml

from wattline_sim import state
from wattline_sim.holders import Hold
from wattline_sim.host import NodePhysics
from wattline_sim.nodedir import NodeDir, take_lock
from wattline_sim.physics import STEP_NS, WINDOW_STEPS, GpuInput, GpuPhysics, Load, Reason
from wattline_sim.profiles import LoadProfile
from wattline_sim.statefile import DriverWriter, open_state
from wattline_sim.sysfs import SysfsTree
from wattline_sim.truth import TruthSample, TruthWriter

SECOND_NS = 1_000_000_000
_XID_FELL_OFF_BUS = 79


class _Second:
    """Sums over the current second of the monotonic clock."""

    def __init__(self, gpus: int) -> None:
        self.steps = 0
        self.wall_w = 0.0
        self.gpu_mw = [0] * gpus
        self.cap_mw = [0] * gpus
        self.reasons = [0] * gpus

    def sample(self, end_ns: int) -> TruthSample:
        """The averages, as a record ending at ``end_ns``."""
        return TruthSample(
            monotonic_s=end_ns / SECOND_NS,
            wall_w=self.wall_w / self.steps,
            gpu_w=tuple(mw / self.steps / 1000 for mw in self.gpu_mw),
            cap_mw=tuple(self.cap_mw),
            reasons=tuple(self.reasons),
        )


class ServedNode:
    """Owns a node folder for as long as it lives; raises NodeDirError if another process does."""

    def __init__(self, node: NodeDir) -> None:
        self.node = node
        self._lock = take_lock(node)
        spec = node.spec()
        self.model = spec.gpu_model
        self.state = open_state(node.state_file)
        self._gpus = [self.state.gpus[index] for index in range(spec.gpus)]
        self._writer = DriverWriter(node.library)
        self.physics = NodePhysics(self.model, spec.gpus, spec.seed, self._inlet_c())
        for gpu, physics in zip(self._gpus, self.physics.gpus, strict=True):
            _resume(gpu, physics)
        self._truth = TruthWriter(node.truth, spec.gpus)
        self._sysfs = SysfsTree(node.sysfs)
        self._loads: list[Load | None] = [None] * spec.gpus
        self._memory_bytes = [0] * spec.gpus
        self._telemetry = [state.Telemetry() for _ in range(spec.gpus)]
        self._second = _Second(spec.gpus)
        self._driver_instance = self.state.header.driver_instance
        self._steps = 0

    @property
    def uuids(self) -> list[str]:
        """The UUIDs of the GPUs, in order."""
        return [gpu.identity.uuid.decode() for gpu in self._gpus]

    def migs(self) -> dict[str, int]:
        """GPU of each MIG device that there is now."""
        return {
            mig.uuid.decode(): index
            for index, gpu in enumerate(self._gpus)
            for mig in gpu.mig.instances[: gpu.mig.count if gpu.mig.enabled else 0]
        }

    def _inlet_c(self) -> float:
        return float(self.state.header.inlet_mc) / 1000

    def set_load(self, gpu: int, profile: LoadProfile | None) -> None:
        """Load a GPU (None: leave it idle). A profile that already runs goes on in phase."""
        running = self._loads[gpu]
        if profile is None:
            self._loads[gpu] = None
        elif running is None or running.profile is not profile:
            self._loads[gpu] = Load(profile, self._steps)

    def set_holds(self, holds: dict[int, Hold], now_ns: int) -> None:
        """Take over what a scan found: loads, memory in use and process lists, by GPU."""
        for index in range(len(self._gpus)):
            hold = holds.get(index)
            self.set_load(index, hold.profile if hold is not None and hold.is_active else None)
            self._publish_processes(index, hold, now_ns)

    def _publish_processes(self, index: int, hold: Hold | None, now_ns: int) -> None:
        processes = state.ProcessList(sample_ns=now_ns)
        used = 0
        if hold is not None:
            pids = hold.pids[: state.PROCESSES_MAX]
            processes.count = len(pids)
            for slot, pid in enumerate(pids):
                entry = processes.entries[slot]
                entry.pid = pid
                entry.memory_bytes, entry.gpu_instance = self._place(index, hold, pid)
                used += entry.memory_bytes
                if pid in hold.working:
                    entry.sm_percent = hold.profile.gpu_percent // len(hold.working)
        self._memory_bytes[index] = used
        self._writer.publish_processes(self._gpus[index], processes)

    def _place(self, index: int, hold: Hold, pid: int) -> tuple[int, int]:
        """Memory of one process, and the GPU instance that it is in."""
        mig, instance = hold.migs.get(pid, ""), state.NO_INSTANCE
        memory_bytes = self.model.memory_bytes
        for one in self._gpus[index].mig.instances if mig else ():
            if one.uuid.decode() == mig:
                memory_bytes, instance = one.memory_bytes, one.gpu_instance
        sharing = sum(hold.migs.get(other, "") == mig for other in hold.pids)
        return int(memory_bytes * hold.profile.memory_share) // sharing, instance

    def read_inputs(self) -> list[GpuInput]:
        """What clients and fault controls ask for at this moment."""
        return [
            GpuInput(
                limit_mw=state.enforced_limit_mw(gpu),
                load=load,
                locked_max_mhz=gpu.setpoints.locked_max_mhz,
                power_brake=gpu.faults.power_brake != 0,
            )
            for gpu, load in zip(self._gpus, self._loads, strict=True)
        ]

    def advance(self, inputs: list[GpuInput], first_end_ns: int, steps: int) -> None:
        """Take ``steps`` steps under ``inputs``, the first ending at ``first_end_ns``, a multiple
        of the step on CLOCK_MONOTONIC; then publish."""
        self._follow_driver()
        inlet_c = self._inlet_c()
        end_ns = first_end_ns
        for _ in range(steps):
            self.physics.step(inputs, inlet_c)
            self._steps += 1
            self._add_to_second(inputs, end_ns, inlet_c)
            end_ns += STEP_NS
        self._publish(end_ns - STEP_NS)

    def _follow_driver(self) -> None:
        """After a driver reload: counters begin again and the module is a new one."""
        instance = self.state.header.driver_instance
        if instance != self._driver_instance:
            self._driver_instance = instance
            for physics in self.physics.gpus:
                physics.reset_counters()
            self._sysfs.reload_driver_module()

    def _add_to_second(self, inputs: list[GpuInput], end_ns: int, inlet_c: float) -> None:
        second, sample = self._second, self.physics.sample
        second.steps += 1
        second.wall_w += sample.wall_w
        for index, (physics, given) in enumerate(zip(self.physics.gpus, inputs, strict=True)):
            now = physics.state
            second.gpu_mw[index] += now.power_instant_mw
            second.cap_mw[index] = max(second.cap_mw[index], given.limit_mw)
            second.reasons[index] |= now.reasons.value
        if end_ns % SECOND_NS == 0:
            record = second.sample(end_ns)
            if second.steps == WINDOW_STEPS:  # the first, partial second is not a 1 s average
                self._truth.append(record)
            self._sysfs.write_sensors(record.wall_w, inlet_c, sample.fan_duty)
            self._second = _Second(len(self._gpus))

    def _publish(self, now_ns: int) -> None:
        for index, physics in enumerate(self.physics.gpus):
            sample = self._telemetry[index]
            _fill_telemetry(sample, physics, now_ns, self._memory_bytes[index])
            self._writer.publish_telemetry(self._gpus[index], sample)
            if physics.state.has_shut_down and not self._gpus[index].faults.lost_return:
                self._shut_down(index)
        self._sysfs.write_energy(self.physics.sample)
        self.state.header.heartbeat_ns = now_ns

    def _shut_down(self, index: int) -> None:
        """Past its shutdown temperature a card falls off the bus."""
        self._gpus[index].faults.lost_return = pynvml.NVML_ERROR_GPU_IS_LOST
        kind = pynvml.nvmlEventTypeXidCriticalError
        self._writer.push_event(self.state, index, kind, _XID_FELL_OFF_BUS)

    def close(self) -> None:
        """Release the folder; its state stays readable, frozen at the last sample."""
        self._truth.close()
        self._sysfs.close()
        self._lock.close()


def _resume(gpu: state.Gpu, physics: GpuPhysics) -> None:
    """Go on from what clients last saw: counters never run backwards when we are restarted."""
    seen, now = gpu.telemetry, physics.state
    now.energy_uj = seen.energy_mj * 1000
    now.power_capped_ns, now.power_brake_ns = seen.power_capped_ns, seen.power_brake_ns
    now.software_thermal_ns = seen.software_thermal_ns
    now.hardware_thermal_ns = seen.hardware_thermal_ns


def _fill_telemetry(
    sample: state.Telemetry, physics: GpuPhysics, now_ns: int, memory_bytes: int
) -> None:
    now = physics.state
    sample.sample_ns, sample.energy_mj, sample.reasons = now_ns, now.energy_uj // 1000, now.reasons
    sample.power_capped_ns, sample.power_brake_ns = now.power_capped_ns, now.power_brake_ns
    sample.software_thermal_ns = now.software_thermal_ns
    sample.hardware_thermal_ns = now.hardware_thermal_ns
    sample.memory_used_bytes = memory_bytes
    sample.power_instant_mw, sample.power_average_mw = now.power_instant_mw, now.power_average_mw
    sample.gpu_c, sample.memory_c = round(now.gpu_c), round(now.memory_c)
    sample.sm_mhz, sample.mem_mhz = now.sm_mhz, now.mem_mhz
    sample.gpu_percent, sample.memory_percent = now.gpu_percent, now.memory_percent
    sample.pstate = 0 if Reason.IDLE not in now.reasons or physics.model.has_memory_sensor else 8
    sample.pcie_tx_kib_s = now.pcie_kib_s // 3
    sample.pcie_rx_kib_s = now.pcie_kib_s
