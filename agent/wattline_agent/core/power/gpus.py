"""State of one GPU in the core: limits, draw, idleness and learned values.

Theory of idleness (I2). A GPU counts its idle watts only while no running task is on it and its 1 s
average has been at or below its idle bound for `IDLE_CONFIRM_S`, sample after sample. Once
confirmed, it stays idle over a gap without samples, in which this process stood still and so
started nothing, if the first sample after the gap is at idle too. The bound is initially a share of
the maximum cap, so that nothing is ever under-counted; observing the GPU without load lowers it
once, and later only raises it.
"""

from collections import deque
from dataclasses import dataclass, field, replace

from wattline_agent.core.durable import GpuCounters
from wattline_agent.core.ports import (
    ROUNDING_MW,
    CapResult,
    DeviceInfo,
    FastReading,
    Reading,
    Stale,
    held_below,
)
from wattline_agent.core.power.capper import overshoot_of
from wattline_protocol.ids import GpuIndex, TaskRef
from wattline_protocol.site.wall_power import PERMILLE, gpu_bound_mw
from wattline_protocol.text.wording import power_text
from wattline_protocol.wire.agent_messages import SW_POWER_CAP
from wattline_protocol.wire.gpu_process import GpuProcess

IDLE_CONFIRM_S = 3.0
"""Time at idle draw before it counts as idle (I2): longer than the lag of the 1 s average."""
READING_GAP_S = 2.5
"""Readings further apart prove nothing about the time between: settling starts over."""
IDLE_CEILING_DIVISOR = 4
"""No data-centre GPU on sale idles above a quarter of its maximum cap."""
LEARN_SETTLE_S = 5.0
LEARN_S = 10.0
LEARN_MARGIN_PERMILLE = 1250
LEARN_MARGIN_MW = 5000
"""Wide enough that a monitoring tool that wakes the GPU does not look like foreign load."""
LEARN_FLOOR_S = 60.0
"""A higher draw of an empty GPU is learned only if it has been flat for this long."""
FLAT_PERMILLE = 1100
SCANNED_S = 10.0
"""An older process list is not current."""
MEAN_LEAST_S = 0.9
"""Energy over a shorter time is no 1 s average."""
INSTANTS = 10
"""Number of instantaneous draws, a second apart, whose mean replaces an average."""
CAP_SETTLE_S = 3.0
"""How long a limit must have been in force before an average above it is significant."""
INEFFECTIVE_PERMILLE = 1300
"""A 1 s average this far above the cap is no overshoot: the cap has no effect."""
MOST_DRAW_PERMILLE = 2000
"""Of its maximum cap. No GPU draws more for a second: a driver that reports it (all bits set, a
counter that jumped) has measured nothing."""
COUNTER_LAG_S = 1.0
"""Energy counters may be updated so much later."""
UNREAD_LOST_S = 5.0
"""A GPU without a reading for this long is unhealthy: no task is started on it."""


@dataclass(frozen=True, slots=True)
class Step:
    """Changes on a GPU between two readings."""

    seconds: float
    energy_mj: int
    cap_bound_s: float
    util: float
    """0..1, of the later reading."""
    cap_mw: int | None = None
    """In force at the later reading; None = unknown."""


@dataclass(slots=True)
class Raised:
    """Its cap was raised externally again and again and limits nothing; see `raised_caps`."""

    since_s: float
    last_s: float
    """When it was last found raised."""
    set_mw: int
    """The cap this agent had set."""
    limit_mw: int
    """The highest limit found."""
    times: int
    is_judged: bool = False
    """The tasks that could have raised it were determined."""
    culprits: tuple[TaskRef, ...] = ()
    """Tasks on it that could have raised it; they are frozen and killed."""
    elsewhere: tuple[TaskRef, ...] = ()
    """Tasks on other GPUs of the host that could have raised it."""
    cleared_s: float | None = None
    """When no process of the culprits was left."""


MAX_RAISES = 2


@dataclass(slots=True)
class Gpu:
    """Mutable record of one GPU; only the functions of `core` change it."""

    info: DeviceInfo
    is_managed: bool
    learned_idle_mw: int | None = None
    enforced_mw: int | None = None
    host_limit_mw: int | None = None
    asked_mw: int | None = None
    """The cap this agent requested last; None = none yet."""
    set_to_mw: int | None = None
    """Host limit read back after that: differs where the driver rounds."""
    ceiling_mw: int | None = None
    """Limit that a BMC enforced below the host's: no cap above it is set, because on hosts where
    the last writer wins that would lift it. Valid until a higher limit is seen in force."""
    limit_since_s: float = 0.0
    """Since when the limit has been the same."""
    checked_s: float = 0.0
    """When the driver was last queried for the limit that it reported last, or failed to report."""
    fault: str = ""
    """Why its limit cannot be trusted; empty = the requested one is in force."""
    faulty_since_s: float = 0.0
    retry_at_s: float = 0.0
    is_ineffective: bool = False
    reading: FastReading | None = None
    stale: Stale | None = None
    free_since_s: float = 0.0
    """Since when no task of ours has loaded it."""
    idle_since_s: float | None = None
    is_idle: bool = False
    is_presumed_idle: bool = False
    """At a restart: idle according to the lease on file, until a sample shows otherwise."""
    quiet_since_s: float | None = None
    quiet_max_mw: int = 0
    quiet_min_mw: int = 0
    mean_mw: int | None = None
    """Mean draw over the last second or more; None = the newest reading gives none."""
    instants_mw: deque[int] = field(default_factory=lambda: deque(maxlen=INSTANTS))
    """Newest draws of a card that reports neither averages nor energy."""
    counters: GpuCounters | None = None
    cap_bound_s: float = 0.0
    """Since the last beat."""
    locked_mhz: int = 0
    """Locked ceiling of its SM clock; 0 = none, below 0 = unknown (see `clocks`)."""
    clock_fault: str = ""
    """Why its clocks could not be locked; empty = no error."""
    clock_retry_s: float = 0.0
    foreign: tuple[GpuProcess, ...] = ()
    """Processes on it that belong to no attempt, largest memory first; see `foreign_processes`."""
    foreign_seen_s: float = 0.0
    """When one was last detected."""
    scanned_s: float = 0.0
    """When the driver was last queried for its processes, even if that failed."""
    raised_at: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_RAISES))
    """When its limit was last found raised externally."""
    raised_mw: int = 0
    """The limit found last time; 0 = never raised."""
    raised: Raised | None = None
    """Raised externally again and again: its limit does not count."""

    @property
    def subject(self) -> str:
        """Its name as the subject of a condition."""
        return f"GPU {self.info.index}"

    @property
    def index(self) -> GpuIndex:
        """Its index."""
        return self.info.index

    @property
    def idle_ceiling_mw(self) -> int:
        """Highest draw that counts as idle, unless the GPU was long observed empty at more: with
        power smoothing (Blackwell) an empty GPU draws a floor."""
        return min(self.info.cap_min_mw, self.info.cap_max_mw // IDLE_CEILING_DIVISOR)

    @property
    def most_draw_mw(self) -> int:
        """Above any draw that is possible."""
        return self.info.cap_max_mw * MOST_DRAW_PERMILLE // PERMILLE

    @property
    def idle_bound_mw(self) -> int:
        """Upper bound of its idle draw."""
        if self.learned_idle_mw is None:
            return self.idle_ceiling_mw
        return min(self.learned_idle_mw, self.info.cap_max_mw)

    @property
    def limit_mw(self) -> int:
        """Largest limit that may be in force: a BMC may lift its own, so the host's counts too."""
        known = [mw for mw in (self.enforced_mw, self.host_limit_mw) if mw is not None]
        if self.enforced_mw is None:
            return self.info.cap_max_mw
        return min(max(known), self.info.cap_max_mw)

    @property
    def can_hold(self) -> bool:
        """Its limit is settable by this agent, and the limit read back is the one requested."""
        known = self.can_set and not self.fault and self.enforced_mw is not None
        return known and self.raised is None

    @property
    def may_idle(self) -> bool:
        """It counts its idle watts while idle: nothing foreign can make it leave idle uncapped."""
        return self.is_managed and self.raised is None

    @property
    def can_set(self) -> bool:
        """Setting a cap is worth trying."""
        return self.is_managed and self.info.can_cap and not self.is_ineffective

    @property
    def is_lost(self) -> bool:
        """The driver reports that it is lost."""
        return self.stale is not None and self.stale.is_lost

    def is_healthy(self, now_s: float) -> bool:
        """Fit for a task. One that did not say its UUID when the devices were listed is not, until
        they are listed again: it may be in MIG mode."""
        if not self.info.uuid:
            return False
        return self.stale is None or (
            not self.stale.is_lost and now_s - self.stale.since_mono_s < UNREAD_LOST_S
        )


def begin_use(gpu: Gpu) -> None:
    """A task is about to run on it: its idleness is no longer valid."""
    gpu.idle_since_s = None
    gpu.is_idle = False
    gpu.is_presumed_idle = False


def take_set(gpu: Gpu, result: CapResult, now_s: float) -> None:
    """Record limits read back after a set, or why they cannot be trusted."""
    _take(gpu, result, now_s)
    gpu.set_to_mw = gpu.host_limit_mw
    if result.error:
        set_fault(gpu, f"its cap cannot be set: {result.error}", now_s)
    elif result.enforced_mw is None:
        set_fault(gpu, "its limit cannot be read back", now_s)
    elif gpu.asked_mw is not None and gpu.limit_mw > gpu.asked_mw:
        asked, limit = power_text(gpu.asked_mw), power_text(gpu.limit_mw)
        set_fault(gpu, f"its limit is {limit} though {asked} was set", now_s)
    else:
        set_fault(gpu, "", now_s)


def take_read(gpu: Gpu, result: CapResult, now_s: float) -> None:
    """Record limits that were only read: these clear no fault."""
    _take(gpu, result, now_s)
    if result.error or result.enforced_mw is None:
        set_fault(gpu, f"its limit cannot be read: {result.error or 'not supported'}", now_s)


def _take(gpu: Gpu, result: CapResult, now_s: float) -> None:
    if result.held_mw is not None:
        gpu.ceiling_mw = result.held_mw
    if result.enforced_mw is None:
        return
    _watch_ceiling(gpu, result.enforced_mw, result.host_limit_mw)
    if result.enforced_mw != gpu.enforced_mw:
        gpu.limit_since_s = now_s
    gpu.enforced_mw, gpu.host_limit_mw = result.enforced_mw, result.host_limit_mw


def set_fault(gpu: Gpu, fault: str, now_s: float) -> None:
    """Record since when the limit cannot be trusted."""
    if fault and not gpu.fault:
        gpu.faulty_since_s = now_s
    gpu.fault = fault


def is_at(gpu: Gpu, cap_mw: int) -> bool:
    """`cap_mw` was set and the host limit is unchanged since (or happens to be equal)."""
    if gpu.fault or gpu.enforced_mw is None:
        return False
    if gpu.host_limit_mw == cap_mw:
        return True
    return gpu.asked_mw == cap_mw and gpu.host_limit_mw == gpu.set_to_mw


def take_reading(gpu: Gpu, reading: Reading, has_task: bool) -> Step | None:
    """Record one sample; returns the step since the last one, if any."""
    if isinstance(reading, Stale):
        gpu.stale, gpu.reading, gpu.mean_mw = reading, None, None
        gpu.instants_mw.clear()
        begin_use(gpu)
        return None
    reading = _possible(gpu, reading)
    _watch_limit(gpu, reading)
    if has_task:
        gpu.free_since_s = reading.mono_s
    _watch_idle(gpu, reading, has_task)
    gpu.mean_mw = _mean_mw(gpu, reading)
    step = _step(gpu, reading)
    gpu.stale, gpu.reading = None, reading
    gpu.counters = GpuCounters(reading.mono_s, reading.energy_mj, reading.power_throttle_ns)
    if step is not None:
        gpu.cap_bound_s += step.cap_bound_s
    return step


def _possible(gpu: Gpu, reading: FastReading) -> FastReading:
    """The reading, without a draw that is impossible."""
    if reading.power_mw is None or 0 <= reading.power_mw <= gpu.most_draw_mw:
        return reading
    return replace(reading, power_mw=None)


def _watch_limit(gpu: Gpu, reading: FastReading) -> None:
    """Detect an external change of the limit since it was read back."""
    if reading.enforced_mw is None:
        return
    if reading.enforced_mw != gpu.enforced_mw:
        gpu.limit_since_s = reading.mono_s
    _watch_ceiling(gpu, reading.enforced_mw, reading.host_limit_mw)
    gpu.enforced_mw, gpu.host_limit_mw = reading.enforced_mw, reading.host_limit_mw


def _watch_ceiling(gpu: Gpu, enforced_mw: int, host_limit_mw: int | None) -> None:
    """A limit in force that is not the host's is a BMC's; one above it shows that it was lifted, by
    the BMC or by an operator (`nvidia-smi -pl`), because this agent sets none."""
    held_mw = held_below(enforced_mw, host_limit_mw)
    if held_mw is not None:
        gpu.ceiling_mw = held_mw
    elif gpu.ceiling_mw is not None and enforced_mw > gpu.ceiling_mw + ROUNDING_MW:
        gpu.ceiling_mw = None


def within_ceiling(gpu: Gpu, cap_mw: int) -> int:
    """The cap to request in place of `cap_mw`: at most the BMC's limit, at least the minimum cap. A
    host limit above it that `cap_mw` allows stays: it shows when the BMC lifts its own.
    """
    if gpu.ceiling_mw is None:
        return cap_mw
    is_held = held_below(gpu.enforced_mw, gpu.host_limit_mw) is not None
    if is_held and gpu.host_limit_mw is not None and gpu.ceiling_mw <= gpu.host_limit_mw <= cap_mw:
        return gpu.host_limit_mw
    return below_ceiling(gpu, cap_mw)


def below_ceiling(gpu: Gpu, cap_mw: int) -> int:
    """As `within_ceiling`, for a write that may follow another one: the host limit may be lower by
    then, and a write of the known one would lift the BMC's."""
    if gpu.ceiling_mw is None:
        return cap_mw
    return max(min(cap_mw, gpu.ceiling_mw // 1000 * 1000), gpu.info.cap_min_mw)


def _watch_idle(gpu: Gpu, reading: FastReading, has_task: bool) -> None:
    last_s = gpu.reading.mono_s if gpu.reading is not None else None
    is_gap = last_s is None or reading.mono_s - last_s > READING_GAP_S
    at_idle = reading.power_mw is not None and reading.power_mw <= gpu.idle_bound_mw
    if has_task or not at_idle:
        begin_use(gpu)
        return
    if gpu.idle_since_s is None or (is_gap and not gpu.is_idle):
        gpu.idle_since_s = reading.mono_s
    gpu.is_idle = reading.mono_s - gpu.idle_since_s >= IDLE_CONFIRM_S
    if gpu.is_idle:
        gpu.is_presumed_idle = False


def _step(gpu: Gpu, reading: FastReading) -> Step | None:
    before = gpu.counters
    if before is None or reading.mono_s <= before.mono_s:
        return None
    seconds = reading.mono_s - before.mono_s
    energy_mj = _energy_mj(gpu, before, reading)
    if energy_mj is None:
        energy_mj = round((reading.power_mw or 0) * seconds)
    bound_ns = _grown(before.power_throttle_ns, reading.power_throttle_ns)
    if bound_ns is None:
        bound_s = seconds if reading.reasons & SW_POWER_CAP else 0.0
    else:
        bound_s = min(bound_ns / 1e9, seconds)
    util = min(reading.util_pct or 0, 100) / 100
    return Step(seconds, energy_mj, bound_s, util, reading.enforced_mw)


def _mean_mw(gpu: Gpu, reading: FastReading) -> int | None:
    """Mean draw: the card's own 1 s average, else the growth of its energy counter, else the mean
    of several instantaneous draws. A single one is not used: a spike is no overshoot."""
    if reading.is_average:
        return reading.power_mw
    before = gpu.counters
    if before is not None and reading.mono_s - before.mono_s >= MEAN_LEAST_S:
        energy_mj = _energy_mj(gpu, before, reading)
        if energy_mj is not None:
            return round(energy_mj / (reading.mono_s - before.mono_s))
    if reading.energy_mj is not None or reading.power_mw is None:
        return None
    gpu.instants_mw.append(reading.power_mw)
    is_enough = len(gpu.instants_mw) == INSTANTS
    return sum(gpu.instants_mw) // INSTANTS if is_enough else None


def _energy_mj(gpu: Gpu, before: GpuCounters, reading: FastReading) -> int | None:
    """Energy since the counters before; None also where more than possible was counted."""
    energy_mj = _grown(before.energy_mj, reading.energy_mj)
    longest_s = reading.mono_s - before.mono_s + COUNTER_LAG_S
    is_possible = energy_mj is not None and energy_mj <= gpu.most_draw_mw * longest_s
    return energy_mj if is_possible else None


def _grown(before: int | None, after: int | None) -> int | None:
    """Growth of a counter; None where it is not supported or was reset."""
    if before is None or after is None or after < before:
        return None
    return after - before


def learn_idle(gpu: Gpu, has_task: bool) -> bool:
    """Learn from a GPU without load; True when its idle bound changed.

    In MIG mode the driver measures no utilisation: then it learns while the GPU has no task.
    """
    reading = gpu.reading
    power_mw = reading.power_mw if reading is not None else None
    if reading is None or power_mw is None or not _is_quiet(gpu, reading, power_mw, has_task):
        gpu.quiet_since_s = None
        return False
    if gpu.quiet_since_s is None:
        gpu.quiet_since_s, gpu.quiet_max_mw, gpu.quiet_min_mw = reading.mono_s, 0, power_mw
    quiet_s = reading.mono_s - gpu.quiet_since_s
    if quiet_s >= LEARN_SETTLE_S:
        gpu.quiet_max_mw = max(gpu.quiet_max_mw, power_mw)
        gpu.quiet_min_mw = min(gpu.quiet_min_mw, power_mw)
    has_floor = gpu.quiet_max_mw > gpu.idle_ceiling_mw
    if has_floor and gpu.quiet_max_mw > gpu_bound_mw(gpu.quiet_min_mw, FLAT_PERMILLE):
        gpu.quiet_since_s = None
        return False
    is_long = quiet_s >= (LEARN_FLOOR_S if has_floor else LEARN_S)
    if not is_long or (has_task and gpu.learned_idle_mw is None):
        return False
    return _raise_idle(gpu, gpu.info.cap_max_mw if has_floor else gpu.idle_ceiling_mw)


def _is_quiet(gpu: Gpu, reading: FastReading, power_mw: int, has_task: bool) -> bool:
    is_used = has_task if reading.util_pct is None else reading.util_pct > 0
    if is_used:
        return False
    return power_mw <= gpu.idle_ceiling_mw or _is_empty(gpu, reading, has_task)


def _is_empty(gpu: Gpu, reading: FastReading, has_task: bool) -> bool:
    """It has no process, according to a recent list, and computes nothing."""
    is_scanned = 0 <= reading.mono_s - gpu.scanned_s <= SCANNED_S
    return is_scanned and not has_task and not gpu.foreign and reading.util_pct == 0


def _raise_idle(gpu: Gpu, most_mw: int) -> bool:
    seen_mw = gpu_bound_mw(gpu.quiet_max_mw, LEARN_MARGIN_PERMILLE) + LEARN_MARGIN_MW
    whole_mw = min(-(-seen_mw // 1000) * 1000, most_mw)
    if gpu.learned_idle_mw is not None and whole_mw <= gpu.learned_idle_mw:
        return False
    # The margin keeps ordinary noise from raising the bound again and again.
    if gpu.learned_idle_mw is not None and gpu.quiet_max_mw <= gpu.learned_idle_mw:
        return False
    gpu.learned_idle_mw = whole_mw
    return True


def overshoot_seen(gpu: Gpu) -> int:
    """Mean over a second as permille of its limit; 0 where that is not significant."""
    reading, mean_mw = gpu.reading, gpu.mean_mw
    if reading is None or mean_mw is None or not gpu.enforced_mw:  # a limit of 0 W is none
        return 0
    settle_s = CAP_SETTLE_S if reading.energy_mj is not None or reading.is_average else INSTANTS
    is_settled = reading.mono_s - gpu.limit_since_s >= settle_s
    if not is_settled or not gpu.can_hold or mean_mw <= gpu.enforced_mw:
        return 0
    seen = overshoot_of(mean_mw, gpu.enforced_mw)
    if seen > INEFFECTIVE_PERMILLE:
        gpu.is_ineffective = True
        return 0
    return max(seen, PERMILLE)
