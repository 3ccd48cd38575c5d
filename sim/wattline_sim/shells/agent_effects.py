"""Effects of an agent's core, carried out on a model of its host.

The counterpart of `wattline_agent.shell`, which does so on a real host; simulations, benchmarks and
tests share it. Where an effect has an answer, the model decides when its event is handled.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from wattline_agent.core import effects as fx
from wattline_agent.core import events as ev
from wattline_agent.core.durable import AgentState, UsageState
from wattline_agent.core.ports import CapResult, ClockResult, LaunchContext
from wattline_protocol.data.secrets import SecretDone
from wattline_protocol.ids import GpuIndex, TaskRef
from wattline_protocol.wire.agent_messages import ExitKind, FromAgent, LogChunk, Rollup
from wattline_protocol.wire.agents.data_messages import CacheReport, DataHeld, HoldOrder
from wattline_protocol.wire.gpu_process import GpuProcess
from wattline_protocol.wire.task_order import Notice, TaskOrder
from wattline_protocol.wire.task_reports.run_records import RecordRead
from wattline_protocol.wire.task_reports.terminals import TerminalDone


class Driver(Protocol):
    """The GPUs of a model, as `Collector` has those of a host."""

    def apply_caps(self, caps_mw: Mapping[GpuIndex, int]) -> tuple[CapResult, ...]:
        """Set these limits, and read them back."""

    def read_caps(self) -> tuple[CapResult, ...]:
        """The limits of all GPUs."""

    def lock_clocks(self, ceilings_mhz: Mapping[GpuIndex, int]) -> tuple[ClockResult, ...]:
        """Lock or unlock clocks; only where a GPU says that it can."""
        raise AssertionError(f"no GPU of this model locks its clocks: {ceilings_mhz}")

    def foreign(self, gpus: Collection[GpuIndex]) -> dict[GpuIndex, tuple[GpuProcess, ...]]:
        """Processes of these GPUs that belong to no task."""
        del gpus
        return {}


class Keeper(Protocol):
    """The tasks of a model, as `TaskRunner` has those of a host."""

    def launch(self, order: TaskOrder, context: LaunchContext) -> None:
        """Start an attempt, unless it was started before."""

    def stop(self, ref: TaskRef, grace_s: float, why: str, kind: ExitKind | None = None) -> None:
        """SIGTERM, and SIGKILL after the grace."""

    def freeze(self, ref: TaskRef) -> None:
        """Freeze all its processes."""

    def dump_stacks(self, ref: TaskRef) -> None:
        """Write the stacks of its programs to its log: a model has none."""
        del ref

    def thaw(self, ref: TaskRef) -> None:
        """Resume all its processes."""

    def notify(self, ref: TaskRef, notice: Notice | None) -> None:
        """Replace the notice of what will interrupt it."""

    def limit(self, ref: TaskRef, runtime_limit_s: float) -> None:
        """Replace the runtime limit, for an agent that restarts."""

    def kill(self, ref: TaskRef, kind: ExitKind, why: str) -> None:
        """SIGKILL."""

    def drop(self, ref: TaskRef) -> None:
        """Forget an ended attempt."""

    def grant_lease(self, ref: TaskRef, until_mono_s: float) -> None:
        """Give it a task lease, unless it has one."""

    def renew(self, until_mono_s: float) -> None:
        """Extend task leases; never shorten."""

    def privileged(self) -> frozenset[TaskRef]:
        """Attempts that may set caps."""
        raise AssertionError("no task of this model sets caps")


@dataclass(slots=True)
class Disk:
    """What a crash of the agent leaves."""

    state: AgentState | None = None
    usage: UsageState | None = None
    spool: list[Rollup] = field(default_factory=list)
    dropped: int = 0
    """Roll-ups that were in the spool before."""
    has_spool: bool = True
    """False: roll-ups are lost."""

    def append(self, rollup: Rollup) -> None:
        """Append a roll-up to the spool."""
        if self.has_spool:
            self.spool.append(rollup)

    def oldest(self) -> ev.SpoolRead:
        """All that is in the spool."""
        last = self.dropped + len(self.spool) if self.spool else 0
        return ev.SpoolRead(last, tuple(self.spool))

    def drop(self, last: int) -> None:
        """Drop roll-ups up to a number."""
        count = max(0, last - self.dropped)
        del self.spool[:count]
        self.dropped += count


class Host(Protocol):
    """What effects act upon."""

    @property
    def driver(self) -> Driver:
        """Its GPUs."""

    @property
    def keeper(self) -> Keeper:
        """Its tasks."""

    @property
    def disk(self) -> Disk:
        """Its state directory."""

    def send(self, message: FromAgent) -> None:
        """Send to the scheduler."""


def carry_out(effect: fx.Effect, host: Host) -> ev.Event | None:
    """Carry out one effect; returns the event that answers it."""
    match effect:
        case fx.Send(message):
            host.send(message)
        case fx.ApplyCaps(generation, caps_mw, scan):
            limits = host.driver.apply_caps(caps_mw)
            return ev.CapsRead(generation, limits, host.driver.foreign(scan))
        case fx.ReadCaps(generation):
            return ev.CapsRead(generation, host.driver.read_caps())
        case fx.LockClocks(ceilings_mhz):
            return ev.ClocksLocked(host.driver.lock_clocks(ceilings_mhz))
        case fx.RestoreCaps(caps_mw):
            host.driver.apply_caps(caps_mw)
        case fx.SaveState(state):
            host.disk.state = state
        case fx.SaveUsage(usage):
            host.disk.usage = usage
        case fx.Spool(rollup):
            host.disk.append(rollup)
        case fx.ReadSpool():
            return host.disk.oldest()
        case fx.DropSpooled(last):
            host.disk.drop(last)
        case fx.SendLog(request, _, offset):
            host.send(LogChunk(request, b"", offset, at_end=True, error="no logs"))
        case fx.ChangeSecret(order):
            host.send(SecretDone(order.request, error="no secrets"))
        case fx.OnTerminal(order):
            host.send(TerminalDone(order.request, error="no terminals"))
        case fx.SendRecord(request):
            host.send(RecordRead(request, b"", b"", error="no records"))
        case fx.HoldVersions(order):
            return ev.CacheSeen(held_at_once(order))
        case fx.FindPrivileged():
            return ev.PrivilegedFound(host.keeper.privileged())
        case fx.Note() | fx.WouldCap():
            pass  # texts for a task or a log, which no model reads
        case _:
            _order(effect, host.keeper)
    return None


CACHE_BYTES = 1 << 40


def held_at_once(order: HoldOrder) -> CacheReport:
    """The cache of a model whose store is as fast as its disk."""
    held = tuple(
        DataHeld(
            one.manifest_sha256,
            "ready",
            one.bytes,
            one.bytes,
            asked=one.asked,
            listing=one.listing,
        )
        for one in order.versions
    )
    return CacheReport(held, CACHE_BYTES, sum(one.bytes for one in order.versions))


Order = (
    fx.Launch
    | fx.Stop
    | fx.Notify
    | fx.Freeze
    | fx.Stacks
    | fx.Thaw
    | fx.Limit
    | fx.Kill
    | fx.Drop
    | fx.GrantTaskLease
    | fx.RenewTaskLeases
)


def _order(effect: Order, keeper: Keeper) -> None:
    match effect:
        case fx.Launch(order, context):
            keeper.launch(order, context)
        case fx.Stop(ref, grace_s, why, kind):
            keeper.stop(ref, grace_s, why, kind)
        case fx.Freeze(ref):
            keeper.freeze(ref)
        case fx.Stacks(ref):
            keeper.dump_stacks(ref)
        case fx.Thaw(ref):
            keeper.thaw(ref)
        case fx.Notify(ref, notice):
            keeper.notify(ref, notice)
        case fx.Limit(ref, runtime_limit_s):
            keeper.limit(ref, runtime_limit_s)
        case fx.Kill(ref, kind, why):
            keeper.kill(ref, kind, why)
        case fx.Drop(ref):
            keeper.drop(ref)
        case fx.GrantTaskLease(ref, until_mono_s):
            keeper.grant_lease(ref, until_mono_s)
        case fx.RenewTaskLeases(until_mono_s):
            keeper.renew(until_mono_s)
