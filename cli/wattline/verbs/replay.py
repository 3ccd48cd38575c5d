"""Verbs that run public traces through the planner."""

from wattline.verbs.verb import Option, Verb
from wattline_sim.replay.jobs.names import POLICY_NAMES

VERBS = (
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
            "The protocol of Muri's simulator: 8 nodes of 8 GPUs. Formats, figures and where the "
            "traces are public: docs/replay.md."
        ),
        examples=(
            "wattline replay jobs --trace trace1.csv.gz --policy srsf",
            "wattline replay jobs --trace trace3.csv.gz --policy tiresias --json",
        ),
    ),
)
