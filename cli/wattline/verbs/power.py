"""Verbs about power domains and cooling zones."""

from wattline.verbs.verb import Argument, Option, Verb

_DOMAIN = Option(
    "domain", ("--domain", "-d"), "Power domain; otherwise the root of the power tree."
)
_REASON = Option("reason", ("--reason",), "Why, for the audit log.", default="")

VERBS = (
    Verb(
        name="power",
        section="Power",
        help="Show every power domain and cooling zone: budget, committed, measured, headroom.",
        act="wattline.acts.power:power",
        show="wattline.show.power:listing",
        role="submitter",
    ),
    Verb(
        name="power shed",
        section="Power",
        help="Lower a budget, at once.",
        details="AMOUNT is a share of the full budget (25%) or watts (40kW).",
        act="wattline.acts.power:shed",
        show="wattline.show.events:done",
        role="operator",
        args=(
            Argument("amount", "How much to give up: 25%, 40kW or 800W."),
            _DOMAIN,
            Option(
                "for_s",
                ("--for",),
                "How long, as in 3h; otherwise until restored.",
                kind="duration",
                default=None,
            ),
            _REASON,
        ),
        examples=(
            "wattline power shed 25% --for 3h --reason 'grid event 4711'",
            "wattline power shed 40kW --domain pdu-a1",
        ),
    ),
    Verb(
        name="power restore",
        section="Power",
        help="Put the full budget in force again.",
        act="wattline.acts.power:restore",
        show="wattline.show.events:done",
        role="operator",
        args=(_DOMAIN, _REASON),
    ),
)
