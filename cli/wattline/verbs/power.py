"""Verbs about power domains and cooling zones, and about what limits their budgets."""

from functools import partial

from wattline.verbs.verb import Argument, Option, Verb

_DOMAIN = Option(
    "domain",
    ("--domain", "-d"),
    "Power domain. Default: the root of the power tree.",
    likely_value="[A-Za-z].*",
)
_REASON = Option("reason", ("--reason",), "Reason, for the audit log.", default="")
_AMOUNT = Argument("amount", "Amount to shed: 25%, 40kW or 800W.")


def _duration(name: str, flag: str, text: str) -> Option:
    return Option(name, (flag,), text, kind="duration", default=None)


_RAMP = _duration(
    "ramp_s", "--ramp", "Time over which the budget falls linearly. Default: at once."
)
_RELEASE = _duration(
    "release_s", "--release", "Time over which it rises again at the end. Default: at once."
)

_verb = partial(Verb, section="Power", role="submitter")
_act = partial(_verb, show="wattline.show.events:done", role="operator")

VERBS = (
    _verb(
        name="power",
        help="Show power domains and cooling zones, and the limits of their budgets.",
        details="The budget in force is the minimum of rating x derate and all limits: sheds, "
        "windows of the site file, grid events, cooling and meters. Future limits are "
        "listed too.",
        act="wattline.acts.power:power",
        lists=("wattline.show.power:LIST",),
        examples=("wattline power --watch", "wattline power --where 'headroom<2kW'"),
    ),
    _verb(
        name="meters",
        help="Show power meters of domains beside the draw of their nodes.",
        details="FACTOR is the slow ratio of metered to estimated draw; UNBOOKED is metered load "
        "beyond the booked load, reserved in the domain's budget.",
        act="wattline.acts.sensing:meters",
        lists=("wattline.show.sensing:METERS",),
    ),
    _verb(
        name="cooling",
        help="Show cooling zones, or set the number of a zone's units in service.",
        details="Setting it requires the role operator, applies at once and persists over "
        "restarts. All units in service removes the setting: the sensor's value is used again.",
        act="wattline.acts.sensing:cooling",
        lists=("wattline.show.sensing:ZONES",),
        show="wattline.show.events:done",
        args=(
            Argument("zone", "Cooling zone. Default: all.", required=False),
            Option(
                "units_in_service",
                ("--units-in-service",),
                "Number of the zone's units in service.",
                kind="integer",
                metavar="N",
            ),
            _REASON,
        ),
        examples=("wattline cooling room --units-in-service 2 --reason 'compressor of unit 3'",),
    ),
    _verb(
        name="power why",
        help="Explain the lease of a node: the binding domain, and the priorities before it.",
        act="wattline.acts.power:why",
        show="wattline.show.why:why",
        args=(Argument("node", "Name of the node."),),
        examples=("wattline power why gpu-01",),
    ),
    _verb(
        name="power whatif",
        help="Predict the effect on jobs if a domain has fewer watts, or fails.",
        details="Shows which jobs would be slowed, paused, or lose their node, by the scheduler's "
        "own division of watts with the current demand. Nothing is changed. A node with another "
        "input keeps its work: its lease already allows for the loss of one.",
        act="wattline.acts.power:whatif",
        show="wattline.show.power:outlook",
        args=(
            Argument("domain", "Power domain or cooling zone."),
            Option(
                "less",
                ("--less",),
                "Watts that it loses: 3kW, or 25% of its current budget.",
                likely_value=r"\d.*[%W]",
            ),
            Option("fails", ("--fails",), "It fails: it has no watts at all.", kind="switch"),
        ),
        examples=(
            "wattline power whatif rack-r2 --less 3kW",
            "wattline power whatif feed-a --fails",
        ),
    ),
    _act(
        name="power shed",
        help="Lower a budget, at once or on a ramp.",
        details="AMOUNT is a share of the full budget (25%) or watts (40kW). A domain has one "
        "shed: a new one replaces it.",
        act="wattline.acts.power:shed",
        args=(
            _AMOUNT,
            _DOMAIN,
            _duration("for_s", "--for", "Duration, as in 3h. Default: until restored."),
            _RAMP,
            _RELEASE,
            _REASON,
        ),
        examples=(
            "wattline power shed 25% --for 3h --reason 'grid event 4711'",
            "wattline power shed 25% --ramp 10m --for 3h --release 10m",
            "wattline power shed 40kW --domain pdu-a1",
        ),
    ),
    _act(
        name="power restore",
        help="End a shed, at once or on a ramp.",
        details="Other limits of the domain stay in force: `wattline power` lists them.",
        act="wattline.acts.power:restore",
        args=(
            _DOMAIN,
            _duration("ramp_s", "--ramp", "Time over which the budget rises linearly."),
            _REASON,
        ),
    ),
    _act(
        name="power event add",
        help="Announce a grid event: a lower budget for a period.",
        details="An announcement may be repeated. A different event with the same id is refused: "
        "cancel the first and use a new id.",
        act="wattline.acts.gridevents:add",
        args=(
            Argument("id", "The grid's id of the event."),
            _AMOUNT,
            _DOMAIN,
            Option(
                "start",
                ("--start",),
                "Begin: 2026-12-01T16:00, 16:00 (the next), or 'in 30m'. Default: now.",
            ),
            _duration("for_s", "--for", "Duration, instead of --end."),
            Option("end", ("--end",), "End, in the form of --start."),
            _RAMP,
            _RELEASE,
            _REASON,
        ),
        examples=(
            "wattline power event add dr-4711 25% --start 16:00 --for 3h --ramp 10m",
            "wattline power event add dr-4712 40kW --start 'in 30m' --end 20:00 -d feed-a",
        ),
    ),
    _verb(
        name="power limits",
        help="List limits of budgets, now and planned, by start.",
        details="Sheds, schedules and windows of the site file, grid events, cooling and meters.",
        act="wattline.acts.power:limits",
        lists=("wattline.show.power:LIMITS",),
        examples=("wattline power limits --where 'source=event and start<16:00'",),
    ),
    _verb(
        name="power event list",
        help="List current and future grid events.",
        act="wattline.acts.gridevents:events",
        lists=("wattline.show.power:LIMITS",),
    ),
    _act(
        name="power event cancel",
        help="Cancel a grid event, begun or not.",
        act="wattline.acts.gridevents:cancel",
        args=(Argument("id", "Its id."), _REASON),
        examples=("wattline power event cancel dr-4711 --reason 'called off'",),
    ),
)
