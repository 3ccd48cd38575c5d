"""Verbs about data sets."""

from functools import partial

from wattline.verbs.verb import Argument, Option, Verb

_verb = partial(Verb, section="Data", role="submitter")
_VERSION = "NAME@v3, NAME@stable, or NAME for its newest."

VERBS = (
    _verb(
        name="data add",
        help="Add a folder or a file as the next version of a data set.",
        details="Only what the store does not have is written. The first version makes the set, "
        "yours from then on. Keys of an S3 store: $AWS_ACCESS_KEY_ID, $AWS_SECRET_ACCESS_KEY.",
        act="wattline.data.add:add",
        show="wattline.data.show_versions:added",
        args=(
            Argument("name", "Name of the set."),
            Argument("path", "The folder, or the file.", kind="path"),
            Option("store", ("--store",), "URL, of a new set. Default: the site's.", metavar="URL"),
            Option("made_from", ("--from",), f"What it was made from: {_VERSION}", many=True),
            Option("reader", ("--reader",), "User that may read it; `all`.", many=True),
            Option("reviewer", ("--reviewer",), "User that approves it; `none`.", many=True),
            Option("retention", ("--retention",), "How long versions last.", kind="duration"),
            Option("contains", ("--contains",), "Kind of data, as in personal.", many=True),
            Option("secret", ("--secret",), "Secret with the keys of its store, on nodes."),
        ),
        examples=("wattline data add digits ./digits --retention 180d --contains personal",),
    ),
    _verb(
        name="data ls",
        help="List data sets and models, or the versions of one.",
        act="wattline.data.versions:listing",
        show="wattline.data.show_versions:listing",
        args=(Argument("name", "Name of a set. Default: all sets.", required=False),),
    ),
    _verb(
        name="data show",
        help="Show a version: its size, what it was made from, what uses it.",
        act="wattline.data.versions:show",
        show="wattline.data.show_versions:detail",
        args=(Argument("reference", _VERSION),),
        knows_json=True,
    ),
    _verb(
        name="data verify",
        help="Read all of a version in its store, and compare it with its SHA-256.",
        details="Exit code 1 where a file is missing or differs.",
        act="wattline.data.versions:verify",
        show="wattline.data.show_versions:verified",
        args=(Argument("reference", _VERSION),),
    ),
    _verb(
        name="data approve",
        help="Publish a version under an alias, which jobs may name.",
        details="By the reviewers of the set and by operators; where it has none, by its owner.",
        act="wattline.data.versions:approve",
        show="wattline.show.events:done",
        args=(
            Argument("reference", _VERSION),
            Option("alias", ("--as",), "The alias.", default="stable", metavar="ALIAS"),
        ),
        examples=("wattline data approve digits@v3 --as stable",),
    ),
    _verb(
        name="data rm",
        help="Remove a version; what no other one needs leaves the store, with a receipt.",
        details="Refused while a job or a service needs it. If it is interrupted, repeat it.",
        act="wattline.data.versions:remove",
        show="wattline.show.events:done",
        args=(Argument("reference", "NAME@v3."),),
    ),
)
