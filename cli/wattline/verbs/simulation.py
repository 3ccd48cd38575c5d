"""Verbs of the facility simulator."""

from wattline.verbs.verb import Option, Verb
from wattline_sim.facility.names import GPU_CLASSES, POLICY_NAMES, SCENARIO_NAMES

_POLICY = Option(
    "policy",
    ("--policy",),
    "wattline: the product; static: every GPU booked at TDP; threshold: capping on measured power.",
    default="wattline",
    choices=POLICY_NAMES,
)
_SEED = Option("seed", ("--seed",), "Decides everything that is random.", "integer", 1)

VERBS = (
    Verb(
        name="sim facility",
        section="Simulation",
        help="Run a site's plant under the scheduler for hours of virtual time, and judge it.",
        act="wattline_lab.acts.facility:facility",
        show="wattline_lab.show.facility:facility_result",
        args=(
            Option(
                "scenario",
                ("--scenario",),
                "What happens.",
                default="mixed",
                choices=SCENARIO_NAMES,
            ),
            _POLICY,
            Option("nodes", ("--nodes",), "How many nodes of 8 GPUs.", "integer", 32),
            Option("hours", ("--hours",), "How long, after a warm-up.", "number", 0.5),
            _SEED,
            Option(
                "replay",
                ("--replay",),
                "Folder of traces: their weather and request rates in place of the fitted ones.",
                default="",
            ),
        ),
        details=(
            "The fleet is 1.5 times what its feed allows at TDP. `throughput_vs_static` compares "
            "with the same fleet, jobs and seed under `static`, which is run too. The exit code is "
            "1 if a breaker tripped or a rule was broken."
        ),
        examples=("wattline sim facility --scenario shed-25", "wattline sim facility --json"),
    ),
    Verb(
        name="sim density",
        section="Simulation",
        help="Find the largest fleet that one feed carries without a trip and within slowdowns.",
        act="wattline_lab.acts.facility:density",
        show="wattline_lab.show.facility:density_result",
        args=(
            _POLICY,
            _SEED,
            Option(
                "gpus",
                ("--gpu",),
                "Class of GPU; may be repeated. Otherwise h100 and a40.",
                many=True,
                choices=GPU_CLASSES,
            ),
            Option(
                "scenarios",
                ("--scenario",),
                "Population; may be repeated. Otherwise mixed, all-hot and inference-row.",
                many=True,
                choices=SCENARIO_NAMES,
            ),
        ),
        details=(
            "A fleet passes with 0 trips, high priority slowed p50 < 1 % and p99 < 5 %, low "
            "priority p50 < 5 % and p99 < 50 %. The load offered per GPU is the same for every "
            "fleet. Takes minutes."
        ),
        examples=("wattline sim density --policy threshold --scenario inference-row",),
    ),
    Verb(
        name="sim service",
        section="Simulation",
        help="Scale a service by watts first under recorded requests, beside fixed caps.",
        act="wattline_lab.acts.service:service",
        show="wattline_lab.show.service:service_result",
        args=(
            Option(
                "trace",
                ("--trace",),
                "CSV of requests, plain or gzip: arrival_s, input_tokens, output_tokens.",
                required=True,
            ),
            Option("nodes", ("--nodes",), "How many nodes of 8 GPUs.", "integer", 8),
            _SEED,
        ),
        details=(
            "Requests are scaled so that the busiest minute uses 80 % and the mean 30 % of what "
            "all replicas can do at the fixed caps. Training runs on the GPUs that the service "
            "leaves. The exit code is 1 if a bar was missed, or if the fixed side missed the SLO "
            "of under 1 % of the requests (the comparison is void)."
        ),
        examples=("wattline sim service --trace requests.csv.gz --json",),
    ),
    Verb(
        name="sim training",
        section="Simulation",
        help="Useful steps per kWh of a week of training, beside fixed caps.",
        act="wattline_lab.acts.training:training",
        show="wattline_lab.show.training:training_result",
        args=(
            Option("seeds", ("--seeds",), "How many weeks: seeds 1 to N.", "integer", 5),
            Option("days", ("--days",), "Length of each, up to 7.", "number", 7.0),
            Option(
                "feed",
                ("--feed",),
                "Contract of the feed, as a share of what 16 nodes may draw.",
                "number",
                0.85,
            ),
            Option(
                "min_performance",
                ("--min-performance",),
                "Of each job, as in a job file; 0 = not specified.",
                "number",
                0.0,
            ),
        ),
        details=(
            "128 GPUs with sheds, the loss of a feed, failures of nodes and preemptions. The other "
            "side has caps fixed at the feed divided by the GPUs, a save every 30 minutes, and "
            "restarts from the newest save. Ablations run Wattline without one part at a time. The "
            "exit code is 1 if a bar was missed; bars are for 7 days."
        ),
        examples=("wattline sim training --json", "wattline sim training --seeds 1 --feed 1.0"),
    ),
)
