"""Verbs about jobs."""

from dataclasses import replace
from functools import partial
from typing import get_args

from wattline.lists.options import WHERE
from wattline.verbs.verb import Argument, Option, Verb
from wattline_protocol.job.spec import STOP_SIGNALS, JobKind, PowerGoal
from wattline_protocol.views.site_views import JobState

_JOBS = Argument(
    "jobs",
    "Numbers, ranges and lists as in 3-5,8, `last`, or indices of an array as in 12[0-31] or 12.7.",
    required=False,
)
_JOB = Argument("job", "The job's number, or `last` for your newest one.")

_FILTERS = (
    Option("user", ("--user", "-u"), "Only jobs of this user; may be repeated.", many=True),
    Option("account", ("--account",), "Only jobs of this account; may be repeated.", many=True),
    Option("queue", ("--queue",), "Only jobs in this queue; may be repeated.", many=True),
    Option(
        "name",
        ("--name", "-J"),
        "Only jobs whose name matches the pattern, as in 'sweep-*'; may be repeated.",
        many=True,
    ),
)

_WHICH = (
    _JOBS,
    *_FILTERS,
    Option(
        "state",
        ("--state", "-s"),
        "Only jobs, or indices of arrays, in this state; may be repeated.",
        choices=get_args(JobState),
        many=True,
    ),
    WHERE,
    Option(
        "dry_run", ("--dry-run", "-n"), "List what would be done, and do nothing.", kind="switch"
    ),
)

_UPDATE_KEYS = (
    *("priority", "queue", "account", "reservation", "time", "retries", "grace"),
    *("checkpoint_every", "on_isolation", "nodes", "gpus", "gpu_type", "gpu_memory"),
    *("cpus_per_gpu", "memory", "same_rack", "label", "watts_per_gpu", "min_performance"),
    *("goal", "energy", "cost", "idle_gpu", "no_progress", "start_only", "deadline", "replicas"),
    *("stop_signal", "checkpoints", "from_scratch"),
    *("slo", "idle_to_zero", "cache", "fallback", "log_bodies"),
)

_WHICH_DETAILS = (
    "Numbers, filters or both select jobs; without numbers, jobs that have not ended. "
    "Users act on their own jobs, operators on all."
)

_FROM_SCRATCH = Option(
    "from_scratch",
    ("--from-scratch",),
    "Begin at step 0 if no checkpoint is intact.",
    kind="switch",
)

_FILE = Argument(
    "file", "Job file (TOML), or a script with #SBATCH lines.", kind="path", required=False
)

_SUBMIT_OPTIONS = (
    Option("name", ("--name", "-J"), "Name of the job. Default: the command's; services need one."),
    Option("kind", ("--kind",), "Kind of the job.", choices=get_args(JobKind)),
    Option("queue", ("--queue",), "Queue of the job."),
    Option("account", ("--account",), "Account to charge. Default: your own."),
    Option("reservation", ("--reservation",), "Reservation to start in, and only there."),
    Option("priority", ("--priority", "-p"), "low, normal, high, critical, or 0-100."),
    Option("array", ("--array", "-a"), "One task per index, as in 0-31%8 (8 at a time)."),
    Option(
        "nodes",
        ("--nodes", "-N"),
        "Nodes; all start together. A range as in 2-4: as many as there are.",
    ),
    Option("gpus", ("--gpus", "-g"), "GPUs on each node.", kind="integer"),
    Option("gpu_share", ("--gpu-share",), "Share of one GPU, as in 0.5.", kind="number"),
    Option("mig", ("--mig",), "Profile of a MIG device, as in 3g.40gb."),
    Option("gpu_type", ("--gpu-type",), "Word in the GPU's name; may be repeated.", many=True),
    Option("gpu_memory", ("--gpu-memory",), "Minimum memory of each GPU, as in 40GiB."),
    Option("cpus_per_gpu", ("--cpus-per-gpu",), "CPUs per GPU.", kind="integer"),
    Option("memory", ("--memory",), "Memory on each node, as in 200GiB."),
    Option("same_rack", ("--same-rack",), "All nodes in one rack.", kind="switch"),
    Option("label", ("--label",), "Label NAME=VALUE of each node; may be repeated.", many=True),
    Option(
        "watts_per_gpu", ("--watts-per-gpu",), "Expected uncapped draw in watts.", kind="integer"
    ),
    Option(
        "min_performance",
        ("--min-performance",),
        "Minimum performance under a cap, as in 0.7; 1 = never capped.",
        kind="number",
    ),
    Option("progress", ("--progress",), "Metric of the job's progress."),
    Option(
        "goal",
        ("--goal",),
        "What its power caps are chosen for: throughput, or results per joule.",
        choices=get_args(PowerGoal),
    ),
    Option("time", ("--time", "-t"), "Maximum run time, as in 12h or 12:00:00."),
    Option("energy", ("--energy",), "Maximum energy of all attempts, as in 80kWh."),
    Option("cost", ("--cost",), "Maximum cost of all attempts, as in 400USD."),
    Option(
        "idle_gpu",
        ("--idle-gpu",),
        "Action on idle GPUs: below=0.05,for=30m,action=stop (or warn).",
    ),
    Option(
        "start_only",
        ("--start-only",),
        "Weekly start window, as in 'Mon-Fri 20:00-06:00'; may be repeated.",
        many=True,
    ),
    Option("deadline", ("--deadline",), "Time by which it must end, as in 2026-12-01T08:00."),
    Option("retries", ("--retries",), "New attempts after failures.", kind="integer"),
    Option("checkpoint_every", ("--checkpoint-every",), "Checkpoint interval, as in 15m."),
    Option(
        "no_progress", ("--no-progress",), "Time without progress that counts as a hang, as in 10m."
    ),
    Option("stop_signal", ("--stop-signal",), "Signal of a stop.", choices=STOP_SIGNALS),
    Option(
        "checkpoints", ("--checkpoints",), "Where it saves checkpoints, as in 'out/checkpoint-*'."
    ),
    _FROM_SCRATCH,
    Option("grace", ("--grace",), "Time from stop notice to kill, as in 60s."),
    Option(
        "on_isolation",
        ("--on-isolation",),
        "Behaviour of tasks whose node cannot reach the scheduler.",
        choices=("continue", "stop"),
    ),
    Option("workdir", ("--workdir", "-D"), "Directory to start in.", kind="path"),
    Option(
        "submit_dir",
        ("--submit-dir",),
        "Directory to start in on nodes that have it. Default: this one.",
        kind="path",
    ),
    Option("datasets", ("--datasets",), "Data it reads, as digits@v3; may be repeated.", many=True),
    Option("makes", ("--makes",), "Data set that gets its output as the next version."),
    Option("makes_model", ("--makes-model",), "The set of --makes is a model.", kind="switch"),
    Option("rebuilds", ("--rebuilds",), "Version to compare its output with."),
    Option(
        "data_check",
        ("--data-check",),
        "Fail before GPUs are taken if its data broke a rule.",
        choices=("strict",),
    ),
    Option(
        "outputs", ("--outputs",), "What it keeps in the site's store: checkpoints/.", many=True
    ),
    Option("store_secret", ("--store-secret",), "Your secret with the keys of that store."),
    Option("env", ("--env", "-e"), "Variable NAME=VALUE; may be repeated.", many=True),
    Option(
        "secrets",
        ("--secrets",),
        "File $WATTLINE_SECRETS_DIR/NAME of `secret put`: NAME=ENTRY; may be repeated.",
        many=True,
    ),
    Option("torchrun", ("--torchrun",), "Start the command with torchrun.", kind="switch"),
    Option(
        "procs_per_node", ("--procs-per-node",), "torchrun: processes per node.", kind="integer"
    ),
    Option("settle", ("--settle",), "With a range of nodes: time with free nodes before it grows."),
    Option(
        "global_batch_size",
        ("--global-batch-size",),
        "Samples of a step over all processes.",
        kind="integer",
    ),
    Option("pty", ("--pty",), "Run the command on a terminal, for `attach`.", kind="switch"),
    Option("interface", ("--interface",), "torchrun: network interface of the gang."),
    Option("image", ("--image",), "Run the command in a container of this image."),
    Option("replicas", ("--replicas",), "Services: workers; a range as in 2-8 needs --slo."),
    Option("slo", ("--slo",), "Services: their SLO, as in p95=200ms,errors=0.001."),
    Option("model", ("--model",), "Services: the model they serve, as net@stable."),
    Option(
        "idle_to_zero",
        ("--idle-to-zero",),
        "Services: idle time after which no replica runs, as in 30m.",
    ),
    Option("cache", ("--cache",), "Services: cache of answers, as in ttl=5m,size=256MiB."),
    Option(
        "fallback",
        ("--fallback",),
        "Services: what answers when it cannot: a service, cache, or static:JSON; may be repeated.",
        many=True,
    ),
    Option(
        "log_bodies",
        ("--log-bodies",),
        "Services: log a share of bodies, as in share=0.01,blank=email+card,retention=30d.",
    ),
    Option("http", ("--http",), "Services: an HTTP server, as in health=/health,methods=chat."),
    Option("after_ok", ("--after-ok",), "Start after these jobs have succeeded, as in 17,18."),
    Option("after_any", ("--after-any",), "Start after these jobs have ended, as in 17,18."),
    Option("notify", ("--notify",), "Address or URL to notify, as in ada@example.org."),
    Option(
        "notify_on",
        ("--notify-on",),
        "When to notify, as in end,requeue; also begin, fail, hold. Default: end.",
    ),
    Option("hold", ("--hold", "-H"), "Submit it held, until `release`.", kind="switch"),
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
    Option("at_a_time", ("--at-a-time",), "Indices of an array that run at a time; none: all."),
)

_verb = partial(Verb, section="Jobs", role="submitter")
_act = partial(_verb, show="wattline.show.acted:acted", args=_WHICH, details=_WHICH_DETAILS)

VERBS = (
    _verb(
        name="submit",
        help="Submit a job, from a job file or script, from flags, or both.",
        details="Flags override the file. What follows `--` is the command. Of a script, which "
        "begins with #!, `#SBATCH` lines are read (docs/from-slurm.md), and what follows `--` are "
        "its arguments. The job's number is "
        'printed once the job is on the scheduler\'s disk. A file of kind = "route" declares '
        "routes (docs/routing.md).",
        act="wattline.acts.submit:submit",
        show="wattline.show.jobs:submitted",
        knows_json=True,
        args=(
            _FILE,
            Argument("command", "Command to run.", required=False, after_dashes=True),
            *_SUBMIT_OPTIONS,
            Option("quiet", ("--quiet", "-q"), "Print only the number.", kind="switch"),
            Option(
                "wait",
                ("--wait", "-W"),
                "Wait for the end and exit with the job's status; prints the output of a "
                "one-task job.",
                kind="switch",
            ),
        ),
        examples=(
            "wattline submit train.toml",
            "wattline submit train.sh -- --epochs 30",
            "wattline submit --gpus 1 --wait -- python score.py",
            "id=$(wattline submit -q -N 2 -g 8 --torchrun -- train.py)",
        ),
    ),
    _verb(
        name="run",
        help="Run a job in the foreground: prints its output, exits with its status.",
        details="Takes the options of `submit`. On a terminal it shows why the job waits. Ctrl-C, "
        "SIGTERM or SIGHUP cancels the job with its grace period, a second signal kills it, after "
        "a third one it runs on; the exit code is then 128 + the first signal. Restarts of the "
        "scheduler do not affect it. If this program is killed (SIGKILL) or its host is lost, "
        "the job runs on, like one of `submit`. For a job of several nodes it prints the "
        "output of the first. Standard input is empty. With --pty it attaches to the job's "
        "terminal: a signal then detaches it, and the job runs on.",
        act="wattline.foreground.run:run",
        has_json=False,
        args=(
            _FILE,
            Argument("command", "Command to run.", required=False, after_dashes=True),
            *_SUBMIT_OPTIONS,
            Option("quiet", ("--quiet", "-q"), "Print the output alone.", kind="switch"),
        ),
        examples=(
            "wattline run --gpus 1 -- python score.py",
            "wattline run --gpus 0 --time 10:00 -- make test && echo passed",
            "wattline run --gpus 1 --pty -- bash",
        ),
    ),
    _verb(
        name="attach",
        help="Attach to the terminal of a running job, submitted with --pty.",
        details="Type ~. after Enter to detach: the job runs on, and its output stays in its log. "
        "A client that is already attached is detached. Ends with the terminal, with the job's "
        "exit status. Only the owner may attach, and operators if the site file allows it "
        "(terminals).",
        act="wattline.foreground.attach:attach",
        has_json=False,
        args=(_JOB,),
        examples=("wattline submit --pty --gpus 1 -- bash", "wattline attach last"),
    ),
    _verb(
        name="jobs",
        help="List pending and running jobs, with wait reasons.",
        act="wattline.acts.jobs:jobs",
        lists=("wattline.show.jobs:LIST",),
        selects=True,
        args=(
            Option("all_jobs", ("--all", "-a"), "Include ended jobs.", kind="switch"),
            Option(
                "state",
                ("--state", "-s"),
                "Only jobs in this state; may be repeated.",
                choices=get_args(JobState),
                many=True,
            ),
            Option("mine", ("--mine",), "Only your own jobs.", kind="switch"),
            *_FILTERS,
            Option(
                "lines", ("--lines", "-n"), "Number of jobs to list, the newest.", kind="integer"
            ),
        ),
        examples=(
            "wattline jobs --state RUNNING",
            "wattline jobs --user ada --name 'sweep-*' --lines 20",
            "wattline jobs --where 'state=pending and reason~watts' --sort -gpus,user",
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
        help="Explain why a job is pending: what nodes lack, and when it starts.",
        details="Also what would let it start now: preemption of lower priorities, or fewer GPUs "
        "or nodes. The estimate uses run time limits (`--time`).",
        act="wattline.acts.jobs:explain",
        show="wattline.show.job:explanation",
        args=(_JOB,),
    ),
    _verb(
        name="accounts",
        help="Show shares, use and quotas of accounts.",
        details="In queue order: within a priority the account with the least use for its shares "
        "comes first. USED/DUE compares it with its siblings: below 1 it used less than its share. "
        "Use is GPU time and energy by the weights of the site file; older use counts less. "
        "Figures of an account include the accounts below it.",
        act="wattline.acts.accounts:accounts",
        lists=("wattline.show.accounts:LIST",),
    ),
    _verb(
        name="quotas",
        help="List quotas of queues and accounts: limits, usage, jobs that wait for one.",
        details="Amounts are in the unit of the KIND, a key of the site file. Quotas of energy and "
        "cost reset by day and month, the others have headroom again as work ends. With --csv the "
        "time of the reset is in UTC.",
        act="wattline.acts.accounts:quotas",
        lists=("wattline.show.accounts:QUOTAS",),
        examples=(
            "wattline quotas --where 'of-limit>80%'",
            "wattline quotas --where 'waiting>0 and of=account' --sort -of-limit",
        ),
    ),
    _verb(
        name="whatif",
        help="Predict when a job would start, without submitting it, as `explain` does.",
        details="Takes the options of `submit`; a job that `submit` would refuse is refused.",
        act="wattline.acts.submit:what_if",
        show="wattline.show.job:explanation",
        args=(
            _FILE,
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
        help="Print the output of a task.",
        details="For owners and operators, or all users (`logs` in the site file).",
        act="wattline.acts.logs:logs",
        show="wattline.show.jobs:log_text",
        args=(
            _JOB,
            Option("task", ("--task",), "Number of the task.", kind="integer", default=0),
            Option(
                "attempt",
                ("--attempt",),
                "Number of the attempt; 0 is the newest.",
                kind="integer",
                default=0,
            ),
            Option("rank", ("--rank",), "Rank of its gang alone, or first-failed."),
            Option("tail", ("--tail", "-n"), "Number of last lines to print.", kind="integer"),
            Option(
                "follow", ("--follow", "-f"), "Follow the log until the task ends.", kind="switch"
            ),
        ),
        examples=("wattline logs last -f", "wattline logs 12 --rank first-failed --tail 50"),
    ),
    _act(
        name="cancel",
        help="Stop jobs: stop notice, SIGTERM, and SIGKILL after the grace period.",
        act="wattline.acts.jobacts:cancel",
        examples=(
            "wattline cancel 3-5,8",
            "wattline cancel '12[0-31]'",
            "wattline cancel --user ada --state PENDING --dry-run",
            "wattline cancel --where 'state=pending and age>2d'",
        ),
    ),
    _act(
        name="hold",
        help="Hold pending jobs: they do not start.",
        act="wattline.acts.jobacts:hold",
    ),
    _act(
        name="release",
        help="Release held jobs. Holds of operators are released by operators only.",
        act="wattline.acts.jobacts:release",
    ),
    _act(
        name="requeue",
        help="Return jobs to the queue: running tasks are stopped as by `cancel`.",
        details="Also jobs that have failed, timed out or were cancelled. Checkpoints stay, and no "
        f"retry is used. {_WHICH_DETAILS}",
        act="wattline.acts.jobacts:requeue",
        args=(*_WHICH, _FROM_SCRATCH),
        examples=("wattline requeue last", "wattline requeue 12 --state FAILED"),
    ),
    _act(
        name="update",
        help="Change jobs; a new priority applies to the power of running jobs at once.",
        details="Priority, queue, account, reservation, --at-a-time, retries, grace, limits, "
        "windows, --replicas, --slo, --cache, --fallback and the like can change at any time, the "
        "rest while the job does not run, --nodes before its first attempt. Jobs that ended "
        "without completing can change before `requeue`, except queue, account, reservation and "
        "replicas. `none` "
        "restores a default. A lower grace shortens a stop that has begun. "
        f"{_WHICH_DETAILS}",
        act="wattline.acts.jobacts:update",
        args=(*_WHICH_FROM, *_UPDATES),
        examples=(
            "wattline update 12 --priority high",
            "wattline update --from-queue night --queue day --state PENDING",
            "wattline update last --at-a-time 4",
        ),
    ),
)
