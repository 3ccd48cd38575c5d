"""Verbs about services behind gateways."""

from functools import partial

from wattline.verbs.verb import Argument, Option, Verb

_verb = partial(Verb, section="Serving", role="submitter")

VERBS = (
    _verb(
        name="services",
        help="List services with their revision and ready replicas, and routes.",
        act="wattline.acts.serving.services:services",
        lists=("wattline.show.serving.services:LIST",),
        examples=("wattline services --where 'p95>200 or burn>1' --columns +errors,+joules",),
    ),
    _verb(
        name="service",
        help="Show one service with its workers, a route with its rules, or requests.",
        details="Requests are those in the access logs of all gateways, bodies the logged ones as "
        "lines of JSON; for the owner of the service and operators (docs/request-logs.md). "
        "`remove` ends a route (docs/routing.md); a service ends with its job (`cancel`).",
        act="wattline.acts.serving.services:service",
        lists=("wattline.show.serving.services:WORKERS", "wattline.show.serving.requests:LIST"),
        show="wattline.show.serving.services:shown",
        args=(
            Argument("name", "Name of the service or route."),
            Argument("what", "workers, requests, bodies or remove.", required=False),
            Option("since", ("--since",), "Time ago (2h) or a date. Default: 1h."),
            Option("until", ("--until",), "Only requests that ended before. Default: now."),
            Option("key", ("--key",), "Only requests with this API key, by name."),
            Option("status", ("--status",), "Only this status, as in 504 or 5xx."),
            Option(
                "limit", ("--limit",), "How many requests, before --where. Default: 100.", "integer"
            ),
        ),
        examples=(
            "wattline service echo workers --where 'state!=ready'",
            "wattline service echo requests --since 10m --status 5xx",
            "wattline service echo requests --where 'latency>1s' --csv",
            "wattline service echo bodies --since 7d > bodies.jsonl",
        ),
        knows_json=True,
    ),
    _verb(
        name="rollout",
        help="Replace a running service by its next revision, replica by replica, or go back.",
        details="One replica more, then a check of its answers under real traffic, then one by "
        "one; a revision that fails ends by itself and the old one serves on. --canary and "
        "--shadow wait for `promote`, which is refused before the check is passed, or `back`. "
        "`submit` of a second job of a service's name does the same without options. A file whose "
        "`name` is not NAME is refused. docs/serving.md describes each step.",
        act="wattline.acts.rollout:rollout",
        show="wattline.show.rollout:rollout",
        args=(
            Argument("name", "Name of the service."),
            Argument(
                "what",
                "Job file (TOML) of the revision, promote, back, or status. Default: status.",
                "path",
                required=False,
            ),
            Option(
                "canary",
                ("--canary",),
                "Share of the requests that it gets until `promote`, as in 5%.",
            ),
            Option(
                "shadow",
                ("--shadow",),
                "Share of the requests that it gets as copies until `promote`, as in 5%.",
            ),
            Option(
                "compare",
                ("--compare",),
                "Comparison of the answers to copies: equal, close=1e-3, or model.",
            ),
            Option(
                "in_place",
                ("--in-place",),
                "Stop a replica first, where no more fit: one fewer meanwhile.",
                kind="switch",
            ),
        ),
        examples=(
            "wattline rollout echo echo.toml --canary 5%",
            "wattline rollout echo",
            "wattline rollout echo promote",
        ),
    ),
    _verb(
        name="capacity",
        help="Plan the capacity of a service by the hour of the week.",
        details="Replicas, GPUs, watts, kWh and cost for the load of the newest weeks times "
        "--growth, and for twice that (docs/serving-scale.md). What is not known is named. The "
        "service needs an SLO in its job, by which its replicas are measured.",
        act="wattline.acts.serving.capacity:capacity",
        show="wattline.show.serving.capacity:shown",
        args=(
            Argument("name", "Name of the service."),
            Option("weeks", ("--weeks",), "How many weeks of load count, up to 5.", "integer", 4),
            Option("growth", ("--growth",), "Factor on the load.", default="1x"),
            Option("slo", ("--slo",), "As in p95=200ms. Default: the SLO of its job."),
        ),
        examples=("wattline capacity chat --weeks 4 --growth 2x --slo p95=200ms",),
    ),
    _verb(
        name="model compare",
        help="Compare two services by samples: agreement, latency, memory, joules.",
        details="Sends each sample to both through the gateway: a line of FILE each, as "
        '{"input": …}, {"messages": […]} or {"prompt": …}. Joules are measured by the workers '
        "(docs/serving-scale.md). The exit code is 1 if a sample failed.",
        act="wattline.acts.serving.model_compare:compare",
        show="wattline.show.serving.model_compare:shown",
        args=(
            Argument("a", "Name of the service that is to be replaced."),
            Argument("b", "Name of the other one."),
            Option(
                "samples", ("--samples",), "File of samples.", "path", metavar="FILE", required=True
            ),
            Option(
                "compare",
                ("--compare",),
                "equal, close=1e-3 for numbers, or model: by B's method compare.",
                default="equal",
                metavar="HOW",
            ),
            Option("users", ("--users",), "Samples at a time.", "integer", 1),
            Option("url", ("--url",), "Gateway. Default: $WATTLINE_URL.", metavar="URL"),
            Option("key_file", ("--key-file",), "File with the API key.", "path", metavar="FILE"),
        ),
        examples=("wattline model compare digits digits-small --samples rows.jsonl",),
    ),
    Verb(
        name="infer",
        section="Serving",
        help="Answer a file of inputs by a batch that runs on idle replicas.",
        details='Reads a line {"input": …} for each row, and writes a line for each result, in the '
        "same order. The key is in $WATTLINE_API_KEY unless --key-file is given. The batch runs on "
        "when this is interrupted. The exit code is 1 if a row failed.",
        act="wattline.acts.serving.infer:infer",
        args=(
            Argument("name", "Name of the service."),
            Option("url", ("--url",), "Gateway. Default: $WATTLINE_URL.", metavar="URL"),
            Option("key_file", ("--key-file",), "File with the API key.", "path", metavar="FILE"),
            Option(
                "out", ("--out",), "Append to FILE, behind its whole lines.", "path", metavar="FILE"
            ),
            Option("resume", ("--resume",), "Write the results of batch ID.", metavar="ID"),
            Option("cancel", ("--cancel",), "Cancel batch ID, and do no more.", metavar="ID"),
        ),
        examples=("wattline infer digits < in.jsonl > out.jsonl",),
        has_json=False,
    ),
)
