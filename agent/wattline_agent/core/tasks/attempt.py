"""One attempt on this node: its states as a union, and their consequences for its GPUs."""

from dataclasses import dataclass, field

from wattline_agent.core.ports import TaskSeen
from wattline_protocol.ids import GpuIndex, Sequence, TaskRef
from wattline_protocol.wire.agent_messages import TaskExit, TaskPhase, TaskReport, TaskUsage
from wattline_protocol.wire.task_order import Notice, TaskOrder


@dataclass(frozen=True, slots=True)
class Reserved:
    """Ordered; its GPUs count as busy, and it starts when the caps for that are in force."""

    seq: Sequence
    since_s: float


@dataclass(frozen=True, slots=True)
class Launched:
    """Handed to the keeper, not listed by it yet."""


@dataclass(frozen=True, slots=True)
class Observed:
    """As last listed by the keeper."""

    seen: TaskSeen


@dataclass(frozen=True, slots=True)
class Ended:
    """Ended without the keeper's report: never started here, or lost by the keeper."""

    exit: TaskExit


Standing = Reserved | Launched | Observed | Ended


@dataclass(frozen=True, slots=True)
class Pausing:
    """An emergency pause under way or done (I4)."""

    seq: Sequence | None
    """Of the command to answer; None = answered, or of an earlier incarnation."""
    freeze_at_s: float
    kill_at_s: float
    why: str
    is_freezing: bool = False
    is_settled: bool = False
    """Its GPUs reached idle draw, or it was killed: nothing left to enforce."""


@dataclass(frozen=True, slots=True)
class Resuming:
    """To be thawed once the caps for it are in force."""

    seq: Sequence
    since_s: float


@dataclass(slots=True)
class Attempt:
    """Mutable record of one attempt."""

    order: TaskOrder
    standing: Standing
    pausing: Pausing | None = None
    resuming: Resuming | None = None
    is_stopping: bool = False
    usage: TaskUsage = field(default_factory=TaskUsage)
    is_metered: bool = False
    """It was alive at the last sample: the next step of its GPUs is booked to it too."""
    readopted: int = 0
    launched_s: float = 0.0
    """When it was handed to the keeper; 0 = by an earlier agent."""
    condemned: str = ""
    """Why it is frozen and killed: the cap of its GPU was raised, and it could have done that."""
    kill_at_s: float = 0.0
    """When a condemned attempt is killed, frozen or not."""
    is_killed: bool = False
    """The condemned attempt was killed; its end is still to be observed."""
    notice: Notice | None = None
    """In force, as the scheduler sent it: by its clock."""
    reported: TaskPhase | None = None
    """Phase last reported in a TaskUpdate."""

    @property
    def ref(self) -> TaskRef:
        """Its name."""
        return self.order.ref

    @property
    def gpus(self) -> tuple[GpuIndex, ...]:
        """GPUs allocated to it."""
        return self.order.gpus

    @property
    def mig(self) -> str:
        """UUID of the MIG device allocated to it; empty = none."""
        return self.order.mig

    @property
    def share_permille(self) -> int:
        """Its share of each of its GPUs."""
        return self.order.gpu_share_permille

    @property
    def is_ended(self) -> bool:
        """It no longer runs; processes may be left (see `holds_gpus`)."""
        standing = self.standing
        if isinstance(standing, Observed):
            return standing.seen.phase == "ended"
        return isinstance(standing, Ended)

    @property
    def is_alive(self) -> bool:
        """Handed to the keeper and not ended."""
        return not self.is_ended and not isinstance(self.standing, Reserved)

    @property
    def has_task_lease(self) -> bool:
        """On isolation its keeper ends it, as far as the keeper has listed it."""
        return isinstance(self.standing, Observed) and self.standing.seen.has_task_lease

    @property
    def holds_gpus(self) -> bool:
        """Its GPU allocation is in use: it lives, or processes are left."""
        if isinstance(self.standing, Observed) and self.is_ended:
            return not self.standing.seen.group_ended
        return not self.is_ended

    @property
    def is_frozen(self) -> bool:
        """Every process is frozen."""
        return isinstance(self.standing, Observed) and self.standing.seen.phase == "paused"

    @property
    def loads_gpus(self) -> bool:
        """It may draw more than idle watts now (I2)."""
        return self.holds_gpus and not self.is_frozen and not isinstance(self.standing, Reserved)

    @property
    def is_reserved(self) -> bool:
        """Ordered, and not started yet."""
        return isinstance(self.standing, Reserved)

    @property
    def will_load_gpus(self) -> bool:
        """It is about to load its GPUs: caps must provide headroom first."""
        return isinstance(self.standing, Reserved) or (self.is_frozen and self.resuming is not None)

    @property
    def wants_power(self) -> bool:
        """Its GPUs get more than their minimum caps."""
        return not self.is_ended and self.pausing is None and not self.condemned

    @property
    def phase(self) -> TaskPhase:
        """As reported."""
        match self.standing:
            case Observed(seen):
                return seen.phase
            case Ended():
                return "ended"
            case _:
                return "starting"

    def report(self) -> TaskReport:
        """Its complete report."""
        if not isinstance(self.standing, Observed):
            ended = self.standing.exit if isinstance(self.standing, Ended) else None
            return TaskReport(
                self.ref,
                self.phase,
                self.gpus,
                exit=ended,
                usage=self.usage,
                runtime_limit_s=self.order.runtime_limit_s,
            )
        seen = self.standing.seen
        return TaskReport(
            ref=self.ref,
            phase=seen.phase,
            gpus=self.gpus,
            pid=seen.pid,
            started_unix_s=seen.started_unix_s,
            usage=self.usage,
            metrics=dict(seen.metrics),
            checkpoint=seen.checkpoint,
            progress_marks=seen.progress_marks,
            checkpoint_trouble=seen.checkpoint_trouble,
            ranks=seen.ranks,
            worker_public_key=seen.worker_public_key,
            exit=seen.exit,
            readopted=self.readopted,
            runtime_limit_s=self.order.runtime_limit_s,
            note=seen.note,
            notice=self.notice,
            has_task_lease=seen.has_task_lease,
        )
