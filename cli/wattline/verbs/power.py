"""Verbs about power domains and cooling zones, and about what limits their budgets."""

from functools import partial

from wattline.verbs.verb import Argument, Option, Verb

_DOMAIN = Option(
    "domain", ("--domain", "-d"), "Power domain; otherwise the root of the power tree."
)
_REASON = Option("reason", ("--reason",), "Why, for the audit log.", default="")
_AMOUNT = Argument("amount", "How much to give up: 25%, 40kW or 800W.")


def _duration(name: str, flag: str, text: str) -> Option:
    return Option(name, (flag,), text, kind="duration", default=None)


_RAMP = _duration("ramp_s", "--ramp", "Fall in a straight line over so long; otherwise at once.")
_RELEASE = _duration(
    "release_s", "--release", "Once over, rise again over so long; otherwise at once."
)

_verb = partial(Verb, section="Power", role="submitter")
_act = partial(_verb, show="wattline.show.events:done", role="operator")

VERBS = (
    _verb(
        name="power",
        help="Show every power domain and cooling zone, and what limits their budgets.",
        details="The budget in force is the least of rating x derate and of every limit: sheds, "
        "windows of the site file, grid events, cooling and meters. Limits that are still to come "
        "are listed too.",
        act="wattline.acts.power:power",
        show="wattline.show.power:page",
        live="wattline.show.power:live_page",
        args=(
            Option(
                "watch",
                ("--watch", "-w"),
                "Go on, once a second: in place on a terminal, a line a domain in a pipe.",
                kind="switch",
            ),
        ),
        examples=("wattline power --watch",),
    ),
    _verb(
        name="meters",
        help="Show every domain meter: what it says, and what its nodes explain of it.",
        details="FACTOR is the slow ratio of metered to believed draw; UNBOOKED is load that the "
        "meter shows beyond the booked load; the domain's budget reserves it.",
        act="wattline.acts.sensing:meters",
        show="wattline.show.sensing:meter_listing",
    ),
    _verb(
        name="cooling",
        help="Show every cooling zone, or say how many of its units are in service.",
        details="Saying so takes the role operator, acts at once and outlives a restart. With all "
        "units in service nothing is said any more, and what is sensed counts.",
        act="wattline.acts.sensing:cooling",
        show="wattline.show.sensing:cooling_page",
        args=(
            Argument("zone", "Cooling zone; otherwise all of them.", required=False),
            Option(
                "units_in_service",
                ("--units-in-service",),
                "How many of the zone's units are in service.",
                kind="integer",
                metavar="N",
            ),
            _REASON,
        ),
        examples=("wattline cooling room --units-in-service 2 --reason 'compressor of unit 3'",),
    ),
    _verb(
        name="power why",
        help="Explain the watts of a node: which domain binds it, which priorities come first.",
        act="wattline.acts.power:why",
        show="wattline.show.why:why",
        args=(Argument("node", "Name of the node."),),
        examples=("wattline power why gpu-01",),
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
            _duration("for_s", "--for", "How long, as in 3h; otherwise until restored."),
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
            _duration("ramp_s", "--ramp", "Rise in a straight line over so long."),
            _REASON,
        ),
    ),
    _act(
        name="power event add",
        help="Announce a grid event: a lower budget from a time to a time.",
        details="The same event again is harmless, so an announcement may be repeated. Another one "
        "under the same id is refused: cancel the first, and use a new id.",
        act="wattline.acts.gridevents:add",
        args=(
            Argument("id", "The grid's own name of the event."),
            _AMOUNT,
            _DOMAIN,
            Option(
                "start",
                ("--start",),
                "When it begins: 2026-12-01T16:00, 16:00 (the next), or in 30m; otherwise now.",
            ),
            _duration("for_s", "--for", "How long it lasts; give this or --end."),
            Option("end", ("--end",), "When it ends, written like --start."),
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
        name="power event list",
        help="List the grid events that are not over.",
        act="wattline.acts.gridevents:events",
        show="wattline.show.power:limit_listing",
    ),
    _act(
        name="power event cancel",
        help="Take a grid event back, whether it has begun or not.",
        act="wattline.acts.gridevents:cancel",
        args=(Argument("id", "Its id."), _REASON),
        examples=("wattline power event cancel dr-4711 --reason 'called off'",),
    ),
)
