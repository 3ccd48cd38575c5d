"""The whole state of a node as plain data; the other modules are functions over it."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import msgspec

from wattline_agent.core.durable import AgentState, LeaseOnFile
from wattline_agent.core.effects import Effect, Note, SaveState
from wattline_agent.core.events import SecretsFound
from wattline_agent.core.link.outage import Outage
from wattline_agent.core.ports import HostReading
from wattline_agent.core.power.capper import NodeTerms
from wattline_agent.core.power.gpus import Gpu
from wattline_agent.core.tasks.attempt import Attempt
from wattline_agent.core.tasks.command_memory import Answers, Closed
from wattline_protocol.ids import Epoch, GpuIndex, Incarnation, NodeId, Sequence, TaskRef
from wattline_protocol.wire.agent_messages import Adopted, CommandDone, GpuInfo, Lease, Welcome
from wattline_protocol.wire.agents.data_messages import (
    CacheReport,
    CheckpointsToStore,
    DataToHold,
    HoldOrder,
    OutputToPublish,
)
from wattline_protocol.wire.problems import Condition

NON_GPU_READINGS = 10
"""Meters lag behind GPUs: a load counts as non-GPU only if this many readings in a row show it."""
MAX_BEATS_OUT = 32
"""Maximum of beats awaiting their answer; older ones renew nothing."""
PROBLEM_RETENTION_S = 600.0
"""How long an event that cannot be read again (an XID) stays in the beats."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts about the node, supplied by the shell once."""

    node: NodeId
    nonce_seed: bytes
    """Fresh secret random bytes of this process, from which nonces are derived (I8)."""
    hostname: str = "localhost"
    cpus: int = 1
    memory_bytes: int = 0
    agent_version: str = ""
    is_simulated: bool = False
    is_observe: bool = False
    """Observe mode: sets no cap, starts no task, reports what it would do."""
    can_run_as: bool = False
    keeper_account: str = ""
    """Account of a keeper that may start tasks as other accounts of the host."""
    takes_recovery: bool = False
    """Its keeper grants task leases to running attempts, and knows stop signals."""
    address: str = ""
    """Its own IP address on the way to the scheduler; empty: not known."""
    launchers: tuple[str, ...] = ()
    """Launchers that it has besides process and torchrun."""
    takes_secrets: bool = False
    """It can store secrets, and its keeper gives them to tasks."""
    managed: frozenset[GpuIndex] | None = None
    """GPUs this agent may cap and allocate; None = all."""
    data_root: str = ""
    """Where tasks find versions of data sets, each by the hash of its manifest."""
    cache_bytes: int = 0
    """Size of that cache; 0 = there is none."""


@dataclass(slots=True)
class Greeting:
    """A Hello that waits for its Welcome."""

    nonce: bytes
    sent_s: float
    reported: tuple[GpuInfo, ...]
    """The GPUs as the Hello reports them."""


@dataclass(slots=True)
class Member:
    """The current incarnation, from its Welcome on."""

    welcome: Welcome
    since_s: float
    reported: tuple[GpuInfo, ...]
    """The GPUs as the Hello reported them."""
    adopted: Adopted | None = None
    adopted_s: float = 0.0
    """None: caps are being read back, or idleness is being confirmed."""
    is_read: bool = False
    """The limits were read back since the Welcome."""
    is_confirmed: bool = False
    """A beat of this incarnation was answered: the Adopted has arrived."""
    secrets_sent: tuple[str, ...] = ()
    """Entries that the scheduler was sent since; none at first."""


@dataclass(slots=True)
class Pending:
    """The newest lease, not in force yet."""

    lease: Lease
    since_s: float
    is_verified: bool = False
    """Limits were read back since the lease arrived."""
    is_refused: bool = False


@dataclass(slots=True)
class Session:
    """State of the session with the scheduler."""

    is_connected: bool = False
    greeting: Greeting | None = None
    hello_due_s: float | None = None
    """When to send Hello; None = not needed."""
    tries: int = 0
    hellos: int = 0
    """Number of Hellos of this process: makes every nonce distinct."""
    member: Member | None = None
    heard_s: float = 0.0
    """When the newest answered beat (or Hello) was *sent* (I5, I7)."""
    beat_heard_s: float = 0.0
    """The same for beats alone: what they carried is booked."""
    beats_out: dict[int, float] = field(default_factory=dict)
    beat_seq: int = 0
    is_spool_asked: bool = False
    spool_retry_s: float = 0.0
    refusal: str = ""
    """Why the scheduler, or this agent, refused the last Hello."""
    no_news_at: tuple[object, bool] | None = None
    """State in which `session` last found no news that requires a Hello."""


@dataclass(slots=True)
class DataNow:
    """Versions of data sets on this node."""

    versions: tuple[DataToHold, ...] | None = None
    """The scheduler's newest list; None = none was received by this process."""
    drop: tuple[str, ...] = ()
    """Manifests of versions that were removed from the registry."""
    to_store: tuple[CheckpointsToStore, ...] = ()
    outputs: tuple[OutputToPublish, ...] = ()
    list_number: tuple[Epoch, Sequence] | None = None
    ordered: HoldOrder | None = None
    """As last passed to the fetch process."""
    report: CacheReport | None = None
    """Its newest report."""
    reported: tuple[Incarnation, CacheReport] | None = None
    """As last sent to the scheduler."""
    report_due_s: float = 0.0


ANSWERS_TIMED = 3
"""Number of recent driver answers that are timed."""


@dataclass(slots=True)
class Caps:
    """Requests to the driver: one set or read at a time."""

    generation: int = 0
    is_waiting: bool = False
    """An ApplyCaps or ReadCaps awaits its CapsRead."""
    asked_s: float = 0.0
    """When the newest request was sent."""
    took_s: deque[float] = field(default_factory=lambda: deque(maxlen=ANSWERS_TIMED))
    """Durations of the newest answers."""
    asked: frozenset[GpuIndex] = frozenset()
    """GPUs whose caps the outstanding request sets; empty for a read."""
    scanned: frozenset[GpuIndex] = frozenset()
    """GPUs whose processes the outstanding request lists."""
    verifies: Sequence | None = None
    """The pending lease that it verifies."""
    reads_for: Incarnation | None = None
    """The incarnation whose Adopted waits for it."""


Standpoint = list[object]
"""Inputs of a decision: equal inputs lead to the same decision."""


@dataclass(slots=True)
class NodeState:
    """The complete state of a node. `emit` collects the effects of the event being handled."""

    facts: Facts
    file: AgentState
    """State as on disk."""
    gpus: list[Gpu] = field(default_factory=list)
    attempts: dict[TaskRef, Attempt] = field(default_factory=dict)
    session: Session = field(default_factory=Session)
    caps: Caps = field(default_factory=Caps)
    pending: Pending | None = None
    is_locking: bool = False
    """A LockClocks awaits its ClocksLocked."""
    is_acked: bool = True
    """The lease in force was acknowledged (or adopted)."""
    answers: Answers[CommandDone] = field(default_factory=Answers)
    closed: Closed = field(default_factory=Closed)
    outage: Outage = field(default_factory=Outage)
    data: DataNow = field(default_factory=DataNow)
    host: HostReading = field(default_factory=lambda: HostReading(0.0, 0))
    non_gpu_recent: deque[int] = field(default_factory=lambda: deque(maxlen=NON_GPU_READINGS))
    non_gpu_seen_mw: int = 0
    """Largest measured non-GPU load above the site file's value."""
    incidents: dict[tuple[str, str], tuple[Condition, float]] = field(default_factory=dict)
    """Incidents by kind and subject, and until when beats report them."""
    started_s: float = 0.0
    beat_due_s: float = 0.0
    beat_wanted_s: float | None = None
    """Since when a beat is due that waits for caps to be read back."""
    usage_due_s: float = 0.0
    sampled_s: float = 0.0
    """When the newest sample was taken; before the first, when this process started."""
    adopt_wait_s: float = 0.0
    """Remaining seconds of samples that Adopted may wait, after a restart, for idleness to be
    confirmed, so that it reports no more than `adopt_mw`, the value in the scheduler's books."""
    adopt_mw: int = 0
    is_started: bool = False
    is_stopping: bool = False
    is_keeper_silent: bool = False
    """Orders to it wait, and nothing is known of tasks."""
    secrets: SecretsFound = field(default_factory=lambda: SecretsFound(()))
    would_cap_mw: tuple[int, ...] = ()
    settled_at: Standpoint | None = None
    """Standpoint at which `steer` last found nothing to do; None = it has to check."""
    out: list[Effect] = field(default_factory=list)

    def emit(self, *effects: Effect) -> None:
        """Add effects, in order."""
        self.out.extend(effects)

    def change_file(self, **changes: Any) -> None:
        """Replace fields of the state on disk, and save it."""
        self.file = msgspec.structs.replace(self.file, **changes)
        self.emit(SaveState(self.file))

    def note(self, event: str, text: str) -> None:
        """Add a log entry."""
        self.out.append(Note(event, text))

    @property
    def lease(self) -> LeaseOnFile | None:
        """The lease in force: saved, and enforced by the caps."""
        return self.file.lease

    @property
    def terms(self) -> NodeTerms | None:
        """The site's terms for this node; None before the first Welcome ever."""
        known = self.file.terms
        if known is None:
            return None
        worst_mw = max(known.non_gpu_worst_mw, self.non_gpu_seen_mw)
        return NodeTerms(worst_mw, known.psu_efficiency_permille)

    def overshoot_permille(self, gpu: Gpu) -> int:
        """Overshoot of the GPU's model."""
        return self.file.overshoot_permille.get(gpu.info.name, 1000)
