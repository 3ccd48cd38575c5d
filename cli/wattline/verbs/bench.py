"""Verbs that measure this machine: one a benchmark; `bench` alone runs them all."""

from wattline.verbs.verb import Option, Verb


def _bench(name: str, help: str, *options: Option, module: str = "") -> Verb:  # noqa: A002 - the table's own word
    module = module or name.replace("-", "_")
    return Verb(
        name=f"bench {name}",
        section="Measure",
        help=help,
        act=f"wattline_bench.{module}:measure",
        show="wattline_lab.show.bench:figures",
        args=options,
    )


def _seconds(default: float, of: str) -> Option:
    return Option("seconds", ("--seconds",), f"How long {of}.", "number", default)


VERBS = (
    Verb(
        name="bench",
        section="Measure",
        help="Run every benchmark, each in a process of its own; exit status 1 if one misses.",
        act="wattline_bench.whole:measure",
        show="wattline_lab.show.bench:one_of_all",
        examples=("wattline bench", "wattline bench store --json"),
    ),
    _bench(
        "abuse",
        "What other members notice while one attacks with a stolen key.",
        Option("only", ("--only",), "An attack; may be repeated; otherwise all.", many=True),
        _seconds(10.0, "each attack"),
        Option("nodes", ("--nodes",), "Nodes of 8 GPUs, one with a real agent.", "integer", 50),
        Option("jobs", ("--jobs",), "Ended jobs on record.", "integer", 10_000),
        Option(
            "task_raises_caps",
            ("--task-raises-caps",),
            "Instead: a task that runs as root raises its GPUs' caps in a loop. Takes root.",
            kind="switch",
        ),
        module="abuse.run",
    ),
    _bench("agent", "What an agent costs its host.", _seconds(20.0, "each of two measurements")),
    _bench(
        "allocator",
        "How long dividing the watts takes, up to 131,072 GPUs, and how good it is.",
        Option("calls", ("--calls",), "Calls at each size.", "integer", 30),
        Option("seed", ("--seed",), "Of limits and demand.", "integer", 1),
    ),
    _bench(
        "beats",
        "How many beats a second the scheduler takes, with CURVE and an answer to each.",
        Option("nodes", ("--nodes",), "How many nodes.", "integer", 200),
        Option("gpus", ("--gpus",), "GPUs on each.", "integer", 8),
        Option("senders", ("--senders",), "Processes that send for them.", "integer", 2),
        _seconds(10.0, "to send"),
    ),
    _bench(
        "cli",
        "How long the command takes to start.",
        Option("runs", ("--runs",), "How often each.", "integer", 20),
    ),
    _bench(
        "collector",
        "What a sample of eight GPUs costs the agent.",
        Option("samples", ("--samples",), "Samples in each of five rounds.", "integer", 100),
    ),
    _bench(
        "data",
        "What versions of data sets cost stores, nodes and starts.",
        Option("starts", ("--starts",), "Starts with and without data.", "integer", 20),
        Option("away", ("--away",), "Seconds for which the store is away.", "number", 60.0),
        Option("kills", ("--kills",), "Kills of a fetch process, first.", "integer", 0),
        Option("seed", ("--seed",), "Of contents and kills.", "integer", 1),
    ),
    _bench(
        "demand",
        "What knowing the demand of every GPU costs the scheduler.",
        Option("nodes", ("--nodes",), "How many nodes of 8 GPUs.", "integer", 1_000),
        Option("rounds", ("--rounds",), "Beats of all of them.", "integer", 20),
    ),
    _bench(
        "dispatch",
        "Trivial jobs from submission to end, on four nodes with simulated GPUs.",
        Option("jobs", ("--jobs",), "Jobs, singly and as an array.", "integer", 1_000),
        Option("samples", ("--samples",), "Jobs one at a time, for the latency.", "integer", 100),
        Option(
            "beside",
            ("--beside",),
            "Run another scheduler with the same number of tasks afterwards.",
            choices=("hyperqueue",),
        ),
        Option("profile", ("--profile",), "Say where the time goes (slower).", "switch", False),
    ),
    _bench(
        "gateway",
        "The serving layer, alone or beside other servers of models.",
        _seconds(5.0, "each load"),
        Option(
            "beside",
            ("--beside",),
            "Compare with other servers instead: fastapi, mosec, litserve, mosec-batched, "
            "litserve-batched; several separated by commas.",
        ),
        Option(
            "model",
            ("--model",),
            "What the servers run beside each other; minilm needs the extra peers.",
            choices=("noop", "minilm"),
            default="noop",
        ),
        module="serving.gateway",
    ),
    _bench(
        "checkpoint",
        "What a checkpoint costs a training step, and whether a part of one is ever seen.",
        Option("mib", ("--mib",), "Size of the state.", "integer", 1_024),
        Option("runs", ("--runs",), "Saves of each kind.", "integer", 5),
        Option("kills", ("--kills",), "Writers of 8 MiB killed at random.", "integer", 1_000),
        Option("seed", ("--seed",), "Of the state and of the moments.", "integer", 1),
    ),
    _bench(
        "keeper",
        "What starting, ending and looking at tasks costs on a node.",
        Option("tasks", ("--tasks",), "How many.", "integer", 200),
    ),
    _bench(
        "leases",
        "The live loop: from a lowered budget to caps in force on every node.",
        Option("nodes", ("--nodes",), "How many nodes of 8 GPUs.", "integer", 1_000),
        Option("cuts", ("--cuts",), "How often the budget is cut and restored.", "integer", 5),
        Option("cut", ("--cut",), "Share of the budget that is cut.", "number", 0.3),
        Option("fleets", ("--fleets",), "Processes that play the nodes.", "integer", 2),
    ),
    _bench(
        "length-order",
        "What ordering requests by length is worth to an encoder.",
        _seconds(8.0, "each load"),
        Option("batch", ("--batch",), "Maximum cost of a batch.", "integer", 32),
        module="serving.length_order",
    ),
    _bench(
        "plant",
        "What a step of the simulated plant costs, at 1,024 and 8,000 GPUs.",
        Option("rounds", ("--rounds",), "Rounds of 5 s of the plant's time.", "integer", 12),
        Option("seed", ("--seed",), "Of the jobs.", "integer", 1),
    ),
    _bench(
        "outage",
        "What a service loses while workers, hosts, gateways and the scheduler fail.",
        Option("only", ("--only",), "A phase; may be repeated; otherwise all.", many=True),
        module="outage.run",
    ),
    _bench(
        "planner",
        "How long a planning cycle takes, up to 12,500 nodes with 10,000 jobs waiting.",
        Option("cycles", ("--cycles",), "Cycles of each kind at each size.", "integer", 15),
        Option("seed", ("--seed",), "Of the fleet and the queue.", "integer", 1),
    ),
    _bench(
        "resume",
        "What interruptions cost a gang that trains, and whether its weights stay equal.",
        Option("kills", ("--kills",), "Interruptions of each workload.", "integer", 20),
        Option("seed", ("--seed",), "Of kinds and moments.", "integer", 1),
        Option("only", ("--only",), "A workload; may be repeated; otherwise both.", many=True),
        module="resume.run",
    ),
    _bench(
        "restart",
        "How long a restart takes with many jobs on record.",
        Option("jobs", ("--jobs",), "Jobs on record.", "integer", 100_000),
        Option("open_jobs", ("--open",), "How many of them have not ended.", "integer", 1_000),
    ),
    _bench(
        "straggler",
        "What moving watts to the GPU that holds up its gang is worth (simulated).",
        Option("seeds", ("--seeds",), "How many, from 1 on.", "integer", 3),
        Option("minutes", ("--minutes",), "Simulated time of each side.", "number", 8.0),
    ),
    _bench(
        "store",
        "How many records a second the scheduler's store takes.",
        Option("directory", ("--dir",), "Where to write; otherwise a temporary folder.", "path"),
    ),
    _bench("submit", "How many submissions a second the scheduler accepts."),
    _bench(
        "tui",
        "Latency and cost of the terminal on a large site.",
        Option("nodes", ("--nodes",), "Nodes of 8 GPUs, a job on each.", "integer", 2_000),
        Option("jobs", ("--jobs",), "Jobs, pending ones included.", "integer", 10_000),
        _seconds(60.0, "each of three measurements"),
        module="tui.run",
    ),
)
