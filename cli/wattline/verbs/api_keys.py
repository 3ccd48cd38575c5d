"""Verbs about API keys of HTTP clients."""

from functools import partial

from wattline.verbs.verb import Argument, Option, Verb

_verb = partial(Verb, section="Serving", role="submitter")

VERBS = (
    _verb(
        name="key add",
        help="Make an API key with which HTTP clients may use services.",
        details="Prints the key, once: only its SHA-256 is on record. You may name services that "
        "are yours, or that the site file lets you use; operators may name any.",
        act="wattline.acts.serving.api_keys:add",
        show="wattline.show.serving.api_keys:secret",
        args=(
            Argument("name", "Name of the key, as in lists and logs."),
            Option(
                "service",
                ("--service",),
                "Service or route, or several as in a,b; may be repeated.",
                many=True,
                required=True,
            ),
            Option(
                "rate",
                ("--rate",),
                "Inputs per second, minute, hour or day over all gateways, as in 50/s or 1000/h. "
                "Default: no limit.",
                metavar="RATE",
            ),
            Option(
                "burst",
                ("--burst",),
                "Inputs at once. Default: those of one second.",
                kind="integer",
            ),
            Option(
                "tokens_per_day",
                ("--tokens-per-day",),
                "Over all gateways, as in 2M or 500k. Default: no limit.",
                metavar="COUNT",
            ),
            Option(
                "priority",
                ("--priority",),
                "Highest class of its requests (header wattline-priority).",
                choices=("urgent", "normal", "batch"),
                default="normal",
            ),
            Option("tier", ("--tier",), "Label that rules of routes compare. Default: none."),
            Option("expires", ("--expires",), "Duration. Default: until revoked.", kind="duration"),
        ),
        examples=("wattline key add shop --service digits --rate 50/s --burst 100 --expires 30d",),
        knows_json=True,
    ),
    _verb(
        name="key ls",
        help="List API keys that are not revoked: your own, all for operators.",
        act="wattline.acts.serving.api_keys:keys",
        lists=("wattline.show.serving.api_keys:KEYS",),
    ),
    _verb(
        name="key usage",
        help="Show requests of API keys, refused ones, and the newest.",
        details="Gateways report about once a second. REFUSED counts those beyond the key's rate, "
        "or for services of others; TODAY the tokens of the day. STATE shows keys that gateways "
        "slow or block for abuse; the evidence is below. The counts are saved every 10 s.",
        act="wattline.acts.serving.api_keys:usage",
        lists=("wattline.show.serving.api_keys:USAGE",),
        args=(Argument("name", "Name of the key. Default: all of `key ls`.", required=False),),
    ),
    _verb(
        name="key revoke",
        help="Revoke an API key, in force within a second at each connected gateway.",
        act="wattline.acts.serving.api_keys:revoke",
        show="wattline.show.events:done",
        args=(Argument("name", "Its name."),),
    ),
    _verb(
        name="key unblock",
        help="Accept an API key again that gateways block or slow for abuse.",
        details="In force within a second at each connected gateway. `key usage` shows why it is "
        "blocked. A key whose clients continue as before is blocked again.",
        act="wattline.acts.serving.api_keys:unblock",
        show="wattline.show.events:done",
        args=(Argument("name", "Its name."),),
    ),
)
