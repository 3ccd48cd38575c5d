"""Table of all job file keys: how each is read, where it is stored, what it means.

Parsing, `--flags`, the documentation test and error messages all derive from `JOB_KEYS`.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

from wattline_protocol.job import (
    recovery_values,
    scaling_values,
    secret_values,
    service_values,
    values,
)
from wattline_protocol.job.body_log import body_log_rule
from wattline_protocol.job.data_values import (
    datasets,
    makes,
    model,
    outputs,
    rebuilds,
    store_secret,
)
from wattline_protocol.job.http_server import http_server
from wattline_protocol.job.spec import LAUNCHERS, PowerGoal
from wattline_protocol.notify.receiver import notify_on, receiver
from wattline_protocol.site.labels import labels
from wattline_protocol.text.quantities import parse_size_bytes
from wattline_protocol.text.toml_fields import (
    Reader,
    above_zero,
    choice,
    flag,
    or_word,
    quantity,
    texts,
    whole,
)

MAX_NODES = 4096
MAX_GPUS_PER_NODE = 64
MAX_CPUS_PER_GPU = 1024
MAX_WATTS_PER_GPU = 5000
MAX_RETRIES = 1000
MAX_PROCS_PER_NODE = 1024
MAX_GPU_WORDS = 16
MAX_BATCH_SIZE = 100_000_000


@dataclass(frozen=True)
class JobKey:
    """One key of a job file."""

    path: str
    """With its table: "resources.nodes"."""
    reader: Reader[Any]
    field: str
    """Field of `JobSpec` that stores its value."""
    example: str
    meaning: str

    @cached_property
    def table(self) -> str:
        """Its table; "" for the top level of the file."""
        return self.path.rpartition(".")[0]

    @cached_property
    def name(self) -> str:
        """The key inside its table, which is also its flag: no two tables share a key."""
        return self.path.rpartition(".")[2]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of its field and of the enclosing fields, the outermost first."""
        return tuple(self.field.split("."))


_some_time = above_zero(values.duration)
_some_bytes = above_zero(quantity(parse_size_bytes))

JOB_KEYS = (
    JobKey(
        "name",
        values.name,
        "name",
        '"resnet"',
        "Name of the job. Default: the program's; a service needs one.",
    ),
    JobKey("kind", choice("training", "batch", "service"), "kind", '"training"', "Kind of work."),
    JobKey("command", values.command, "command", '["python", "train.py"]', "Command to run."),
    JobKey("queue", values.name, "queue", '"research"', "Queue of the job."),
    JobKey(
        "account", values.name, "account", '"vision"', "Account to charge. Default: the user's own."
    ),
    JobKey(
        "reservation",
        values.name,
        "reservation",
        '"lab-week"',
        "Reservation to start in, and only there.",
    ),
    JobKey(
        "priority",
        values.priority,
        "priority",
        '"high"',
        "Higher priorities are scheduled first and capped last.",
    ),
    JobKey("array", values.array, "array", '"0-31%8"', "One gang per index, 8 at a time."),
    JobKey("workdir", values.absolute_path, "workdir", '"/data/run1"', "Directory to start in."),
    JobKey(
        "submit_dir",
        values.absolute_path,
        "submit_dir",
        '"/data/digits"',
        "Directory to start in without a `workdir`, on nodes that have it.",
    ),
    JobKey("hold", flag, "hold", "true", "Submitted held, until `wattline release`."),
    JobKey(
        "after_ok", values.job_numbers, "after_ok", "[17]", "Start after these jobs have succeeded."
    ),
    JobKey(
        "after_any", values.job_numbers, "after_any", "[17]", "Start after these jobs have ended."
    ),
    JobKey("notify", receiver, "notify.to", '"ada@example.org"', "Mail address or URL to notify."),
    JobKey("notify_on", notify_on, "notify.on", '["end", "requeue"]', "Of what it is notified."),
    JobKey(
        "resources.nodes",
        values.count_range(MAX_NODES),
        "resources.nodes",
        "2",
        "Nodes; all start together. A range: as many as there are.",
    ),
    JobKey(
        "resources.gpus_per_node",
        whole(0, MAX_GPUS_PER_NODE),
        "resources.gpus_per_node",
        "4",
        "GPUs on each node.",
    ),
    JobKey(
        "resources.gpu_type",
        texts(MAX_GPU_WORDS),
        "resources.gpu_type",
        '["h100", "a100"]',
        "Words, one of which the GPU's name contains.",
    ),
    JobKey(
        "resources.gpu_memory_min",
        _some_bytes,
        "resources.gpu_memory_min_bytes",
        '"40GiB"',
        "Minimum memory of each GPU.",
    ),
    JobKey(
        "resources.gpu_share",
        values.gpu_share,
        "resources.gpu_share_permille",
        "0.5",
        "Share of one GPU.",
    ),
    JobKey(
        "resources.mig",
        values.mig_profile,
        "resources.mig",
        '"3g.40gb"',
        "Profile of a MIG device.",
    ),
    JobKey(
        "resources.cpus_per_gpu",
        whole(1, MAX_CPUS_PER_GPU),
        "resources.cpus_per_gpu",
        "8",
        "CPUs per GPU.",
    ),
    JobKey(
        "resources.memory",
        _some_bytes,
        "resources.memory_bytes",
        '"200GiB"',
        "Memory on each node.",
    ),
    JobKey("resources.same_rack", flag, "resources.same_rack", "true", "All nodes in one rack."),
    JobKey(
        "resources.labels",
        labels,
        "resources.labels",
        '{ fabric = "ib" }',
        "Labels that each node has.",
    ),
    JobKey(
        "power.watts_per_gpu",
        whole(1, MAX_WATTS_PER_GPU),
        "power.watts_per_gpu",
        "650",
        "Expected uncapped draw of a GPU in watts. Default: TDP.",
    ),
    JobKey(
        "power.min_performance",
        values.share,
        "power.min_performance",
        "0.7",
        "Minimum performance under a cap; 1.0 = never capped.",
    ),
    JobKey(
        "power.progress",
        values.name,
        "power.progress",
        '"tokens_per_s"',
        "Metric of the job's progress.",
    ),
    JobKey(
        "power.goal",
        choice(*get_args(PowerGoal)),
        "power.goal",
        '"efficiency"',
        "What its power caps are chosen for: throughput, or results per joule.",
    ),
    JobKey(
        "limits.runtime",
        _some_time,
        "limits.runtime_s",
        '"12h"',
        "Maximum run time of an attempt, without pauses.",
    ),
    JobKey(
        "limits.energy", above_zero(values.energy), "limits.energy_wh", '"80kWh"', "Maximum energy."
    ),
    JobKey("limits.cost", above_zero(values.cost), "limits.cost_usd", '"400USD"', "Maximum cost."),
    JobKey(
        "limits.idle_gpu",
        values.idle_rule,
        "limits.idle_gpu",
        '{ below = 0.05, for = "30m", action = "stop" }',
        "Action on idle GPUs.",
    ),
    JobKey(
        "windows.start_only",
        values.windows,
        "windows.start_only",
        '["Sat-Sun"]',
        "Weekly start windows.",
    ),
    JobKey(
        "windows.deadline",
        values.moment,
        "windows.deadline",
        '"2026-12-01T08:00"',
        "Time by which it must end.",
    ),
    JobKey(
        "recovery.retries",
        whole(0, MAX_RETRIES),
        "recovery.retries",
        "3",
        "New attempts after failures.",
    ),
    JobKey(
        "recovery.checkpoint_every",
        or_word("auto", _some_time),
        "recovery.checkpoint_every_s",
        '"15m"',
        "Checkpoint interval, passed to the program.",
    ),
    JobKey(
        "recovery.grace",
        values.duration,
        "recovery.grace_s",
        '"60s"',
        "Time from stop notice to kill.",
    ),
    JobKey(
        "recovery.on_isolation",
        choice("continue", "stop"),
        "recovery.on_isolation",
        '"stop"',
        "Behaviour of tasks whose node cannot reach the scheduler.",
    ),
    JobKey(
        "recovery.no_progress",
        _some_time,
        "recovery.no_progress_s",
        '"10m"',
        "Run time without a metric or heartbeat after which it hangs and is retried.",
    ),
    JobKey(
        "recovery.stop_signal",
        recovery_values.stop_signal,
        "recovery.stop_signal",
        '"USR1"',
        "Signal that requests a stop.",
    ),
    JobKey(
        "recovery.checkpoints",
        recovery_values.checkpoints,
        "recovery.checkpoints",
        '"out/checkpoint-*"',
        "Where a program that does not report its checkpoints saves them.",
    ),
    JobKey(
        "recovery.from_scratch",
        flag,
        "recovery.from_scratch",
        "true",
        "Begin at step 0 if no checkpoint is intact.",
    ),
    JobKey(
        "data.datasets",
        datasets,
        "data.datasets",
        '["imagenet@v3"]',
        "Versions of data sets that it reads.",
    ),
    JobKey(
        "data.check",
        choice("strict"),
        "data.check",
        '"strict"',
        "Fail before GPUs are taken if its data broke a rule.",
    ),
    JobKey(
        "data.makes",
        makes,
        "data.makes",
        '"features"',
        "Data set that gets WATTLINE_OUTPUT as its next version.",
    ),
    JobKey("data.makes_model", flag, "data.makes_model", "true", "The set of `makes` is a model."),
    JobKey(
        "data.rebuilds",
        rebuilds,
        "data.rebuilds",
        '"features@v1"',
        "Version to compare WATTLINE_OUTPUT with.",
    ),
    JobKey(
        "data.outputs",
        outputs,
        "data.outputs",
        '["checkpoints/"]',
        "Outputs that are kept in the store of the site.",
    ),
    JobKey(
        "data.store_secret",
        store_secret,
        "data.store_secret",
        '"store"',
        "Secret of its owner with the keys of that store.",
    ),
    JobKey("env", values.environment, "env", '{ SEED = "1" }', "Environment variables."),
    JobKey(
        "secrets",
        secret_values.secrets,
        "secrets",
        '{ WANDB_API_KEY = "wandb" }',
        "Secrets of the nodes, as files for the task; where asked, as variables too.",
    ),
    JobKey(
        "launch.how",
        choice(*LAUNCHERS),
        "launch.how",
        '"torchrun"',
        "Launcher of the command.",
    ),
    JobKey(
        "launch.image",
        values.image,
        "launch.image",
        '"registry.example/team/train:v3"',
        "container: the image, which the nodes have.",
    ),
    JobKey(
        "launch.procs_per_node",
        whole(1, MAX_PROCS_PER_NODE),
        "launch.procs_per_node",
        "8",
        "torchrun: processes per node. Default: one per GPU.",
    ),
    JobKey(
        "launch.settle",
        values.duration,
        "launch.settle_s",
        '"2m"',
        "With a range of nodes: grow after there was room for so long.",
    ),
    JobKey(
        "launch.global_batch_size",
        whole(1, MAX_BATCH_SIZE),
        "launch.global_batch_size",
        "256",
        "Samples of a step over all processes.",
    ),
    JobKey(
        "launch.interface",
        values.interface,
        "launch.interface",
        '"ib0"',
        "torchrun: network interface, or `label:NAME`: each node's label has its name.",
    ),
    JobKey(
        "launch.pty",
        flag,
        "launch.pty",
        "true",
        "Run the command on a terminal, for `wattline attach`.",
    ),
    JobKey(
        "service.replicas",
        scaling_values.replicas,
        "service.replicas",
        "2",
        "Services: workers; a range follows the load.",
    ),
    JobKey(
        "service.slo",
        scaling_values.slo_rule,
        "service.slo",
        '{ p95 = "200ms", errors = 0.001 }',
        "Services: time of the answers, and share of errors, to keep.",
    ),
    JobKey(
        "service.idle_to_zero",
        scaling_values.idle_time,
        "service.idle_to_zero_s",
        '"10m"',
        "Services: time without a request after which no replica is left.",
    ),
    JobKey(
        "service.model",
        model,
        "service.model",
        '"net@stable"',
        "Services: version of the model that they serve.",
    ),
    JobKey(
        "service.cache",
        service_values.cache_rule,
        "service.cache",
        '{ ttl = "5m", size = "256MiB" }',
        "Services: answers to equal inputs that gateways keep.",
    ),
    JobKey(
        "service.fallback",
        service_values.fallbacks,
        "service.fallback",
        '["small", "static:null"]',
        "Services: what answers in its place when it cannot.",
    ),
    JobKey(
        "service.log_bodies",
        body_log_rule,
        "service.log_bodies",
        '{ share = 0.01, blank = ["email", "card", "phone"], retention = "30d" }',
        "Services: log the bodies of a share of the requests.",
    ),
    JobKey(
        "service.http",
        http_server,
        "service.http",
        '{ health = "/health" }',
        "Services: the command is an HTTP server.",
    ),
)

TABLES = tuple(dict.fromkeys(key.table for key in JOB_KEYS if key.table))
NAMES = {table: [key.name for key in JOB_KEYS if key.table == table] for table in ("", *TABLES)}
BY_NAME = {key.name: key for key in JOB_KEYS}
ELSEWHERE = {key.name: f"[{key.table}]" if key.table else "the top" for key in JOB_KEYS}

OPTION_ALIASES = {
    "gpus": "gpus_per_node",
    "gpu_memory": "gpu_memory_min",
    "time": "runtime",
    "label": "labels",
    "launch": "how",
    "data_check": "check",
}
"""Short names for flags and keywords."""

WRITTEN = {short: BY_NAME[name].path for short, name in OPTION_ALIASES.items()}
"""Their spelling in a job file."""

_SHORT = {name: short for short, name in OPTION_ALIASES.items()}


def flag_of(name: str) -> str:
    """The flag of `submit` for a key."""
    return f"--{_SHORT.get(name, name).replace('_', '-')}"
