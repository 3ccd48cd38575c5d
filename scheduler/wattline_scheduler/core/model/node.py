"""Nodes in memory: connection, GPUs, attempts, outstanding commands."""

from collections import deque
from dataclasses import dataclass, field, fields
from operator import attrgetter

from wattline_protocol.ids import GpuIndex, Incarnation, Instant, JobId, NodeId, Sequence, TaskRef
from wattline_protocol.job.spec import WHOLE_GPU
from wattline_protocol.site.labels import ANY_LAUNCHER, Labels
from wattline_protocol.site.model import Node, RunAs
from wattline_protocol.site.run_as import ROOT
from wattline_protocol.views.site_views import NodeState
from wattline_protocol.wire.agent_messages import AgentCommand, Beat, GpuInfo
from wattline_protocol.wire.gpu_process import GpuProcess
from wattline_scheduler.core.model.data.node_data import NodeData
from wattline_scheduler.core.model.jobs.job import LONG_AGO, Attempt
from wattline_scheduler.power.demand.node_load import NodeLoad
from wattline_scheduler.records import NodeRecord


@dataclass(frozen=True, slots=True)
class Unheard:
    """No Hello in this run of the scheduler."""


@dataclass(frozen=True, slots=True)
class Welcomed:
    """An incarnation was issued; its caps were not read back yet. It gets no other message."""

    incarnation: Incarnation
    nonce: bytes
    since: Instant


@dataclass(frozen=True, slots=True)
class Adopted:
    """The current incarnation, which gets commands and is trusted."""

    incarnation: Incarnation
    nonce: bytes
    since: Instant


NONCES_KEPT = 32
CONTRADICTIONS_MANY = 3
"""After this many within ten minutes a key is quarantined (see `quarantine`)."""
GREETINGS_MANY = 5
"""Number of incarnations within a short time that no healthy agent requests."""
NO_SEQ = Sequence(0)

MOST_CLAIMED = Incarnation(2**53)
"""Upper bound of incarnations issued to agents. Higher claims count as this, so that a number that
an agent claims never exhausts the remaining ones (I8)."""


def next_incarnation(on_record: Incarnation, claimed: Incarnation) -> Incarnation:
    """The next incarnation: above every one issued, and any that the agent may have seen."""
    return Incarnation(max(on_record, min(claimed, MOST_CLAIMED)) + 1)


def incarnation_on_record(stored: Incarnation) -> Incarnation:
    """The incarnation for a new run. One stored while claims were unbounded is reset to the bound:
    the run has a higher epoch, and incarnations count within an epoch."""
    return min(stored, MOST_CLAIMED) if stored > 2 * MOST_CLAIMED else stored


Link = Unheard | Welcomed | Adopted

CommandKey = tuple[str, TaskRef | None]
"""Subject of a command: a newer one with the same key replaces it."""


@dataclass(slots=True, eq=False)
class Outstanding:
    """An unacknowledged command. Every sequence number it was sent with counts."""

    command: AgentCommand
    first_sent: Instant
    last_sent: Instant


@dataclass(slots=True, eq=False)
class NodeNow:
    """The current state of a node of the site."""

    site: Node
    record: NodeRecord
    link: Link = field(default_factory=Unheard)
    nonces: deque[bytes] = field(default_factory=lambda: deque(maxlen=NONCES_KEPT))
    """Nonces of answered Hellos: a late repeat of an older one is not a new Hello."""
    gpu_classes: set[tuple[object, ...]] = field(default_factory=set)
    """Of all GPUs that it has reported in this run: the planner never forgets one."""
    greeted_at: deque[Instant] = field(default_factory=lambda: deque(maxlen=GREETINGS_MANY))
    """Times at which the newest incarnations were issued."""
    contradicted_at: deque[Instant] = field(
        default_factory=lambda: deque(maxlen=CONTRADICTIONS_MANY)
    )
    """Newest times at which it contradicted the books."""
    reported_many_at: Instant = LONG_AGO
    """Time at which too many Hellos were last reported."""
    heard_at: Instant | None = None
    """Time of the last valid message of the current incarnation."""
    answered_at: Instant = LONG_AGO
    """Latest time at which its agent may have been notified that it is heard (I7)."""
    can_run_as: bool = False
    """Its keeper starts tasks as other accounts of the host."""
    keeper_account: str = ""
    """The keeper's own account; empty: not reported."""
    failures: int = 0
    """Attempts that were lost with it, of those in memory."""
    seen_s: float = 0.0
    """Run time of all ended attempts on it, of those in memory."""
    takes_notices: bool = False
    """Its agent understands NotifyTask."""
    takes_recovery: bool = False
    """Its agent understands LeaseTask, and its keeper task leases and stop signals."""
    keeps_records: bool = False
    """Its agent understands ReadRecord."""
    address: str = ""
    """Its own IP address on the way to the scheduler; empty: not reported."""
    launchers: Labels = ANY_LAUNCHER
    """Launchers that its agent reports; until then it may have any."""
    takes_secrets: bool = False
    """Its agent understands StoreSecret and DropSecret."""
    secrets: Labels = frozenset()
    """Entries of secrets that its agent reports, as labels."""
    data: NodeData = field(default_factory=NodeData)
    """Its cache of data sets."""
    is_silent: bool = False
    """Not heard for `isolation_after`, or its agent sent a Farewell."""
    is_isolated: bool = False
    """Not heard for `isolation_after`; an agent that stopped in order is silent before that."""
    is_missed: bool = False
    """Its beats are late, and gateways miss replicas that run on it: its host may be lost."""
    beat: Beat | None = None
    """The newest heartbeat of the current incarnation."""
    gpus: dict[GpuIndex, GpuInfo] = field(default_factory=dict)
    idle: set[GpuIndex] = field(default_factory=set)
    """GPUs the agent counts at their idle watts (I2)."""
    lost: set[GpuIndex] = field(default_factory=set)
    """GPUs that fell off the bus; never allocated."""
    foreign: dict[GpuIndex, tuple[GpuProcess, ...]] = field(default_factory=dict)
    """Processes on its GPUs that belong to no attempt; such a GPU is withheld from placement."""
    jump_mw: int = 0
    """Upper bound of its foreign draw above its books; 0 = it is not above them."""
    over_since: Instant | None = None
    """Time since when foreign draw has exceeded its books."""
    holders: dict[GpuIndex, tuple[Attempt, ...]] = field(default_factory=dict)
    """Attempts each GPU is allocated to, in order of allocation; without free GPUs."""
    attempts: dict[TaskRef, Attempt] = field(default_factory=dict)
    """Live attempts placed here."""
    cpus_used: int = 0
    memory_used_bytes: int = 0
    outbox: dict[CommandKey, Outstanding] = field(default_factory=dict)
    names: dict[Sequence, CommandKey] = field(default_factory=dict)
    """Every sequence number of every outstanding task command."""
    last_seq: Sequence = NO_SEQ
    """Newest sequence used in this epoch; never reused (I8)."""
    lease_seq: Sequence = NO_SEQ
    """Newest lease sent in this incarnation; 0 = none."""
    acked_seq: Sequence = NO_SEQ
    """Newest lease acknowledged in this incarnation; 0 = what was adopted."""
    lowest_mw: int = 0
    """Wall watts below which the agent reported it cannot be held, until `lowest_until`."""
    lowest_until: Instant = LONG_AGO
    non_gpu_worst_mw: int = 0
    """The site file's value, raised if more was measured."""
    warmth: dict[GpuIndex, int] = field(default_factory=dict)
    """Excess of each GPU over its comfort temperature at full power (`power.sensing.thermal`)."""
    power_doubt: str = ""
    """Reason why its own power reading is implausible; empty = plausible."""
    doubted_beats: int = 0
    """Number of heartbeats in a row with an implausible power reading."""
    rehello_at: Instant | None = None
    """Time of the last request for a new Hello."""
    outdated: dict[NodeId, None] = field(default_factory=dict)
    """Nodes with outdated offers, shared by all nodes."""
    load: NodeLoad | None = None
    """Its load for the allocator, cached; None = outdated."""
    judged_load: NodeLoad | None = None
    """The newest load whose floor was checked against the nameplate."""
    demand_mw: dict[GpuIndex, int] = field(default_factory=dict)
    """Demand of each GPU with a task at its last significant change."""
    bound: set[GpuIndex] = field(default_factory=set)
    """GPUs with a task whose cap binds, or did in the last seconds."""
    efficient: set[GpuIndex] = field(default_factory=set)
    """GPUs whose tasks all have the cap of the least energy per result."""

    @property
    def id(self) -> NodeId:
        return self.site.id

    @property
    def labels(self) -> Labels:
        """Labels of the site file, and what its agent reports: launchers and secrets."""
        return self.secrets.union(self.launchers, self.site.labels.items())

    def copy(self) -> "NodeNow":
        """A copy with its own allocations and lost GPUs."""
        other = NodeNow(*_all_of(self))
        other.lost, other.holders = set(self.lost), dict(self.holders)
        other.attempts = dict(self.attempts)
        return other

    def free_milli(self, gpu: GpuIndex) -> int:
        """Thousandths of a GPU that are not allocated."""
        return WHOLE_GPU - sum(held.gpu_milli for held in self.holders.get(gpu, ()))

    def jobs_on(self, gpu: GpuIndex) -> tuple[JobId, ...]:
        """Jobs whose attempts a GPU is allocated to, each once."""
        return tuple(dict.fromkeys(one.gang.job.id for one in self.holders.get(gpu, ())))

    def outdate(self) -> None:
        """Marks its load and its offer as outdated."""
        self.load = None
        self.outdate_offer()

    def outdate_offer(self) -> None:
        """Marks its offer as outdated."""
        self.outdated[self.id] = None

    def starts_as(self, rules: RunAs | None, account: str) -> bool:
        """Whether its keeper can start tasks as this account, under the site's rules; empty = the
        keeper's own account, which may be root only by a rule."""
        if account:
            return self.can_run_as or account == self.keeper_account
        return rules is not None or self.keeper_account not in ("", ROOT)

    def starts_any(self, rules: RunAs | None) -> bool:
        """Whether these rules permit at least one account that its keeper can use."""
        if rules is None or rules.others == "keeper":
            return self.starts_as(rules, "")
        own, is_any = self.keeper_account, rules.others == "same"
        return self.can_run_as or own in rules.users.values() or (is_any and own not in ("", ROOT))

    @property
    def is_adopted(self) -> bool:
        """Whether it may get commands: its current incarnation has read back its caps."""
        return isinstance(self.link, Adopted)

    @property
    def is_reachable(self) -> bool:
        return self.is_adopted and not self.is_silent

    @property
    def incarnation(self) -> Incarnation:
        return self.record.incarnation

    @property
    def state(self) -> NodeState:
        """Its state, as displayed."""
        if self.record.is_off:
            return "off"
        if self.record.is_quarantined:
            return "quarantined"
        if isinstance(self.link, Unheard) and self.record.incarnation == 0:
            return "never heard"
        if self.is_silent or isinstance(self.link, Unheard):
            return "silent"
        if self.record.is_observe:
            return "observe"
        if self.record.is_draining:
            return "draining" if self.attempts else "drained"
        return "ok"

    @property
    def reason(self) -> str:
        """Text why it is not "ok"."""
        match self.state:
            case "off":
                return self.record.off_reason
            case "quarantined":
                return f"{self.record.quarantine_reason}; see `wattline node readmit {self.id}`"
            case "draining" | "drained":
                return self.record.drain_reason
            case "silent":
                return "does not report; its last lease stays committed"
            case "never heard":
                return "counts at nameplate until its first Hello"
            case "observe":
                return "its agent only observes; it counts in full"
            case _:
                return ""


_all_of = attrgetter(*(each.name for each in fields(NodeNow)))
"""A quarter of the time of `copy.copy`: an explain query copies all nodes."""
