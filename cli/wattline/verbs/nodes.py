"""Verbs about nodes."""

from functools import partial

from wattline.verbs.verb import Argument, Option, Verb

_NODE = Argument("node", "Name of the node.")
_GPU = Argument("gpu", "As NODE:INDEX or NODE:UUID.")
_REASON = Option("reason", ("--reason",), "Reason, for the audit log.", default="")

_verb = partial(Verb, section="Nodes", role="operator")
_act = partial(_verb, show="wattline.show.events:done")

VERBS = (
    _verb(
        name="nodes",
        help="List nodes with their leases and draw.",
        act="wattline.acts.nodes:nodes",
        lists=("wattline.show.nodes:LIST",),
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
        help="Declare an unresponsive node off, which releases its watts.",
        details="Where the site file has an out-of-band method for the node, its BMC or PDU "
        "confirms it, and with --power-off switches the host off first. Otherwise, or if that "
        "fails, verify yourself that the node has no power: the command asks for its name again, "
        "or takes it from --confirm.",
        act="wattline.acts.nodes:node_off",
        args=(
            _NODE,
            Option("confirm", ("--confirm",), "Name of the node, as confirmation.", metavar="NODE"),
            Option(
                "power_off",
                ("--power-off",),
                "Switch it off by its BMC or PDU; a node that reports must be drained first.",
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
        help="Revoke `node off`; the node counts in full until it reports.",
        act="wattline.acts.nodes:node_on",
        args=(_NODE,),
    ),
    _act(
        name="node readmit",
        help="End the quarantine of a node.",
        details="A key is quarantined when the reports of its agent contradict the books "
        "repeatedly. Its node counts in full and gets no tasks. Check `wattline events` and the "
        "host first. The node counts in full until its caps are read back, and is quarantined "
        "again if the contradictions continue.",
        act="wattline.acts.nodes:readmit",
        args=(_NODE, _REASON),
        examples=("wattline node readmit n3 --reason 'key replaced, host installed again'",),
    ),
    _act(
        name="drain",
        help="Place no new tasks on a node; running tasks continue.",
        details="It is draining until its last task has ended, then drained: `wattline nodes` "
        "shows since when, or the latest time by the run time limits of its tasks.",
        act="wattline.acts.nodes:drain",
        args=(
            _NODE,
            Option("after_jobs", ("--after-jobs",), "Let its tasks end (default).", "switch"),
            Option("now", ("--now",), "Requeue its tasks.", "switch"),
            Option("wait", ("--wait", "-W"), "Wait until its last task has ended.", "switch"),
            _REASON,
        ),
        examples=(
            "wattline drain n3 --after-jobs --wait --reason 'new fan'",
            "wattline drain n3 --now --reason 'hot inlet'",
        ),
    ),
    _act(
        name="cordon",
        help="Mark one GPU unschedulable; work on it continues.",
        details="The cordon follows the GPU by its UUID: it survives restarts and changed indices, "
        "and ends when the GPU is replaced. `wattline node` shows cordons with their reasons.",
        act="wattline.acts.nodes:cordon",
        args=(_GPU, _REASON),
        examples=("wattline cordon gpu-03:3 --reason 'XID 79 twice'",),
    ),
    _act(
        name="uncordon",
        help="Mark a cordoned GPU schedulable again.",
        act="wattline.acts.nodes:uncordon",
        args=(_GPU,),
        examples=("wattline uncordon gpu-03:3",),
    ),
    _act(
        name="reserve",
        help="Reserve nodes for accounts, users or maintenance.",
        details="Jobs that name it (`submit --reservation`) start there while it is active; other "
        "jobs before, if they end in time. Running jobs continue when it begins. Nodes are those "
        "with one of the names, all labels and a GPU of one of the models; with --count or --gpus "
        "those that are free soonest. Times are in the site's time zone.",
        act="wattline.acts.reservations:reserve",
        args=(
            Argument("name", "Name of the reservation."),
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
            Option("count", ("--count",), "Number of such nodes.", kind="integer"),
            Option(
                "gpus", ("--gpus", "-g"), "Number of such GPUs, on whole nodes.", kind="integer"
            ),
            Option(
                "start",
                ("--from",),
                "Begin: 2026-12-01T16:00, 16:00 (the next), or 'in 2h'. Default: now.",
                metavar="TIME",
            ),
            Option(
                "until",
                ("--until",),
                "End, in the form of --from; `in 2h` counts from the start.",
                metavar="TIME",
            ),
            Option("for_s", ("--for",), "Duration, instead of --until.", kind="duration"),
            Option(
                "account", ("--account",), "Account that may use it; may be repeated.", many=True
            ),
            Option("user", ("--user", "-u"), "User that may use it; may be repeated.", many=True),
            Option(
                "maintenance", ("--maintenance",), "For maintenance: no jobs start.", kind="switch"
            ),
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
        details="STILL THERE lists jobs of others on its nodes.",
        act="wattline.acts.reservations:reservations",
        lists=("wattline.show.reservations:LIST",),
        role="submitter",
    ),
    _act(
        name="unreserve",
        help="Cancel a reservation, active or not; its running jobs continue.",
        act="wattline.acts.reservations:unreserve",
        args=(Argument("name", "Its name."), _REASON),
    ),
    _act(
        name="undrain",
        help="Place tasks on a node again.",
        act="wattline.acts.nodes:undrain",
        args=(_NODE,),
    ),
)
