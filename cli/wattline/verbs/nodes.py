"""Verbs about nodes."""

from functools import partial

from wattline.verbs.verb import Argument, Option, Verb

_NODE = Argument("node", "Name of the node.")
_REASON = Option("reason", ("--reason",), "Why, for the audit log.", default="")

_verb = partial(Verb, section="Nodes", role="operator")
_act = partial(_verb, show="wattline.show.events:done")

VERBS = (
    _verb(
        name="nodes",
        help="List nodes with their leases and draw.",
        act="wattline.acts.nodes:nodes",
        show="wattline.show.nodes:listing",
        role="submitter",
    ),
    _verb(
        name="node",
        help="Show one node with its GPUs and tasks.",
        act="wattline.acts.nodes:node",
        show="wattline.show.nodes:detail",
        role="submitter",
        args=(_NODE,),
    ),
    _act(
        name="node off",
        help="Count a silent node as drawing nothing, so that its watts are free.",
        details="Where the site file names an out-of-band way to the node, its BMC or PDU is "
        "asked, and with --power-off switches the host off first. Otherwise, or where "
        "that fails, you vouch for it: check yourself, the books believe you. Then it asks for "
        "the node's name once more, or takes it from --confirm.",
        act="wattline.acts.nodes:node_off",
        args=(
            _NODE,
            Option("confirm", ("--confirm",), "The node's name again.", metavar="NODE"),
            Option(
                "power_off",
                ("--power-off",),
                "Switch it off by its BMC or PDU; a node that is heard must be drained first.",
                kind="switch",
            ),
            _REASON,
        ),
        examples=(
            "wattline node off n3 --power-off",
            "wattline node off n3 --confirm n3 --reason 'outlet 7 switched off'",
        ),
    ),
    _act(
        name="node on",
        help="Take a node declared off back; it counts in full until it is heard.",
        act="wattline.acts.nodes:node_on",
        args=(_NODE,),
    ),
    _act(
        name="node readmit",
        help="Believe the agent of a quarantined node again.",
        details="A key is quarantined when its agent contradicts the books again and again: it "
        "lies, or cannot keep its caps. Its node counts in full and gets no task meanwhile. Look "
        "at `wattline events` and at the host first. It counts in full until its caps are read "
        "back, and is quarantined again if that continues.",
        act="wattline.acts.nodes:readmit",
        args=(_NODE, _REASON),
        examples=("wattline node readmit n3 --reason 'key replaced, host installed again'",),
    ),
    _act(
        name="drain",
        help="Start nothing new on a node; what runs there runs on.",
        details="It is draining until its last task has left, then drained: `wattline nodes` says "
        "since when, or by when by the run time limits of its tasks.",
        act="wattline.acts.nodes:drain",
        args=(
            _NODE,
            Option("after_jobs", ("--after-jobs",), "Let its tasks end; the default.", "switch"),
            Option("now", ("--now",), "Send its tasks back to the queue.", "switch"),
            Option("wait", ("--wait", "-W"), "Wait until the last task has left.", "switch"),
            _REASON,
        ),
        examples=(
            "wattline drain n3 --after-jobs --wait --reason 'new fan'",
            "wattline drain n3 --now --reason 'hot inlet'",
        ),
    ),
    _act(
        name="reserve",
        help="Keep nodes from a time to a time for accounts, for users, or for maintenance.",
        details="Jobs that name it (`submit --reservation`) start there while it lasts; others do "
        "before that if they will have ended by then. What still runs when it begins runs on. "
        "Nodes are those with one of the names, all labels and a GPU of one of the models; with "
        "--count or --gpus as many of them as are free soonest. Times are those of the site.",
        act="wattline.acts.reservations:reserve",
        args=(
            Argument("name", "What to call it."),
            Option(
                "nodes",
                ("--nodes",),
                "Names or patterns of nodes, as in a1,a2 or 'gpu-*'; may be repeated.",
                many=True,
            ),
            Option("label", ("--label",), "Label NAME=VALUE of nodes; may be repeated.", many=True),
            Option(
                "gpu_type", ("--gpu-type",), "Word in the GPU's name; may be repeated.", many=True
            ),
            Option("count", ("--count",), "So many such nodes.", kind="integer"),
            Option("gpus", ("--gpus", "-g"), "Nodes with so many such GPUs.", kind="integer"),
            Option(
                "start",
                ("--from",),
                "When it begins: 2026-12-01T16:00, 16:00 (the next), or 'in 2h'; otherwise now.",
                metavar="TIME",
            ),
            Option(
                "until",
                ("--until",),
                "When it ends, written like --from; `in 2h` counts from its begin.",
                metavar="TIME",
            ),
            Option(
                "for_s", ("--for",), "How long it lasts; give this or --until.", kind="duration"
            ),
            Option(
                "account", ("--account",), "Account that may use it; may be repeated.", many=True
            ),
            Option("user", ("--user", "-u"), "User that may use it; may be repeated.", many=True),
            Option("maintenance", ("--maintenance",), "No jobs: for maintenance.", kind="switch"),
            _REASON,
        ),
        examples=(
            "wattline reserve lab-week --count 4 --gpu-type h100 --from 08:00 --for 5d --user ada",
            "wattline reserve new-fans --nodes 'rack7-*' --from 22:00 --for 2h --maintenance",
        ),
    ),
    _verb(
        name="reservations",
        help="List current and future reservations: users, nodes, free GPUs.",
        details="STILL THERE names jobs on its nodes that are not of it.",
        act="wattline.acts.reservations:reservations",
        show="wattline.show.reservations:listing",
        role="submitter",
    ),
    _act(
        name="unreserve",
        help="Take a reservation back, whether it has begun or not; what runs in it runs on.",
        act="wattline.acts.reservations:unreserve",
        args=(Argument("name", "Its name."), _REASON),
    ),
    _act(
        name="undrain",
        help="Let tasks start on a node again.",
        act="wattline.acts.nodes:undrain",
        args=(_NODE,),
    ),
)
