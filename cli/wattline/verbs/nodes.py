"""Verbs about nodes."""

from wattline.verbs.verb import Argument, Option, Verb

_NODE = Argument("node", "Name of the node.")
_REASON = Option("reason", ("--reason",), "Why, for the audit log.", default="")

VERBS = (
    Verb(
        name="nodes",
        section="Nodes",
        help="List nodes with their leases and draw.",
        act="wattline.acts.nodes:nodes",
        show="wattline.show.nodes:listing",
        role="submitter",
    ),
    Verb(
        name="node",
        section="Nodes",
        help="Show one node with its GPUs and tasks.",
        act="wattline.acts.nodes:node",
        show="wattline.show.nodes:detail",
        role="submitter",
        args=(_NODE,),
    ),
    Verb(
        name="node off",
        section="Nodes",
        help="Count a silent node as drawing nothing, so that its watts are free.",
        details="Where the site file names an out-of-band way to the node, its BMC or PDU is "
        "asked, and with --power-off told to switch the host off first. Otherwise, or where "
        "that fails, you vouch for it: check yourself, the books believe you. Then it asks for "
        "the node's name once more, or takes it from --confirm.",
        act="wattline.acts.nodes:node_off",
        show="wattline.show.events:done",
        role="operator",
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
    Verb(
        name="node on",
        section="Nodes",
        help="Take a node declared off back; it counts in full until it is heard.",
        act="wattline.acts.nodes:node_on",
        show="wattline.show.events:done",
        role="operator",
        args=(_NODE,),
    ),
    Verb(
        name="drain",
        section="Nodes",
        help="Start nothing new on a node; what runs there runs on.",
        details="It is draining until its last task has left, then drained: `wattline nodes` says "
        "since when, or by when by the run time limits of its tasks.",
        act="wattline.acts.nodes:drain",
        show="wattline.show.events:done",
        role="operator",
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
    Verb(
        name="undrain",
        section="Nodes",
        help="Let tasks start on a node again.",
        act="wattline.acts.nodes:undrain",
        show="wattline.show.events:done",
        role="operator",
        args=(_NODE,),
    ),
)
