"""Verbs about data sets."""

from functools import partial

from wattline.verbs.verb import Argument, Option, Verb

_verb = partial(Verb, section="Data", role="submitter")
_VERSION = "NAME@v3, NAME@stable, or NAME for its newest."

_PROPERTIES = (
    Option("reader", ("--reader",), "User that may read it; `all` for everyone.", many=True),
    Option("reviewer", ("--reviewer",), "User that approves it; `none` for no review.", many=True),
    Option("retention", ("--retention",), "How long versions are retained.", kind="duration"),
    Option("contains", ("--contains",), "Kind of data, as in personal.", many=True),
    Option("secret", ("--secret",), "Secret with the keys of its store, on nodes."),
)

VERBS = (
    _verb(
        name="data add",
        help="Add a folder, a file or a checkpoint as the next version of a data set.",
        details="Only what the store does not have is written. The first version creates the "
        "set, which you then own. Keys of an S3 store: $AWS_ACCESS_KEY_ID, $AWS_SECRET_ACCESS_KEY.",
        act="wattline.data.add:add",
        show="wattline.data.show_versions:added",
        args=(
            Argument("name", "Name of the set."),
            Argument("path", "Folder, file or s3://bucket/prefix.", kind="path", required=False),
            Option("model", ("--model",), "It is a model, which services may name.", "switch"),
            Option("from_run", ("--from-run",), "Newest checkpoint of a run: 17.", metavar="RUN"),
            Option(
                "from_checkpoint",
                ("--from-checkpoint",),
                "A checkpoint, which is verified.",
                kind="path",
                metavar="DIR",
            ),
            Option("store", ("--store",), "URL, of a new set. Default: the site's.", metavar="URL"),
            Option("made_from", ("--from",), f"What it was made from: {_VERSION}", many=True),
            *_PROPERTIES,
            Option("no_check", ("--no-check",), "Do not read its columns.", kind="switch"),
        ),
        examples=(
            "wattline data add digits ./digits --retention 180d --contains personal",
            "wattline data add net --model --from-run 17",
        ),
    ),
    _verb(
        name="data set",
        help="Change properties of a data set, without another version.",
        details="Allowed to its owner and operators; only operators change existing reviewers.",
        act="wattline.data.properties:change",
        show="wattline.show.events:done",
        args=(Argument("name", "Name of the set."), *_PROPERTIES),
        examples=("wattline data set digits --retention 90d --reader ada --reader bob",),
    ),
    _verb(
        name="data ls",
        help="List data sets and models, or the versions of one.",
        act="wattline.data.versions:listing",
        lists=("wattline.data.show_versions:SETS", "wattline.data.show_versions:VERSIONS"),
        args=(
            Argument("name", "Name of a set. Default: all sets.", required=False),
            Option("stale", ("--stale",), "Only sets whose newest version is stale.", "switch"),
        ),
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
        name="data lineage",
        help="Show what a version was made from, and what was made from it.",
        act="wattline.data.lineage:lineage",
        show="wattline.data.lineage:shown",
        args=(Argument("of", "A version; a run, as 17; a checkpoint, by its directory."),),
        examples=("wattline data lineage net@stable", "wattline data lineage 17"),
    ),
    _verb(
        name="data rebuild",
        help="Run the job that made a version again, and compare the results.",
        details="It reads the same versions; nothing is published. Exit code 1 if a result is "
        "not equal: the reason names the files. Allowed to the owner of the set.",
        act="wattline.data.rebuild:rebuild",
        show="wattline.show.events:done",
        args=(
            Argument("references", "Versions that jobs made, as features@v1.", many=True),
            Option("upstream", ("--upstream",), "Also rebuild what they were made from.", "switch"),
            Option("no_wait", ("--no-wait",), "Submit the jobs, and do not wait.", "switch"),
        ),
        examples=("wattline data rebuild net@v1 --upstream",),
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
        details="Allowed to reviewers and operators; if the set has no reviewers, to its owner.",
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
        act="wattline.data.remove:remove",
        show="wattline.show.events:done",
        args=(
            Argument("reference", "NAME@v3; with --expired NAME."),
            Option("expired", ("--expired",), "All versions whose retention has ended.", "switch"),
        ),
        examples=("wattline data rm digits@v1", "wattline data rm digits --expired"),
    ),
)
