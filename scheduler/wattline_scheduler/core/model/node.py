"""What is known of each node: its connection, its GPUs, what runs there, what it was told."""

from collections import deque
from dataclasses import dataclass, field, fields
from operator import attrgetter

from wattline_protocol.ids import GpuIndex, Incarnation, Instant, JobId, NodeId, Sequence, TaskRef
from wattline_protocol.job.spec import WHOLE_GPU
from wattline_protocol.site.model import Node, RunAs
from wattline_protocol.site.run_as import ROOT
from wattline_protocol.views.site_views import NodeState
from wattline_protocol.wire.agent_messages import AgentCommand, Beat, GpuInfo
from wattline_protocol.wire.gpu_process import GpuProcess
from wattline_scheduler.core.model.jobs.job import LONG_AGO, Attempt
from wattline_scheduler.power.demand.node_load import NodeLoad
from wattline_scheduler.records import NodeRecord


@dataclass(frozen=True, slots=True)
class Unheard:
    """No Hello in this run of the scheduler."""


@dataclass(frozen=True, slots=True)
class Welcomed:
    """An incarnation was issued; the caps were not read back yet. It is told nothing else."""

    incarnation: Incarnation
    nonce: bytes
    since: Instant


@dataclass(frozen=True, slots=True)
class Adopted:
    """The incarnation that may be told things and is believed."""

    incarnation: Incarnation
    nonce: bytes
    since: Instant


NONCES_KEPT = 32
CONTRADICTIONS_MANY = 3
"""After so many within ten minutes a key is quarantined (see `quarantine`)."""
GREETINGS_MANY = 5
"""Incarnations within a short time that no healthy agent asks for."""
NO_SEQ = Sequence(0)

MOST_CLAIMED = Incarnation(2**53)
"""No agent has met a later incarnation. One that says so is counted from here on, so that a number
that an agent names never uses up those that are left (I8)."""


def next_incarnation(on_record: Incarnation, claimed: Incarnation) -> Incarnation:
    """Above every one that was issued, and that the agent may have met."""
    return Incarnation(max(on_record, min(claimed, MOST_CLAIMED)) + 1)


def incarnation_on_record(stored: Incarnation) -> Incarnation:
    """As a new run takes it over. One that was stored while agents could name any number begins
    again lower: the epoch of the run is a higher one, and incarnations count within an epoch."""
    return min(stored, MOST_CLAIMED) if stored > 2 * MOST_CLAIMED else stored


Link = Unheard | Welcomed | Adopted

CommandKey = tuple[str, TaskRef | None]
"""What a command is about: a newer one with the same key replaces it."""


@dataclass(slots=True, eq=False)
class Outstanding:
    """A command that was not acknowledged yet. Every sequence it was sent with counts."""

    command: AgentCommand
    first_sent: Instant
    last_sent: Instant


@dataclass(slots=True, eq=False)
class NodeNow:
    """A node of the site as the scheduler sees it now."""

    site: Node
    record: NodeRecord
    link: Link = field(default_factory=Unheard)
    nonces: deque[bytes] = field(default_factory=lambda: deque(maxlen=NONCES_KEPT))
    """Of Hellos that were answered: a late repeat of an older one is no new greeting."""
    greeted_at: deque[Instant] = field(default_factory=lambda: deque(maxlen=GREETINGS_MANY))
    """When the newest incarnations were issued."""
    contradicted_at: deque[Instant] = field(
        default_factory=lambda: deque(maxlen=CONTRADICTIONS_MANY)
    )
    """When it contradicted the books, the newest times."""
    told_many_at: Instant = LONG_AGO
    """When it was said that these are too many."""
    heard_at: Instant | None = None
    """Last valid message of the present incarnation."""
    answered_at: Instant = LONG_AGO
    """Latest time at which its agent may have been told that it is heard (I7)."""
    can_run_as: bool = False
    """Its keeper starts tasks as other accounts of the host."""
    keeper_account: str = ""
    """The keeper's own; empty: its agent has not said."""
    is_silent: bool = False
    """Not heard for `isolation_after_s`, or its agent said Farewell."""
    beat: Beat | None = None
    """The newest beat of the present incarnation."""
    gpus: dict[GpuIndex, GpuInfo] = field(default_factory=dict)
    idle: set[GpuIndex] = field(default_factory=set)
    """GPUs the agent counts at their idle watts (I2)."""
    lost: set[GpuIndex] = field(default_factory=set)
    """GPUs that fell off the bus; never given out."""
    foreign: dict[GpuIndex, tuple[GpuProcess, ...]] = field(default_factory=dict)
    """Processes on its GPUs that belong to no attempt; such a GPU is offered to no task."""
    jump_mw: int = 0
    """Most by which others can have lifted it above its books; 0 = it is not above them."""
    over_since: Instant | None = None
    """Since when it has been above its books because of others."""
    holders: dict[GpuIndex, tuple[Attempt, ...]] = field(default_factory=dict)
    """Which attempts each GPU was given to, in that order; free GPUs are not in it."""
    attempts: dict[TaskRef, Attempt] = field(default_factory=dict)
    """Live attempts placed here."""
    cpus_used: int = 0
    memory_used_bytes: int = 0
    outbox: dict[CommandKey, Outstanding] = field(default_factory=dict)
    names: dict[Sequence, CommandKey] = field(default_factory=dict)
    """Every sequence of every outstanding task command."""
    last_seq: Sequence = NO_SEQ
    """Newest sequence used in this epoch; never reused (I8)."""
    lease_seq: Sequence = NO_SEQ
    """Newest lease sent in this incarnation; 0 = none."""
    acked_seq: Sequence = NO_SEQ
    """Newest lease acknowledged in this incarnation; 0 = what was adopted."""
    lowest_mw: int = 0
    """Wall watts below which the agent said it cannot be held, until `lowest_until`."""
    lowest_until: Instant = LONG_AGO
    non_gpu_worst_mw: int = 0
    """The site file's figure, or more once more was measured."""
    warmth: dict[GpuIndex, int] = field(default_factory=dict)
    """Of each GPU, how far it would be above comfort at full power; see `power.thermal`."""
    power_doubt: str = ""
    """Why its own power figure is not believed; empty = it is."""
    doubted_beats: int = 0
    """In a row whose power figure was not believed."""
    rehello_at: Instant | None = None
    """When it was last asked to say Hello again."""
    outdated: dict[NodeId, None] = field(default_factory=dict)
    """Shared by all nodes: those that the planner is to look at anew."""
    load: NodeLoad | None = None
    """How the allocator sees it; None = outdated."""
    judged_load: NodeLoad | None = None
    """The newest load whose floor was checked against the nameplate."""
    demand_mw: dict[GpuIndex, int] = field(default_factory=dict)
    """Demand of each GPU with a task, when it was last worth a new load."""
    bound: set[GpuIndex] = field(default_factory=set)
    """GPUs with a task that a cap holds down, or did in the last seconds."""

    @property
    def id(self) -> NodeId:
        return self.site.id

    def copy(self) -> "NodeNow":
        """Another one, for which what it has and who holds that changes by itself."""
        other = NodeNow(*_all_of(self))
        other.lost, other.holders = set(self.lost), dict(self.holders)
        other.attempts = dict(self.attempts)
        return other

    def free_milli(self, gpu: GpuIndex) -> int:
        """Thousandths of a GPU that were given to nobody."""
        return WHOLE_GPU - sum(held.gpu_milli for held in self.holders.get(gpu, ()))

    def jobs_on(self, gpu: GpuIndex) -> tuple[JobId, ...]:
        """Jobs whose attempts a GPU was given to, each once."""
        return tuple(dict.fromkeys(one.gang.job.id for one in self.holders.get(gpu, ())))

    def outdate(self) -> None:
        """Something changed that planner and allocator must know."""
        self.load = None
        self.outdate_offer()

    def outdate_offer(self) -> None:
        """Something changed that the planner must know."""
        self.outdated[self.id] = None

    def starts_as(self, rules: RunAs | None, account: str) -> bool:
        """Whether its keeper starts tasks as this account, as the rules of the site say it; empty =
        the keeper's own, which is root by a rule only."""
        if account:
            return self.can_run_as or account == self.keeper_account
        return rules is not None or self.keeper_account not in ("", ROOT)

    def starts_any(self, rules: RunAs | None) -> bool:
        """Whether these rules leave anybody as whom its keeper starts tasks."""
        if rules is None or rules.others == "keeper":
            return self.starts_as(rules, "")
        own, is_any = self.keeper_account, rules.others == "same"
        return self.can_run_as or own in rules.users.values() or (is_any and own not in ("", ROOT))

    @property
    def is_adopted(self) -> bool:
        """May be told things: its present incarnation read its caps back."""
        return isinstance(self.link, Adopted)

    @property
    def is_reachable(self) -> bool:
        return self.is_adopted and not self.is_silent

    @property
    def incarnation(self) -> Incarnation:
        return self.record.incarnation

    @property
    def state(self) -> NodeState:
        """The one word shown for it."""
        if self.record.is_off:
            return "off"
        if isinstance(self.link, Unheard) and self.record.incarnation == 0:
            return "never heard"
        if self.record.is_quarantined:
            return "quarantined"
        if self.is_silent or isinstance(self.link, Unheard):
            return "silent"
        if self.record.is_observe:
            return "observe"
        if self.record.is_draining:
            return "draining" if self.attempts else "drained"
        return "ok"

    @property
    def reason(self) -> str:
        """Why it is not "ok", in plain words."""
        match self.state:
            case "off":
                return self.record.off_reason
            case "quarantined":
                return f"{self.record.quarantine_reason}; see `wattline node readmit {self.id}`"
            case "draining" | "drained":
                return self.record.drain_reason
            case "silent":
                return "not heard; its last lease stays in the books"
            case "never heard":
                return "counts at nameplate until its first Hello"
            case "observe":
                return "its agent caps nothing; it counts in full"
            case _:
                return ""


_all_of = attrgetter(*(each.name for each in fields(NodeNow)))
"""A quarter of the time of `copy.copy`: a question copies all nodes."""
