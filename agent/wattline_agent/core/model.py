"""The whole state of a node as plain data; the other modules are functions over it."""

from collections import deque
from dataclasses import dataclass, field

from wattline_agent.core.durable import AgentState, LeaseOnFile
from wattline_agent.core.effects import Effect, Note
from wattline_agent.core.link.outage import Outage
from wattline_agent.core.ports import HostReading
from wattline_agent.core.power.capper import NodeTerms
from wattline_agent.core.power.gpus import Gpu
from wattline_agent.core.tasks.attempt import Attempt
from wattline_agent.core.tasks.command_memory import Answers, Closed
from wattline_protocol.ids import GpuIndex, Incarnation, NodeId, Sequence, TaskRef
from wattline_protocol.wire.agent_messages import Adopted, CommandDone, GpuInfo, Lease, Welcome
from wattline_protocol.wire.problems import Condition

NON_GPU_READINGS = 10
"""Meters lag behind GPUs: a load counts as non-GPU only if all of so many readings say so."""
MAX_BEATS_OUT = 32
"""Beats whose answer may still come; older ones renew nothing."""
PROBLEM_KEEP_S = 600.0
"""How long an event that cannot be looked up again (an XID) stays in the beats."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the shell tells a node once."""

    node: NodeId
    nonce_seed: bytes
    """Fresh secret random bytes of this process: nonces are made from it (I8)."""
    hostname: str = "localhost"
    cpus: int = 1
    memory_bytes: int = 0
    agent_version: str = ""
    is_simulated: bool = False
    is_observe: bool = False
    """Caps nothing, starts nothing, shows what it would do."""
    can_run_as: bool = False
    keeper_account: str = ""
    """Its keeper may start tasks as other accounts of the host."""
    managed: frozenset[GpuIndex] | None = None
    """GPUs this agent may cap and use; None = all."""


@dataclass(slots=True)
class Greeting:
    """A Hello that waits for its Welcome."""

    nonce: bytes
    sent_s: float
    told: tuple[GpuInfo, ...]
    """What it says about the GPUs."""


@dataclass(slots=True)
class Member:
    """This incarnation, from its Welcome on."""

    welcome: Welcome
    since_s: float
    told: tuple[GpuInfo, ...]
    """What the Hello said about the GPUs."""
    adopted: Adopted | None = None
    adopted_s: float = 0.0
    """None: caps are being read back, or idleness is being confirmed."""
    is_read: bool = False
    """The limits were read back since the Welcome."""
    is_confirmed: bool = False
    """A beat of this incarnation was answered: the Adopted has arrived."""


@dataclass(slots=True)
class Pending:
    """The newest lease, not in force yet."""

    lease: Lease
    since_s: float
    is_verified: bool = False
    """Limits were read back since it came."""
    is_refused: bool = False


@dataclass(slots=True)
class Session:
    """How the node stands with its scheduler."""

    is_connected: bool = False
    greeting: Greeting | None = None
    hello_due_s: float | None = None
    """When to say Hello; None = no need."""
    tries: int = 0
    hellos: int = 0
    """All Hellos of this process: makes every nonce another."""
    member: Member | None = None
    heard_s: float = 0.0
    """When the newest answered beat (or Hello) was *sent* (I5, I7)."""
    beat_heard_s: float = 0.0
    """The same for beats alone: what they carried is accounted for."""
    beats_out: dict[int, float] = field(default_factory=dict)
    beat_seq: int = 0
    is_spool_asked: bool = False
    spool_retry_s: float = 0.0
    refusal: str = ""
    """Why the scheduler, or this agent, refused the last greeting."""
    no_news_at: tuple[object, bool] | None = None
    """From where there was last nothing that only a Hello could tell."""


ANSWERS_TIMED = 3
"""Answers of the driver by which its pace is known."""


@dataclass(slots=True)
class Caps:
    """The conversation with the driver: one set or read at a time."""

    generation: int = 0
    is_waiting: bool = False
    """ApplyCaps or ReadCaps is out, CapsRead not in."""
    asked_s: float = 0.0
    """When the newest of them went out."""
    took_s: deque[float] = field(default_factory=lambda: deque(maxlen=ANSWERS_TIMED))
    """How long the newest answers took."""
    asked: frozenset[GpuIndex] = frozenset()
    """GPUs whose caps the one that is out sets; empty for a read."""
    looked: frozenset[GpuIndex] = frozenset()
    """GPUs whose processes it looks for."""
    verifies: Sequence | None = None
    """The pending lease it was issued for."""
    reads_for: Incarnation | None = None
    """The incarnation whose Adopted waits for it."""


Standpoint = list[object]
"""What a decision rests on: the same again leads to the same decision."""


@dataclass(slots=True)
class NodeState:
    """Everything a node knows. `emit` collects the effects of the event being handled."""

    facts: Facts
    file: AgentState
    """As on disk."""
    gpus: list[Gpu] = field(default_factory=list)
    attempts: dict[TaskRef, Attempt] = field(default_factory=dict)
    session: Session = field(default_factory=Session)
    caps: Caps = field(default_factory=Caps)
    pending: Pending | None = None
    is_locking: bool = False
    """LockClocks is out, ClocksLocked not in."""
    is_acked: bool = True
    """The lease in force was acknowledged (or adopted)."""
    answers: Answers[CommandDone] = field(default_factory=Answers)
    closed: Closed = field(default_factory=Closed)
    outage: Outage = field(default_factory=Outage)
    host: HostReading = field(default_factory=lambda: HostReading(0.0, 0))
    non_gpu_recent: deque[int] = field(default_factory=lambda: deque(maxlen=NON_GPU_READINGS))
    non_gpu_seen_mw: int = 0
    """Largest measured non-GPU load above the site file's figure."""
    incidents: dict[tuple[str, str], tuple[Condition, float]] = field(default_factory=dict)
    """What happened, by kind and subject, and until when beats say so."""
    started_s: float = 0.0
    beat_due_s: float = 0.0
    beat_wanted_s: float | None = None
    """A beat is due since then, and waits for caps to be read back."""
    usage_due_s: float = 0.0
    sampled_s: float = 0.0
    """When the newest sample was taken; before the first one, when this process started."""
    adopt_wait_s: float = 0.0
    """At a restart: for so many more seconds of samples Adopted may wait for idleness to be
    confirmed, so that it says no more than `adopt_mw`, which is what the books had."""
    adopt_mw: int = 0
    is_started: bool = False
    is_stopping: bool = False
    would_cap_mw: tuple[int, ...] = ()
    settled_at: Standpoint | None = None
    """From where `steer` last found nothing to do; None = it has to look."""
    out: list[Effect] = field(default_factory=list)

    def emit(self, *effects: Effect) -> None:
        """Add effects, in order."""
        self.out.extend(effects)

    def note(self, event: str, text: str) -> None:
        """Add a line for the log."""
        self.out.append(Note(event, text))

    @property
    def lease(self) -> LeaseOnFile | None:
        """The lease in force: saved, and kept by the caps."""
        return self.file.lease

    @property
    def terms(self) -> NodeTerms | None:
        """The site's figures for this node; None before the first Welcome ever."""
        known = self.file.terms
        if known is None:
            return None
        worst_mw = max(known.non_gpu_worst_mw, self.non_gpu_seen_mw)
        return NodeTerms(worst_mw, known.psu_efficiency_permille)

    def overshoot_permille(self, gpu: Gpu) -> int:
        """Of the GPU's model."""
        return self.file.overshoot_permille.get(gpu.info.name, 1000)
