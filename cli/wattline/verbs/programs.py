"""Verbs that set a site up and run its programs."""

from dataclasses import replace
from typing import get_args

from wattline.verbs.verb import Argument, Option, Verb
from wattline_protocol.site.model import Role

_SITE = Option(
    "site",
    ("--site",),
    "Site directory, as made by `init`.",
    kind="path",
    default=".",
    metavar="DIR",
)
_LOG_JSON = Option("json_logs", ("--json",), "Log lines as JSON.", kind="switch")
_LOG_OR_CHECK_JSON = replace(_LOG_JSON, help="Log lines, or the check, as JSON.")
_MEMBER_BUNDLE = Option(
    "bundle",
    ("--bundle",),
    "Join bundle, as made by `enroll`.",
    kind="path",
    metavar="FILE",
    required=True,
)

_SIM_JOBS = Option(
    "processes", ("--jobs", "-j"), "Number of processes. Default: one per core.", "integer"
)

VERBS = (
    Verb(
        name="init",
        section="Set up",
        help="Create a site directory: site file, scheduler key and the first admin's bundle.",
        act="wattline.acts.site:init",
        show="wattline.show.site:made",
        args=(
            Argument("directory", "Directory to create.", kind="path"),
            Option("name", ("--name",), "Name of the site. Default: the directory's."),
            Option(
                "host", ("--host",), "Address that the scheduler listens on.", default="127.0.0.1"
            ),
            Option(
                "port",
                ("--port",),
                "First of two ports: agents, clients.",
                kind="integer",
                default=7410,
            ),
            Option("nodes", ("--node",), "Name of a node; may be repeated.", many=True),
            Option("admin", ("--admin",), "Name of the first admin.", default="admin"),
            Option(
                "run_as",
                ("--run-as",),
                "Host account of the first admin's tasks. Default: yours, or `wattline-job` for "
                "root.",
                metavar="ACCOUNT",
            ),
        ),
        examples=("wattline init site --node n1 --node n2",),
    ),
    Verb(
        name="enroll",
        section="Set up",
        help="Enroll a node, gateway or user: writes its join bundle.",
        details="Transfer the bundle by a private channel: it contains the secret key.",
        act="wattline.acts.site:enroll",
        show="wattline.show.site:enrolled",
        args=(
            Argument("name", "Name of the node, user or gateway."),
            Option("role", ("--role",), "Role.", choices=get_args(Role), required=True),
            _SITE,
            Option(
                "out",
                ("--out",),
                "Bundle file to write. Default: bundles/NAME.toml of the site.",
                kind="path",
                metavar="FILE",
            ),
        ),
        examples=(
            "wattline enroll n1 --role agent --site site",
            "wattline enroll ada --role submitter --site site --out ada.toml",
        ),
    ),
    Verb(
        name="completion",
        section="Set up",
        help="Print what a shell loads to complete verbs, flags and names.",
        details="Completes names of nodes, jobs, domains, services, queues, accounts, data sets "
        "and reservations, as the scheduler knows them when Tab is pressed; without an answer "
        "within 0.12 s, and for names that a shell would expand, none.",
        act="wattline.completion.shells:script",
        show="builtins:str",
        args=(Argument("shell", "bash (4.4 or later), zsh or fish."),),
        examples=(
            "source <(wattline completion bash)",
            "wattline completion zsh > ~/.zfunc/_wattline",
            "wattline completion fish > ~/.config/fish/completions/wattline.fish",
        ),
    ),
    Verb(
        name="scheduler",
        section="Programs",
        help="Run the site's scheduler.",
        act="wattline.acts.programs:scheduler",
        args=(
            _SITE,
            Option(
                "state",
                ("--state-dir", "--state"),
                "State directory. Default: `state` in the site directory.",
                kind="path",
                metavar="DIR",
            ),
            Option(
                "recover",
                ("--recover",),
                "Start from a restored backup: raise the epoch, count every node in full.",
                kind="switch",
            ),
            Option(
                "backup",
                ("--backup",),
                "Only back up the store to FILE, also while the scheduler runs.",
                kind="path",
                metavar="FILE",
            ),
            Option(
                "check",
                ("--check",),
                "Only check whether it could start with the present site file, and which jobs "
                "could never start; also while it runs.",
                kind="switch",
            ),
            _LOG_OR_CHECK_JSON,
        ),
        has_json=False,
    ),
    Verb(
        name="agent",
        section="Programs",
        help="Run the agent of this host.",
        act="wattline.acts.programs:agent",
        args=(
            Option(
                "bundle",
                ("--bundle",),
                "Join bundle, as made by `enroll`; not needed for --check.",
                kind="path",
                metavar="FILE",
            ),
            Option(
                "state",
                ("--state-dir", "--state"),
                "State directory. Default: /var/lib/wattline-agent.",
                kind="path",
                metavar="DIR",
            ),
            Option(
                "sysfs_root",
                ("--sysfs-root",),
                "Read sensors below this directory instead of /sys.",
                kind="path",
                metavar="DIR",
            ),
            Option(
                "secrets_dir",
                ("--secrets-dir",),
                "Secrets of users, DIR/USER/ENTRY. Default: below the state directory.",
                kind="path",
                metavar="DIR",
            ),
            Option(
                "nvml_lib",
                ("--nvml-lib",),
                "NVML library to load instead of the system's.",
                kind="path",
                metavar="FILE",
            ),
            Option("gpus", ("--gpus",), "Manage only these GPUs, as in 0-3,6.", metavar="LIST"),
            Option("observe", ("--observe",), "Set no caps and start no tasks.", kind="switch"),
            Option(
                "keeper_service",
                ("--keeper-service",),
                "The keeper is a separate service: wait for it, never start one.",
                kind="switch",
            ),
            Option(
                "cache_dir", ("--cache-dir",), "Cache of data sets.", kind="path", metavar="DIR"
            ),
            Option(
                "cache_size", ("--cache-size",), "Its size at most. Default: 100GB.", metavar="SIZE"
            ),
            Option("fetch_rate", ("--fetch-rate",), "Bytes fetched per second.", metavar="SIZE"),
            Option("check", ("--check",), "Check this host and exit.", kind="switch"),
            Option(
                "floors",
                ("--floors",),
                "Set every GPU to its minimum cap and exit: at boot, before tasks run.",
                kind="switch",
            ),
            _LOG_OR_CHECK_JSON,
        ),
        has_json=False,
        examples=("wattline agent --check", "wattline agent --bundle n1.toml --state state"),
    ),
    Verb(
        name="gateway",
        section="Programs",
        help="Run an inference gateway between HTTP clients and workers.",
        act="wattline.acts.programs:gateway",
        args=(
            _MEMBER_BUNDLE,
            _SITE,
            Option(
                "takeover",
                ("--takeover",),
                "Replace the gateway that runs at this address, without a gap.",
                kind="switch",
            ),
            Option(
                "processes",
                ("--processes",),
                "Serve by N processes. Workers connect to N ports, from that of the site file on.",
                "integer",
                metavar="N",
                default=1,
            ),
            Option(
                "access_log",
                ("--access-log",),
                "Append a line of JSON for each request to FILE, rotated at 64 MiB and each day.",
                "path",
                metavar="FILE",
            ),
            Option(
                "body_log",
                ("--body-log",),
                "Log bodies of services with `log_bodies` in DIR (docs/request-logs.md).",
                "path",
                metavar="DIR",
            ),
            Option(
                "otlp",
                ("--otlp",),
                "Send a span of each request to this collector (extra otel).",
                metavar="URL",
            ),
            Option(
                "retention",
                ("--retention",),
                "How long files of the access log are kept, 30d unless given.",
                "duration",
                metavar="DURATION",
            ),
            Option(
                "batch_dir",
                ("--batch-dir",),
                "Keep batches (POST /v1/batches) in DIR, and run them on idle replicas.",
                "path",
                metavar="DIR",
            ),
            Option(
                "batch_retention",
                ("--batch-retention",),
                "How long ended batches are kept, 7d unless given.",
                "duration",
                metavar="DURATION",
            ),
            _LOG_JSON,
        ),
        has_json=False,
    ),
    Verb(
        name="demo",
        section="Simulation",
        help="Run a simulated site with real jobs and injected faults, and report.",
        act="wattline.acts.demo:demo",
        args=(
            Option(
                "burst",
                ("--burst",),
                "Only a service whose load triples beside training (docs/demo.md).",
                kind="switch",
            ),
            Option(
                "lifecycle",
                ("--lifecycle",),
                "Only data, its check, a model and its rollout (docs/demo.md).",
                kind="switch",
            ),
            Option("headless", ("--headless",), "Do not open the terminal.", kind="switch"),
            Option("json_file", ("--json",), "Write the report to FILE.", "path", metavar="FILE"),
            Option("keep", ("--keep",), "Keep its files in DIR.", "path", metavar="DIR"),
        ),
        has_json=False,
    ),
    Verb(
        name="sim node",
        section="Simulation",
        help="Simulate the GPUs of one node for NVML programs, until Ctrl-C.",
        act="wattline.acts.sim_node:node",
        show="wattline.show.site:sim_node",
        args=(
            Option("gpus", ("--gpus",), "Number of GPUs.", "integer", 8),
            Option(
                "model",
                ("--model",),
                "GPU model: h100, a100, l40s, b200, a40 or v100.",
                default="h100",
            ),
            Option("name", ("--name",), "Name of the node.", default="sim"),
            Option("seed", ("--seed",), "Seed of differences between GPUs.", "integer", 1),
            Option("directory", ("--dir",), "Directory of the node.", "path", metavar="DIR"),
            Option(
                "mig",
                ("--mig",),
                "MIG instances of a GPU, as in 0=3g.40gb,3g.40gb; may be repeated.",
                many=True,
                metavar="GPU=PROFILES",
            ),
        ),
        examples=(
            "wattline sim node --gpus 8 --model h100",
            "wattline sim node --gpus 2 --mig 1=3g.40gb,2g.20gb,1g.10gb",
        ),
    ),
    Verb(
        name="sim seeds",
        section="Simulation",
        help="Run the deterministic fleet simulation for many seeds, or replay one.",
        act="wattline_lab.acts.seeds:seeds",
        show="wattline_lab.show.seeds:seeds_result",
        args=(
            Option("seed", ("--seed",), "Replay this seed and print its story.", "integer"),
            Option("count", ("--seeds",), "Number of seeds.", "integer", 200),
            Option("start", ("--start",), "First seed.", "integer", 0),
            _SIM_JOBS,
        ),
        details=(
            "A violated rule does not end the run; the exit code is 1 if there was any. Except "
            "for times, the output depends on the seeds only."
        ),
        examples=("wattline sim seeds --seeds 2000", "wattline sim seeds --seed 41"),
    ),
    Verb(
        name="sim mutants",
        section="Simulation",
        help="Remove the protocol's rules one by one; the fleet simulation must detect each.",
        act="wattline_lab.acts.seeds:mutants",
        show="wattline_lab.show.seeds:mutants_result",
        args=(
            Option("count", ("--seeds",), "Seeds to try with each.", "integer", 1000),
            Option("only", ("--only",), "Run only this mutant; may be repeated.", many=True),
            _SIM_JOBS,
        ),
        details="The exit code is 1 if a mutant survived.",
        examples=("wattline sim mutants", "wattline sim mutants --only reclaim-on-time-out"),
    ),
)
