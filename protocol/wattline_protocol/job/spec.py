"""Job specification after parsing and validation. See `job.file` for the text form."""

from typing import Annotated, Literal, get_args

import msgspec

from wattline_protocol.ids import JobId
from wattline_protocol.site.wall_power import PERMILLE
from wattline_protocol.wire.bounds import (
    Amount,
    Argument,
    Bytes,
    Count,
    Few,
    Line,
    Many,
    Name,
    Path,
    Ratio,
    Seconds,
    Serial,
    Table,
    Word,
)

JobKind = Literal["training", "batch", "service"]

PRIORITIES = {"low": 25, "normal": 50, "high": 75, "critical": 100}
"""Names for priorities; any integer 0-100 is allowed. Higher ones are served first, capped last."""

WHOLE_GPU = PERMILLE
"""Shares of GPUs are whole thousandths, so that they add up exactly."""

Share = Annotated[int, msgspec.Meta(ge=1, le=WHOLE_GPU)]
"""Share of a GPU, in thousandths."""

_encode = msgspec.msgpack.Encoder().encode

MAX_HTTP_CAPACITY = 4096

Launcher = Literal["process", "torchrun", "container", "ray"]
LAUNCHERS: tuple[Launcher, ...] = get_args(Launcher)
RENDEZVOUS_LAUNCHERS: tuple[Launcher, ...] = ("torchrun", "ray")
"""Those whose tasks meet at a port of the first node."""
TERMINAL = "terminal"
"""What runs a command on a terminal, as a launcher in front of it."""
REPORTED_LAUNCHERS = frozenset({"container", "ray", TERMINAL})
"""Those that a node has only where its agent reports it."""

StopSignal = Literal["TERM", "INT", "HUP", "QUIT", "USR1"]
"""Signals that may request a stop (signal(7)); USR2 requests stacks."""
STOP_SIGNALS: tuple[StopSignal, ...] = get_args(StopSignal)

Method = Literal["predict", "chat", "complete", "embed"]
"""What a service may offer."""
METHODS: tuple[Method, ...] = get_args(Method)


class CountRange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A number of which the scheduler chooses."""

    least: Count[int]
    most: Count[int]


class ArraySpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Indices of a job array and how many may run at a time (0 = no limit)."""

    indices: Many[Count[int]]
    at_a_time: Count[int] = 0


class Resources(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Requirements of an attempt. `nodes` tasks start together, with `gpus_per_node` GPUs each."""

    nodes: Count[int] | CountRange = 1
    gpus_per_node: Count[int] = 1
    gpu_share_permille: Share = WHOLE_GPU
    """Share of each GPU that a task gets; below the whole only of a single GPU."""
    mig: Name[str] = ""
    """A MIG device of this profile instead of the one GPU; empty = none."""
    gpu_type: Few[Name[str]] = ()
    """Any of these words in the GPU's name, case ignored; empty = any type."""
    gpu_memory_min_bytes: Bytes = 0
    """Memory of each GPU, or of the share of it that a task gets."""
    cpus_per_gpu: Count[int] = 0
    memory_bytes: Bytes = 0
    """Per node; 0 = no request and no limit."""
    same_rack: bool = False
    labels: Table[Name[str], Name[str]] = {}
    """Required of each host."""

    @property
    def is_range(self) -> bool:
        """Whether the scheduler chooses the number of nodes."""
        return self.least_nodes < self.most_nodes

    @property
    def least_nodes(self) -> int:
        """Nodes without which it does not start."""
        return self.nodes if isinstance(self.nodes, int) else self.nodes.least

    @property
    def most_nodes(self) -> int:
        """Nodes at most."""
        return self.nodes if isinstance(self.nodes, int) else self.nodes.most


PowerGoal = Literal["throughput", "efficiency"]


class PowerSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the user knows about the job's power draw."""

    watts_per_gpu: Count[int] = 0
    """Expected uncapped draw of a GPU in watts; 0 = unknown, TDP is assumed."""
    min_performance: Ratio = 0.0
    """Share of the uncapped performance below which the job is paused rather than slowed further; 1
    = never capped; 0 = not specified."""
    progress: Name[str] = ""
    """Metric of the task that measures its progress; empty = a usual name, if there is one."""
    goal: PowerGoal | Literal[""] = ""
    """What its watts are for; "efficiency": the cap of the least energy per result, and no more;
    empty = that of its queue, else throughput."""


class IdleRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Action where a gang's GPUs were used less than `below` on average over `for_s`."""

    below: Ratio
    """Utilisation, 0..1."""
    for_s: Seconds
    """Run time; pauses do not count."""
    action: Literal["stop", "warn"]


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Policy limits; 0 = none."""

    runtime_s: Seconds = 0.0
    """Of one attempt."""
    energy_wh: Amount = 0.0
    """At the wall, of all attempts of the job together."""
    cost_usd: Amount = 0.0
    """At the site's tariff, of all attempts of the job together."""
    idle_gpu: IdleRule | None = None


class Windows(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When it may start and must be complete, in the site's local time."""

    start_only: Few[Name[str]] = ()
    """Weekly windows (see `windows`) in which it may start; empty = always."""
    deadline: Name[str] = ""
    """ISO 8601, with an offset or in local time; empty = none."""


class Recovery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Action when an attempt is lost or fails."""

    retries: Count[int] = 0
    checkpoint_every_s: Seconds | Literal["auto"] = 0.0
    """0 = not set; auto: from the duration of a save and the failures of its nodes."""
    grace_s: Seconds = 30.0
    on_isolation: Literal["", "continue", "stop"] = ""
    """Empty: `stop` for a service, and for others once there is a checkpoint on shared storage."""
    no_progress_s: Seconds = 0.0
    """Run time without a report of its program after which a gang hangs; 0 = no limit."""
    stop_signal: StopSignal = "TERM"
    """Requests a stop with grace."""
    checkpoints: Path = ""
    """Pattern of the checkpoints of a program that does not report them, relative to its working
    directory or absolute; empty = none."""
    from_scratch: bool = False
    """It may begin at step 0 if there are checkpoints and none is intact."""


DEFAULT_SETTLE_S = 120.0


class Launch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the command is started on each node."""

    how: Launcher = "process"
    procs_per_node: Count[int] = 0
    """torchrun: processes per node; 0 = one per GPU."""
    settle_s: Seconds = DEFAULT_SETTLE_S
    """A gang of a range of nodes grows when there is room for so long."""
    global_batch_size: Count[int] = 0
    """Samples of a step over all processes, for the task to divide; 0 = not stated."""
    interface: Word[str] = ""
    """torchrun: network interface of the gang, or `label:NAME`: the node's label has its name."""
    image: Word[str] = ""
    """container: name of the image, as podman knows it on the nodes."""
    pty: bool = False
    """The command runs on a terminal that clients attach to."""

    @property
    def launchers(self) -> tuple[str, ...]:
        """What its node must have to start it."""
        return (self.how, TERMINAL) if self.pty else (self.how,)


DataCheckMode = Literal["", "strict"]
"""strict: the job fails before it takes GPUs if a version broke a rule when it was added."""


class DataSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Data that its tasks read, and what they make."""

    datasets: Few[Name[str]] = ()
    """Versions, `NAME@v3`: each is on the node before the task starts."""
    check: DataCheckMode = ""
    outputs: Few[Path] = ()
    """Outputs that are kept in the store of the site: `checkpoints/`."""
    store_secret: Name[str] = ""
    """Secret of its owner with the keys of that store."""
    makes: Name[str] = ""
    """Data set that gets its output as the next version; empty = it makes none."""
    makes_model: bool = False
    """The set of `makes` is a model."""
    rebuilds: Name[str] = ""
    """Version, `NAME@v3`, to compare its output with, in place of `makes`."""

    @property
    def has_output(self) -> bool:
        """Whether something becomes of what its tasks leave in their output directory."""
        return bool(self.makes or self.rebuilds)


class CacheRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Answers that gateways keep."""

    ttl_s: Seconds
    size_bytes: Bytes
    """Of inputs and answers, in each gateway."""


class BodyLogRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Requests whose bodies gateways log."""

    share: Ratio
    """Of the requests, above 0 and up to 1."""
    blank: Few[Argument]
    """What is blanked before anything is written: see `body_log`."""
    retention_s: Seconds


class HttpServer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The command is an HTTP server, whose requests a bridge passes on."""

    health: Path = "/health"
    """Path that answers 2xx once the server is ready."""
    infer_path: Path = "/infer"
    """Path of `predict`."""
    methods: Few[Method] = ("chat", "complete")
    capacity: Annotated[int, msgspec.Meta(ge=1, le=MAX_HTTP_CAPACITY)] = 64
    """Requests that each gateway may have there."""


DEFAULT_ERRORS = 0.001
MIN_ERRORS, MAX_ERRORS = 0.000_001, 0.5
MIN_P95_S, MAX_P95_S = 0.001, 3_600.0


class Slo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Service level objective."""

    p95_s: Annotated[float, msgspec.Meta(ge=MIN_P95_S, le=MAX_P95_S)]
    """Time in which 95 % of the requests are answered, of streams: begin to be."""
    errors: Annotated[float, msgspec.Meta(ge=MIN_ERRORS, le=MAX_ERRORS)] = DEFAULT_ERRORS
    """Share of the requests that may fail."""


class ServiceSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Services only: worker replicas, and how gateways answer in their place."""

    replicas: Count[int] | CountRange = 1
    cache: CacheRule | None = None
    fallback: Few[Argument] = ()
    """What is tried in turn when the service cannot answer: see `service_values`."""
    http: HttpServer | None = None
    """None: the command connects to the gateways by itself."""
    log_bodies: BodyLogRule | None = None
    slo: Slo | None = None
    """The service is given the watts, and within a range the replicas, that this needs."""
    idle_to_zero_s: Seconds = 0.0
    """Without a request for so long it has no replica; 0 = it keeps the least number."""
    model: Name[str] = ""
    """Version of the model that it serves, which is one of its data sets; empty = none is named."""

    @property
    def least(self) -> int:
        """Replicas at the least load."""
        return self.replicas if isinstance(self.replicas, int) else self.replicas.least

    @property
    def most(self) -> int:
        """Replicas at most."""
        return self.replicas if isinstance(self.replicas, int) else self.replicas.most


class SecretUse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A secret of the job's owner for its tasks, by name: its value is on nodes only."""

    entry: Name[str]
    env: bool = False
    """Also the value of a variable."""


NotifyOn = Literal["begin", "end", "fail", "requeue", "hold"]


class Notify(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The receiver of notifications of the job, and their causes."""

    to: Line = ""
    """A mail address or a URL; empty = no notifications."""
    on: Few[NotifyOn] = ("end",)


def encoded_bytes(spec: "JobSpec") -> int:
    """Size of the spec in a message."""
    return len(_encode(spec))


class JobSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A validated job. Every key has an effect."""

    name: Name[str]
    command: Many[Argument]
    kind: JobKind = "batch"
    queue: Name[str] = "default"
    account: Name[str] = ""
    """Account to charge; empty = the submitting user."""
    reservation: Name[str] = ""
    """Reservation in which it starts; empty = none."""
    priority: Count[int] = PRIORITIES["normal"]
    array: ArraySpec | None = None
    workdir: Path = ""
    """Working directory; on a node without it, the task fails."""
    submit_dir: Path = ""
    """Where it was submitted: its working directory without `workdir`, if the node has it."""
    resources: Resources = Resources()
    power: PowerSpec = PowerSpec()
    limits: Limits = Limits()
    windows: Windows = Windows()
    recovery: Recovery = Recovery()
    launch: Launch = Launch()
    service: ServiceSpec | None = None
    data: DataSpec = DataSpec()
    env: Table[Argument, Argument] = {}
    secrets: Table[Argument, SecretUse] = {}
    """By the name of the file, or variable, that a task finds it in."""
    hold: bool = False
    """Submitted held: waits for `wattline release`."""
    after_ok: Many[Serial[JobId]] = ()
    """Jobs that must succeed before it starts, all indices of an array."""
    after_any: Many[Serial[JobId]] = ()
    """Jobs that must end before it starts, in any state."""
    notify: Notify = Notify()

    @property
    def stops_on_isolation(self) -> bool:
        """Whether its tasks end on a node that cannot reach the scheduler, from their start on."""
        return self.recovery.on_isolation == "stop" or (
            not self.recovery.on_isolation and self.kind == "service"
        )

    @property
    def gang_count(self) -> int:
        """Sets of tasks that start together: array indices, replicas (the least number), or one."""
        if self.array is not None:
            return len(self.array.indices)
        return self.service.least if self.service is not None else 1

    @property
    def most_gangs(self) -> int:
        """The same with as many replicas as it may have."""
        return self.gang_count if self.service is None else self.service.most

    @property
    def has_use_limits(self) -> bool:
        """Whether its usage must be monitored."""
        limits = self.limits
        has_limits = limits.energy_wh or limits.cost_usd or limits.idle_gpu
        return bool(has_limits or self.recovery.no_progress_s)

    @property
    def parents(self) -> tuple[JobId, ...]:
        """Jobs it depends on, each once."""
        return tuple(dict.fromkeys((*self.after_ok, *self.after_any)))

    @property
    def gang_size(self) -> int:
        """Tasks in each gang at most, one per node: their numbers are apart by this."""
        return self.resources.most_nodes
