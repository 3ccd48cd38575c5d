"""Durable state of an agent: its lease and fences, learned values, and the usage of tasks."""

from typing import Literal

import msgspec

from wattline_protocol.ids import Epoch, Incarnation, Sequence, TaskRef
from wattline_protocol.site.containers import USUAL_CONTAINERS, Containers
from wattline_protocol.wire.agent_messages import TaskUsage


class LeaseOnFile(msgspec.Struct, frozen=True):
    """The newest lease in force, or the adopted one (`seq` 0)."""

    epoch: Epoch
    incarnation: Incarnation
    seq: Sequence
    lease_mw: int
    wanted_mw: tuple[int, ...]
    """Cap requested by the scheduler per GPU, by index."""


class TermsOnFile(msgspec.Struct, frozen=True):
    """Terms of the last Welcome; valid while the scheduler is unreachable."""

    beat_period_s: float
    isolation_after_s: float
    isolation: Literal["keep", "floor"]
    task_lease_s: float
    non_gpu_worst_mw: int
    psu_efficiency_permille: int
    checkpoint_root: str = ""
    pass_env: tuple[str, ...] = ()
    may_be_root: bool = False
    containers: Containers = USUAL_CONTAINERS


class AgentState(msgspec.Struct, frozen=True):
    """`agent.state`: replaced as a whole, synced before anything that depends on it is promised."""

    boot_id: str = ""
    driver_instance: str = ""
    epoch: Epoch = Epoch(0)
    """Highest scheduler epoch seen, and the `instance` it belonged to (I8)."""
    instance: str = ""
    incarnation: Incarnation = Incarnation(0)
    lease: LeaseOnFile | None = None
    terms: TermsOnFile | None = None
    idle_mw: dict[str, int] = {}
    """Learned upper bound of the idle draw, by GPU UUID."""
    overshoot_permille: dict[str, int] = {}
    """Largest overshoot measured, by GPU model."""
    ceiling_mw: dict[str, int] = {}
    """Limits that a BMC enforced below the host's, by GPU UUID: no cap above them is set."""
    found_mw: dict[str, int] = {}
    """Limits before the first cap was set, by GPU UUID: restored at a clean stop."""
    locked_mhz: dict[str, int] = {}
    """SM clock ceilings that are locked or were about to be, by GPU UUID."""


class GpuCounters(msgspec.Struct, frozen=True):
    """A GPU's counters at the last sample."""

    mono_s: float
    energy_mj: int | None
    power_throttle_ns: int | None


class AttemptUsage(msgspec.Struct, frozen=True):
    """Usage of an attempt at the last sample."""

    ref: TaskRef
    usage: TaskUsage
    readopted: int


class UsageState(msgspec.Struct, frozen=True):
    """`usage.state`: one consistent snapshot of counters and the usage booked up to them."""

    boot_id: str
    driver_instance: str
    counters: dict[str, GpuCounters]
    """By GPU UUID."""
    attempts: tuple[AttemptUsage, ...]
