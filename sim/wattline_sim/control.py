"""Faults and surroundings of a running simulated node, as one-line calls on its folder.

Each call writes knobs into the state file; the driver library and the physics process act on
them at once. Raises StateFileError where there is no node, ControlError on a value that makes no
sense.
"""

from collections.abc import Sequence
from pathlib import Path

import pynvml

from wattline_sim import mig, state
from wattline_sim.nodedir import NodeDir, node_dir
from wattline_sim.profiles import UnknownNameError
from wattline_sim.state import ANY_CLASS, ANY_GPU, CallClass
from wattline_sim.statefile import DriverWriter, open_state

LATENCY_MAX_US = 60_000_000
_XID_FELL_OFF_BUS = 79
_XID_DOUBLE_BIT = 48
_INLET_RANGE_C = (-20.0, 80.0)


class ControlError(ValueError):
    """A knob was given a value it cannot take; the message says which it can."""


class _Live:
    """A node folder opened for one control call."""

    def __init__(self, directory: Path | str) -> None:
        self.node: NodeDir = node_dir(Path(directory))
        self.state = open_state(self.node.state_file)

    def gpu(self, index: int) -> state.Gpu:
        count = self.state.header.gpu_count
        if not 0 <= index < count:
            raise ControlError(f"no GPU {index}: this node has 0 to {count - 1}")
        found: state.Gpu = self.state.gpus[index]
        return found

    def chosen(self, gpu: int | None) -> list[state.Gpu]:
        """That GPU, or all of them."""
        indexes = range(self.state.header.gpu_count) if gpu is None else (gpu,)
        return [self.gpu(index) for index in indexes]

    @property
    def writer(self) -> DriverWriter:
        return DriverWriter(self.node.library)


def lose_gpu(directory: Path | str, gpu: int, *, code: int = pynvml.NVML_ERROR_GPU_IS_LOST) -> None:
    """Every call on this GPU fails with ``code`` from now on, and XID 79 is pushed. It draws on
    under its last limit: what cannot be reached cannot be capped."""
    live = _Live(directory)
    live.gpu(gpu).faults.lost_return = code
    live.writer.push_event(live.state, gpu, pynvml.nvmlEventTypeXidCriticalError, _XID_FELL_OFF_BUS)


def partition(directory: Path | str, gpu: int, profiles: Sequence[str] | None) -> None:
    """Turn MIG mode on with instances of these profiles (maybe none), or off with None."""
    live = _Live(directory)
    try:
        mig.partition(live.gpu(gpu), live.node.spec().gpu_model, profiles)
    except (mig.MigError, UnknownNameError) as error:
        raise ControlError(str(error)) from error


def push_xid(directory: Path | str, gpu: int, xid: int) -> None:
    """Push an XID event of this GPU to every client that waits for one."""
    live = _Live(directory)
    live.gpu(gpu)
    live.writer.push_event(live.state, gpu, pynvml.nvmlEventTypeXidCriticalError, xid)


def hang(directory: Path | str, gpu: int) -> None:
    """Calls on this GPU sleep until ``release``."""
    live = _Live(directory)
    live.writer.set_hang(live.gpu(gpu), hangs=True)


def release(directory: Path | str, gpu: int | None = None) -> None:
    """Heal one GPU, or all with everything node-wide: no hang, loss, latency, brake, BMC cap,
    forced code or refused permission. Error counters stay, as on hardware."""
    live = _Live(directory)
    for chosen in live.chosen(gpu):
        faults = chosen.faults
        faults.lost_return = faults.oob_limit_mw = faults.power_brake = faults.recovery_action = 0
        faults.last_writer_wins = 0
        for call_class in CallClass:
            faults.latency_us[call_class] = 0
        live.writer.set_hang(chosen, hangs=False)
    if gpu is None:
        live.state.header.no_permission = live.state.header.forced_count = 0


def latency(
    directory: Path | str, call_class: CallClass, microseconds: int, *, gpu: int | None = None
) -> None:
    """Every call of this class takes that long, on one GPU or on all."""
    if not 0 <= microseconds <= LATENCY_MAX_US:
        raise ControlError(f"latency {microseconds} µs: use 0 to {LATENCY_MAX_US}")
    for chosen in _Live(directory).chosen(gpu):
        chosen.faults.latency_us[call_class] = microseconds


def force_return(
    directory: Path | str, what: str | CallClass, code: int, *, gpu: int | None = None
) -> None:
    """A function (by its C name) or a class of calls fails with ``code`` until ``release``."""
    live = _Live(directory)
    if gpu is not None:
        live.gpu(gpu)
    header = live.state.header
    count = header.forced_count
    if count >= state.FORCED_MAX:
        raise ControlError(f"at most {state.FORCED_MAX} forced codes at once; release some first")
    rule = header.forced[count]
    rule.symbol = b"" if isinstance(what, CallClass) else what.encode()
    rule.call_class = what if isinstance(what, CallClass) else ANY_CLASS
    rule.gpu = ANY_GPU if gpu is None else gpu
    rule.code = code
    header.forced_count = count + 1  # last, so that readers never see a half-written rule


def no_permission(directory: Path | str, *, denied: bool = True) -> None:
    """Setters fail with NO_PERMISSION, as for a client that is not root."""
    _Live(directory).state.header.no_permission = int(denied)


def set_inlet(directory: Path | str, celsius: float) -> None:
    """The temperature of the air that enters the node."""
    low, high = _INLET_RANGE_C
    if not low <= celsius <= high:
        raise ControlError(f"inlet of {celsius} °C: use {low} to {high}")
    _Live(directory).state.header.inlet_mc = round(celsius * 1000)


def oob_cap(
    directory: Path | str, gpu: int, watts: float | None, *, last_writer_wins: bool = False
) -> None:
    """The BMC caps this GPU (None: it no longer does). Enforced becomes the lower of both caps;
    ``last_writer_wins``: until the host sets a limit, which then is the one in force."""
    live = _Live(directory)
    card = live.gpu(gpu)
    low, high = card.identity.limit_min_mw, card.identity.limit_max_mw
    limit_mw = 0 if watts is None else round(watts * 1000)
    if watts is not None and not low <= limit_mw <= high:
        raise ControlError(f"BMC cap of {watts} W: this card takes {low // 1000}-{high // 1000} W")
    card.faults.last_writer_wins = int(last_writer_wins)
    card.faults.oob_limit_mw = limit_mw


def power_brake(directory: Path | str, gpu: int | None = None, *, engaged: bool = True) -> None:
    """The power supply pulls the brake: clocks are halved, on one GPU or on all."""
    for chosen in _Live(directory).chosen(gpu):
        chosen.faults.power_brake = int(engaged)


def ecc(directory: Path | str, gpu: int, *, corrected: int = 0, uncorrected: int = 0) -> None:
    """Count that many memory errors; uncorrected ones also push XID 48 and the ECC event."""
    if corrected < 0 or uncorrected < 0:
        raise ControlError("error counts cannot be negative")
    live = _Live(directory)
    health = live.gpu(gpu).health
    health.corrected_volatile += corrected
    health.corrected_aggregate += corrected
    health.uncorrected_volatile += uncorrected
    health.uncorrected_aggregate += uncorrected
    if uncorrected:
        push = live.writer.push_event
        push(live.state, gpu, pynvml.nvmlEventTypeDoubleBitEccError, uncorrected)
        push(live.state, gpu, pynvml.nvmlEventTypeXidCriticalError, _XID_DOUBLE_BIT)


def remap_rows(
    directory: Path | str,
    gpu: int,
    *,
    corrected: int = 0,
    uncorrected: int = 0,
    pending: bool = False,
    failed: bool = False,
) -> None:
    """Set what the row remapper of this GPU reports."""
    health = _Live(directory).gpu(gpu).health
    health.rows_corrected, health.rows_uncorrected = corrected, uncorrected
    health.rows_pending, health.rows_failed = int(pending), int(failed)


def pcie_replays(directory: Path | str, gpu: int, total: int) -> None:
    """Set the PCIe replay counter of this GPU."""
    _Live(directory).gpu(gpu).health.pcie_replays = total


def reload_driver(directory: Path | str, *, gpus: int | None = None) -> None:
    """The driver was unloaded and loaded again: limits back to default, no locked clocks, no
    persistence, counters since load at zero, a new module under ``sysfs/module/nvidia``. Open
    clients go on with their handles, as after a GPU reset; their event sets stay silent. ``gpus``:
    so many, of those that the node was made with, are listed from now on."""
    live = _Live(directory)
    if gpus is not None:
        made = live.node.spec().gpus
        if not 0 < gpus <= made:
            raise ControlError(f"{gpus} GPUs: this node was made with {made}")
        live.state.header.gpu_count = gpus
    for gpu in live.chosen(None):
        gpu.setpoints.limit_mw = gpu.identity.limit_default_mw
        gpu.setpoints.locked_min_mhz = gpu.setpoints.locked_max_mhz = 0
        gpu.setpoints.persistence = gpu.setpoints.compute_mode = 0
        gpu.setpoints.generation += 1
        gpu.health.corrected_volatile = gpu.health.uncorrected_volatile = 0
    live.state.header.driver_instance += 1


def driver_loaded(directory: Path | str, *, loaded: bool) -> None:
    """While not loaded every call fails with DRIVER_NOT_LOADED."""
    _Live(directory).state.header.driver_loaded = int(loaded)


def heartbeat_ns(directory: Path | str) -> int:
    """The time of the last physics step on CLOCK_MONOTONIC; 0 if none was ever taken."""
    beat: int = _Live(directory).state.header.heartbeat_ns
    return beat
