"""Verbs that run public traces through the planner."""

from wattline.verbs.verb import Option, Verb
from wattline_sim.replay.jobs.names import POLICY_NAMES
from wattline_sim.replay.openb.names import POLICY_NAMES as OPENB_POLICY_NAMES

VERBS = (
    Verb(
        name="replay openb",
        section="Simulation",
        help="Fill a fleet with a list of pods under one policy: how many GPUs stay unused?",
        act="wattline.acts.replayopenb:replay_openb",
        show="wattline.show.replayopenb:openb_report",
        args=(
            Option("pods", ("--pods",), "Pod list, CSV or gzip.", "path", required=True),
            Option("nodes", ("--nodes",), "Node list, CSV or gzip.", "path", required=True),
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
        act="wattline.acts.replayjobs:replay_jobs",
        show="wattline.show.replayjobs:jobs_report",
        args=(
            Option("trace", ("--trace",), "Jobs, as CSV or packed.", "path", required=True),
            Option(
                "policy",
                ("--policy",),
                "Who is served first.",
                required=True,
                choices=POLICY_NAMES,
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
            "The header says which trace it is. Muri's: srtf, srsf, tiresias, wattline; Philly's "
            "of 2017 and Chronus's: fifo, backfill, wattline. Protocols, figures and where "
            "the traces are public: docs/replay.md."
        ),
        examples=(
            "wattline replay jobs --trace trace1.csv.gz --policy srsf",
            "wattline replay jobs --trace trace3.csv.gz --policy tiresias --json",
        ),
    ),
)
