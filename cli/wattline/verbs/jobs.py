"""Verbs about jobs."""

from dataclasses import replace
from functools import partial
from typing import get_args

from wattline.verbs.verb import Argument, Option, Verb
from wattline_protocol.job.spec import JobKind
from wattline_protocol.views.site_views import JobState

_JOBS = Argument(
    "jobs",
    "Which jobs: numbers, ranges and lists as in 3-5,8, `last`, or indices of an array as in "
    "12[0-31] or 12.7.",
    required=False,
)
_JOB = Argument("job", "The job's number, or `last` for your newest one.")

_FILTERS = (
    Option("user", ("--user", "-u"), "Only jobs of this user; may be repeated.", many=True),
    Option("account", ("--account",), "Only those it pays for; may be repeated.", many=True),
    Option("queue", ("--queue",), "Only those in this queue; may be repeated.", many=True),
    Option(
        "name",
        ("--name", "-J"),
        "Only those whose name fits the pattern, as in 'sweep-*'; may be repeated.",
        many=True,
    ),
)

_WHICH = (
    _JOBS,
    *_FILTERS,
    Option(
        "state",
        ("--state", "-s"),
        "Only those in this state, of arrays only such indices; may be repeated.",
        choices=get_args(JobState),
        many=True,
    ),
    Option("dry_run", ("--dry-run", "-n"), "Only list what would be done.", kind="switch"),
)

_UPDATE_KEYS = (
    *("priority", "queue", "account", "reservation", "time", "retries", "grace"),
    *("checkpoint_every", "on_isolation", "nodes", "gpus", "gpu_type", "gpu_memory"),
    *("cpus_per_gpu", "memory", "same_rack", "label", "watts_per_gpu", "min_performance"),
    *("energy", "cost", "idle_gpu", "start_only", "deadline", "replicas"),
)

_WHICH_DETAILS = (
    "Numbers, filters or both say which jobs; without numbers, of those that have not ended. "
    "Users act on their own jobs, operators on all."
)

_SUBMIT_OPTIONS = (
    Option("name", ("--name", "-J"), "Name of the job; otherwise the command's."),
    Option("kind", ("--kind",), "What it is.", choices=get_args(JobKind)),
    Option("queue", ("--queue",), "Queue it waits in."),
    Option("account", ("--account",), "Account to charge; otherwise your own."),
    Option("reservation", ("--reservation",), "Reservation it starts in, and nowhere else."),
    Option("priority", ("--priority", "-p"), "low, normal, high, critical, or 0-100."),
    Option("array", ("--array", "-a"), "One task per index, as in 0-31%8 (8 at a time)."),
    Option("nodes", ("--nodes", "-N"), "Hosts that start together.", kind="integer"),
    Option("gpus", ("--gpus", "-g"), "GPUs on each host.", kind="integer"),
    Option("gpu_share", ("--gpu-share",), "A part of one GPU, as in 0.5.", kind="number"),
    Option("mig", ("--mig",), "A MIG device of this profile, as in 3g.40gb."),
    Option("gpu_type", ("--gpu-type",), "Word in the GPU's name; may be repeated.", many=True),
    Option("gpu_memory", ("--gpu-memory",), "Least memory of each GPU, as in 40GiB."),
    Option("cpus_per_gpu", ("--cpus-per-gpu",), "CPUs with each GPU.", kind="integer"),
    Option("memory", ("--memory",), "Memory on each host, as in 200GiB."),
    Option("same_rack", ("--same-rack",), "All hosts in one rack.", kind="switch"),
    Option(
        "label", ("--label",), "Label NAME=VALUE that each host has; may be repeated.", many=True
    ),
    Option("watts_per_gpu", ("--watts-per-gpu",), "Expected uncapped draw.", kind="integer"),
    Option(
        "min_performance",
        ("--min-performance",),
        "Slowdown by capping that it tolerates, as in 0.7; 1 = never capped.",
        kind="number",
    ),
    Option("progress", ("--progress",), "Metric that tells how fast it works."),
    Option("time", ("--time", "-t"), "Longest run time, as in 12h."),
    Option("energy", ("--energy",), "Most energy of all its attempts, as in 80kWh."),
    Option("cost", ("--cost",), "Most cost of all its attempts, as in 400USD."),
    Option(
        "idle_gpu",
        ("--idle-gpu",),
        "What happens where its GPUs idle: below=0.05,for=30m,action=stop (or warn).",
    ),
    Option(
        "start_only",
        ("--start-only",),
        "Weekly window in which it may start, as in 'Mon-Fri 20:00-06:00'; may be repeated.",
        many=True,
    ),
    Option("deadline", ("--deadline",), "When it must be done, as in 2026-12-01T08:00."),
    Option("retries", ("--retries",), "New attempts after a failure.", kind="integer"),
    Option("checkpoint_every", ("--checkpoint-every",), "As in 15m."),
    Option("grace", ("--grace",), "Time between stop notice and kill, as in 60s."),
    Option(
        "on_isolation",
        ("--on-isolation",),
        "What a task does when its node cannot reach the scheduler.",
        choices=("continue", "stop"),
    ),
    Option("workdir", ("--workdir", "-D"), "Directory to start in.", kind="path"),
    Option(
        "submit_dir",
        ("--submit-dir",),
        "Directory to start in on nodes that have it; otherwise this one.",
        kind="path",
    ),
    Option("env", ("--env", "-e"), "Variable NAME=VALUE; may be repeated.", many=True),
    Option("torchrun", ("--torchrun",), "Start the command with torchrun.", kind="switch"),
    Option("procs_per_node", ("--procs-per-node",), "torchrun: processes a host.", kind="integer"),
    Option("replicas", ("--replicas",), "Services: how many workers.", kind="integer"),
    Option("after_ok", ("--after-ok",), "Start after the success of these jobs, as in 17,18."),
    Option("after_any", ("--after-any",), "Start after the end of these jobs, as in 17,18."),
    Option("hold", ("--hold", "-H"), "Accept it, but wait for `release`.", kind="switch"),
)

_FROM = {"account": "from_account", "queue": "from_queue"}
"""Filters of `update`, whose own --account and --queue are the new values."""

_WHICH_FROM = tuple(
    replace(p, name=_FROM[p.name], flags=(f"--{_FROM[p.name].replace('_', '-')}",))
    if isinstance(p, Option) and p.name in _FROM
    else p
    for p in _WHICH
)

_UPDATES = (
    *(option for option in _SUBMIT_OPTIONS if option.name in _UPDATE_KEYS),
    Option("at_a_time", ("--at-a-time",), "Indices of an array that may run; none: all."),
)

_verb = partial(Verb, section="Jobs", role="submitter")
_act = partial(_verb, show="wattline.show.acted:acted", args=_WHICH, details=_WHICH_DETAILS)

VERBS = (
    _verb(
        name="submit",
        help="Submit a job, from a job file, from flags, or both.",
        details="Flags win over the file. What follows `--` is the command. The job's number is "
        "printed once the job is on the scheduler's disk.",
        act="wattline.acts.submit:submit",
        show="wattline.show.jobs:submitted",
        knows_json=True,
        args=(
            Argument("file", "Job file (TOML).", kind="path", required=False),
            Argument("command", "Command to run.", required=False, after_dashes=True),
            *_SUBMIT_OPTIONS,
            Option("quiet", ("--quiet", "-q"), "Print the bare number.", kind="switch"),
            Option(
                "wait",
                ("--wait", "-W"),
                "Wait for the end and exit with the job's status; prints what a job of one task "
                "writes.",
                kind="switch",
            ),
        ),
        examples=(
            "wattline submit train.toml",
            "wattline submit --gpus 1 --wait -- python score.py",
            "id=$(wattline submit -q -N 2 -g 8 --torchrun -- train.py)",
        ),
    ),
    _verb(
        name="jobs",
        help="List jobs that wait or run, with the reason why each waits.",
        act="wattline.acts.jobs:jobs",
        show="wattline.show.jobs:listing",
        args=(
            Option("all_jobs", ("--all", "-a"), "Ended jobs too.", kind="switch"),
            Option(
                "state",
                ("--state", "-s"),
                "Only jobs in this state; may be repeated.",
                choices=get_args(JobState),
                many=True,
            ),
            Option("mine", ("--mine",), "Only your own jobs.", kind="switch"),
            *_FILTERS,
            Option("lines", ("--lines", "-n"), "Only so many, the newest.", kind="integer"),
        ),
        examples=(
            "wattline jobs --state RUNNING",
            "wattline jobs --user ada --name 'sweep-*' --lines 20",
            "wattline jobs --all --json",
        ),
    ),
    _verb(
        name="job",
        help="Show one job with all its attempts.",
        act="wattline.acts.jobs:job",
        show="wattline.show.job:detail",
        args=(_JOB,),
    ),
    _verb(
        name="explain",
        help="Say why a job waits: which nodes were refused, what was missing, until when.",
        details="Also what would let it start now: whose work of lower priority would have to go, "
        "or how many GPUs or nodes fit. The estimate goes by run time limits (`--time`).",
        act="wattline.acts.jobs:explain",
        show="wattline.show.job:explanation",
        args=(_JOB,),
    ),
    _verb(
        name="accounts",
        help="Show what is due to each account, what it used, and quotas.",
        details="In queue order: among jobs of one priority the account that used "
        "least for its shares comes first. USED/DUE compares it with its siblings: below 1 it "
        "had less than is due to it. "
        "Use is of GPU time and energy by the weights of the site file, and older use counts less. "
        "What an account has is with that of the accounts below it.",
        act="wattline.acts.accounts:accounts",
        show="wattline.show.accounts:listing",
    ),
    _verb(
        name="whatif",
        help="Say what would become of a job, without submitting it: the same as `explain`.",
        details="Takes what `submit` takes; a job that would be refused is refused here too.",
        act="wattline.acts.submit:what_if",
        show="wattline.show.job:explanation",
        args=(
            Argument("file", "Job file (TOML).", kind="path", required=False),
            Argument("command", "Command to run.", required=False, after_dashes=True),
            *_SUBMIT_OPTIONS,
        ),
        examples=(
            "wattline whatif train.toml",
            "wattline whatif train.toml --gpus 8 --priority high",
        ),
    ),
    _verb(
        name="logs",
        help="Print what a task has written.",
        details="For owners and operators; `logs` of the site file opens them to everyone.",
        act="wattline.acts.logs:logs",
        show="wattline.show.jobs:log_text",
        args=(
            _JOB,
            Option("task", ("--task",), "Number of the task.", kind="integer", default=0),
            Option(
                "attempt",
                ("--attempt",),
                "Number of the attempt; otherwise the newest.",
                kind="integer",
                default=0,
            ),
            Option("tail", ("--tail", "-n"), "Only the last so many lines.", kind="integer"),
            Option("follow", ("--follow", "-f"), "Go on until the task ends.", kind="switch"),
        ),
        examples=("wattline logs last -f", "wattline logs 12 --task 3 --tail 50"),
    ),
    _act(
        name="cancel",
        help="Stop jobs: stop notice, SIGTERM, and SIGKILL after their grace time.",
        act="wattline.acts.jobacts:cancel",
        examples=(
            "wattline cancel 3-5,8",
            "wattline cancel '12[0-31]'",
            "wattline cancel --user ada --state PENDING --dry-run",
        ),
    ),
    _act(
        name="hold",
        help="Keep waiting jobs from starting.",
        act="wattline.acts.jobacts:hold",
    ),
    _act(
        name="release",
        help="Let held jobs start. What an operator holds, only operators release.",
        act="wattline.acts.jobacts:release",
    ),
    _act(
        name="requeue",
        help="Send jobs back to the queue: what runs is stopped as by `cancel` and runs again.",
        details="Also what has failed, was cancelled or timed out. Checkpoints stay, and no retry "
        f"is used up. {_WHICH_DETAILS}",
        act="wattline.acts.jobacts:requeue",
        examples=("wattline requeue last", "wattline requeue 12 --state FAILED"),
    ),
    _act(
        name="update",
        help="Change what jobs asked for; running work gets a new priority's watts at once.",
        details="Priority, queue, account, reservation, --at-a-time, retries, grace, limits, "
        "windows and --replicas may change at any time, the rest while none of it runs, --nodes "
        "before its first try. What ended without completing may change before `requeue` runs it "
        "again, but not its queue, account, reservation or replicas. `none` takes a text back to "
        f"its default. {_WHICH_DETAILS}",
        act="wattline.acts.jobacts:update",
        args=(*_WHICH_FROM, *_UPDATES),
        examples=(
            "wattline update 12 --priority high",
            "wattline update --from-queue night --queue day --state PENDING",
            "wattline update last --at-a-time 4",
        ),
    ),
)
