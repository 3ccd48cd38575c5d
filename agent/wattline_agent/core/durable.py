"""What an agent keeps on disk: its lease and fences, what it learned, what tasks have used."""

from typing import Literal

import msgspec

from wattline_protocol.ids import Epoch, Incarnation, Sequence, TaskRef
from wattline_protocol.wire.agent_messages import TaskUsage


class LeaseOnFile(msgspec.Struct, frozen=True):
    """The newest lease in force, or what was adopted (`seq` 0)."""

    epoch: Epoch
    incarnation: Incarnation
    seq: Sequence
    lease_mw: int
    wanted_mw: tuple[int, ...]
    """Wanted cap per GPU, by index."""


class TermsOnFile(msgspec.Struct, frozen=True):
    """What the last Welcome said; holds while the scheduler is away."""

    beat_period_s: float
    isolation_after_s: float
    isolation: Literal["keep", "floor"]
    task_lease_s: float
    non_gpu_worst_mw: int
    psu_efficiency_permille: int
    checkpoint_root: str = ""
    pass_env: tuple[str, ...] = ()
    may_be_root: bool = False


class AgentState(msgspec.Struct, frozen=True):
    """`agent.state`: replaced whole, synced before whatever it promises."""

    boot_id: str = ""
    driver_instance: str = ""
    epoch: Epoch = Epoch(0)
    """Highest scheduler epoch met, and `instance` whose it was (I8)."""
    instance: str = ""
    incarnation: Incarnation = Incarnation(0)
    lease: LeaseOnFile | None = None
    terms: TermsOnFile | None = None
    idle_mw: dict[str, int] = {}
    """Learned upper bound of the idle draw, by GPU UUID."""
    overshoot_permille: dict[str, int] = {}
    """Largest overshoot seen, by GPU model."""
    ceiling_mw: dict[str, int] = {}
    """Limits that a BMC held below the host's, by GPU UUID: no cap above them is set."""
    found_mw: dict[str, int] = {}
    """Limits found before the first cap was set, by GPU UUID: restored at a clean stop."""
    locked_mhz: dict[str, int] = {}
    """Ceilings of SM clocks that are, or were about to be, locked, by GPU UUID."""


class GpuCounters(msgspec.Struct, frozen=True):
    """A GPU's counters at the last sample."""

    mono_s: float
    energy_mj: int | None
    power_throttle_ns: int | None


class AttemptUsage(msgspec.Struct, frozen=True):
    """What an attempt had used at the last sample."""

    ref: TaskRef
    usage: TaskUsage
    readopted: int


class UsageState(msgspec.Struct, frozen=True):
    """`usage.state`: one consistent snapshot of counters and what was booked up to them."""

    boot_id: str
    driver_instance: str
    counters: dict[str, GpuCounters]
    """By GPU UUID."""
    attempts: tuple[AttemptUsage, ...]
