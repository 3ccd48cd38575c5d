"""Verbs that show the whole site."""

from functools import partial

from wattline.verbs.verb import BUNDLE, Argument, Option, Verb

_verb = partial(Verb, section="Watch", role="submitter")

VERBS = (
    _verb(
        name="top",
        help="Open the operator's terminal.",
        act="wattline.acts.top:top",
        has_json=False,
        details="For scripts, `nodes`, `jobs`, `power` and `events` give the same data as JSON.",
    ),
    _verb(
        name="events",
        help="Print the event and audit log, newest last.",
        act="wattline.acts.events:events",
        lists=("wattline.show.events:LIST",),
        selects=True,
        streams=True,
        args=(
            Option("follow", ("--follow", "-f"), "Follow new events.", kind="switch"),
            Option(
                "lines",
                ("--lines", "-n"),
                "Number of events to begin with.",
                "integer",
                50,
            ),
            Option("after", ("--after",), "Begin after this event.", "integer"),
            Option(
                "acts",
                ("--acts",),
                "Only the audit log: privileged actions, done or refused, and enrolments.",
                kind="switch",
            ),
        ),
        examples=(
            "wattline events -f",
            "wattline events --where 'level>=warning and time>2h'",
            "wattline events --acts -n 20",
            "wattline events --json --after 0",
        ),
    ),
    _verb(
        name="problems",
        help="List open alarms and warnings, worst first, with remedies.",
        details="A problem has one begin and one end, even if its values change. One that recurs "
        "within a minute is the same problem.",
        act="wattline.acts.events:problems",
        lists=("wattline.show.problems:LIST",),
        args=(
            Option("all", ("--all",), "Include recently ended problems.", kind="switch"),
            Option("node", ("--node",), "Only problems of this node.", metavar="NODE"),
        ),
        examples=("wattline problems", "wattline problems --all --node n01"),
    ),
    Verb(
        name="problems ack",
        section="Watch",
        role="operator",
        help="Acknowledge an open problem, or withdraw that.",
        details="It stays open until its condition ends, but no longer needs attention: lists and "
        "the terminal show the user and the reason. The acknowledgement also covers a "
        "recurrence within a minute. `wattline problems` lists the numbers.",
        act="wattline.acts.events:acknowledge",
        show="wattline.show.events:done",
        args=(
            Argument("number", "Number of the problem.", kind="integer"),
            Option("reason", ("--reason",), "Text for the record of the problem.", default=""),
            Option("withdraw", ("--withdraw",), "Withdraw the acknowledgement.", kind="switch"),
        ),
        examples=("wattline problems ack 4711 --reason 'part ordered'",),
    ),
    _verb(
        name="report",
        help="Report jobs, use and energy of a period.",
        act="wattline.acts.report:report",
        show="wattline.show.report:report",
        args=(
            Option("since", ("--since",), "Begin: time ago (24h) or a date (2026-11-01)."),
            Option("until", ("--until",), "End, in the same form. Default: now."),
        ),
        examples=("wattline report --since 7d",),
    ),
    Verb(
        name="plan",
        section="Watch",
        help="Save the newest planning cycle to a file, or plan a saved one again.",
        details="A planning cycle is a function of its snapshot, its memory of earlier cycles and "
        "its limits. The file has all three and the plan, so that a strange placement can be "
        "reported and reproduced on any machine. Saving takes the role operator; the file names "
        "nodes, GPUs, accounts and queues, but holds neither commands nor environments of jobs.",
        act="wattline.acts.plan:plan",
        show="wattline.show.plan:plan",
        args=(
            Option("save", ("--save",), "Save the newest cycle here.", "path", metavar="FILE"),
            Option("snapshot", ("--snapshot",), "Plan this one again.", "path", metavar="FILE"),
            BUNDLE,
        ),
        examples=("wattline plan --save cycle.bin", "wattline plan --snapshot cycle.bin --json"),
    ),
)
