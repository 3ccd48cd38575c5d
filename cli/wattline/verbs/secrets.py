"""Verbs about secrets."""

from functools import partial

from wattline.verbs.verb import Argument, Option, Verb

_verb = partial(Verb, section="Data", role="submitter")

_ENTRY = Argument("entry", "Name of the entry, as in `[secrets] NAME = ENTRY` of a job.")
_USER = Option("user", ("--user",), "Whose; operators only. Default: your own.", metavar="NAME")
_NODE = Option("node", ("--node",), "Only this node; may be repeated. Default: all.", many=True)

VERBS = (
    _verb(
        name="secret put",
        help="Store a secret on the nodes: a value from stdin, or typed.",
        details="The value is sealed here for each node, and opened only there; the scheduler "
        "passes it on and stores nothing. It is never an argument: other users of this host could "
        "read that. The exit code is 1 unless all nodes have it: put it again once the others are "
        "back.",
        act="wattline.data.secrets:put",
        show="wattline.data.show_secrets:changed",
        args=(_ENTRY, _USER, _NODE),
        examples=(
            "wattline secret put wandb < key.txt",
            "wattline secret put s3 --user ada --node gpu-07 < s3.json",
        ),
    ),
    _verb(
        name="secret ls",
        help="List secrets by name: your own, all for operators.",
        details="NODES counts those that report the entry, of those that report any. No verb "
        "shows a value.",
        act="wattline.data.secrets:secrets",
        lists=("wattline.data.show_secrets:LIST",),
    ),
    _verb(
        name="secret rm",
        help="Remove a secret from the nodes.",
        details="Tasks that run keep their copy until they end.",
        act="wattline.data.secrets:remove",
        show="wattline.data.show_secrets:changed",
        args=(_ENTRY, _USER, _NODE),
    ),
)
