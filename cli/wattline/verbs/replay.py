"""Verbs that run public traces through the planner."""

from wattline.verbs.verb import Option, Verb
from wattline_lab.replay.fleet.names import ADMISSIONS, COPIES, DAYS, FLEET_POLICY_NAMES
from wattline_lab.replay.jobs.names import POLICY_NAMES
from wattline_lab.replay.openb.names import POLICY_NAMES as OPENB_POLICY_NAMES

NODES = Option("nodes", ("--nodes",), "Node list, CSV or gzip.", "path", required=True)


def _policy(text: str, names: tuple[str, ...]) -> Option:
    return Option("policy", ("--policy",), text, required=True, choices=names)


VERBS = (
    Verb(
        name="replay openb",
        section="Simulation",
        help="Fill a fleet with a list of pods under one policy: how many GPUs stay unused?",
        act="wattline_lab.acts.replay_openb:replay_openb",
        show="wattline_lab.show.replay_openb:openb_report",
        args=(
            Option("pods", ("--pods",), "Pod list, CSV or gzip.", "path", required=True),
            NODES,
            Option(
                "policy",
                ("--policy",),
                f"{', '.join(OPENB_POLICY_NAMES)}, or a mix: pwr100+fgd900, wattline+pwr5000.",
                required=True,
            ),
            Option(
                "against",
                ("--against",),
                "Policy to compare with, seed by seed on the same arrivals.",
            ),
            Option("seeds", ("--seeds",), "Such as 42, 42-51 or 42,44.", default="42-51"),
            Option(
                "power_model",
                ("--power-model",),
                "Watts of GPUs and processors; otherwise pwr_power_model.csv beside the pods.",
                "path",
                metavar="FILE",
            ),
        ),
        details=(
            "The protocol of FGD (USENIX ATC 2023), and of the power study that built on it "
            "(CCGrid 2025). Figures, and where the lists are public: docs/replay.md."
        ),
        examples=(
            "wattline replay openb --pods P.csv.gz --nodes N.csv --policy fgd --json",
            "wattline replay openb --pods P.csv.gz --nodes N.csv --policy wattline --against fgd",
        ),
    ),
    Verb(
        name="replay jobs",
        section="Simulation",
        help="Run a trace of jobs through a queue under one policy.",
        act="wattline_lab.acts.replay_jobs:replay_jobs",
        show="wattline_lab.show.replay_jobs:jobs_report",
        args=(
            Option("trace", ("--trace",), "Jobs, as CSV or packed.", "path", required=True),
            _policy(
                "Queue policy; wattline is the scheduler's own order and planner.",
                POLICY_NAMES,
            ),
            Option(
                "overheads",
                ("--restart-overhead",),
                "Seconds that a start costs, by GPUs and model; otherwise the table that lies "
                "beside the trace.",
                "path",
                metavar="FILE",
            ),
        ),
        details=(
            "The header says which trace it is. Muri's: srtf, srsf, tiresias, wattline, "
            "learned-preemptive, and the same with -progress, where running jobs report progress; "
            "Philly's of 2017 and Chronus's: fifo, backfill, wattline, learned. Protocols, figures "
            "and where the traces are public: docs/replay.md."
        ),
        examples=(
            "wattline replay jobs --trace trace1.csv.gz --policy srsf",
            "wattline replay jobs --trace trace3.csv.gz --policy tiresias --json",
        ),
    ),
    Verb(
        name="replay fleet",
        section="Simulation",
        help="Run the work of a trace on a fleet of unlike GPUs below power budgets.",
        act="wattline_lab.acts.replay_fleet:replay_fleet",
        show="wattline_lab.show.replay_fleet:fleet_report",
        args=(
            NODES,
            Option("jobs", ("--jobs",), "Jobs of one cluster.", "path", required=True),
            _policy("Queue policy and backfill.", FLEET_POLICY_NAMES),
            Option(
                "budget",
                ("--budget",),
                "Watts for GPUs, as a share of the sum of their TDP.",
                "number",
                default=1.0,
            ),
            Option(
                "admission",
                ("--admission",),
                "What work counts when it starts: the TDP of its GPUs, or the knee of its curve, "
                "with caps; otherwise knee for wattline, tdp for the others.",
                choices=ADMISSIONS,
            ),
            Option("copies", ("--copies",), "How often the trace runs.", "integer", default=COPIES),
            Option("days", ("--days",), "Of submission, from its start.", "number", default=DAYS),
            Option("seed", ("--seed",), "Of shifts and GPU models.", "integer", default=1),
        ),
        details=(
            "Nodes: Alibaba's list of 2026. Jobs: Chronus's trace or Philly's of 2017. The "
            "production planner and allocator decide. What is assumed, figures, and where the "
            "files are public: docs/replay.md."
        ),
        examples=(
            "wattline replay fleet --nodes N.csv.gz --jobs J.csv.gz --policy wattline --budget 0.8",
        ),
    ),
)
