"""Verbs that check and compare versions of data sets."""

from functools import partial

from wattline.verbs.verb import BUNDLE, Argument, Option, Verb

_verb = partial(Verb, section="Data")

_VERSION = "NAME@v3, or a folder or file."

VERBS = (
    _verb(
        name="data check",
        help="Check a version of a data set against another; exit status 1 if a rule is broken.",
        details="Reads CSV, JSON lines, Parquet and NPZ. Names each column whose type, nulls, "
        "range or distribution (population stability index) is beyond its limit. Limits: flags, "
        "then --rules, then data-checks.toml in the old version.",
        act="wattline.data.checks:check_versions",
        show="wattline.data.show_checks:verdict",
        args=(
            Argument("new", f"New version: {_VERSION}"),
            Option("against", ("--against",), f"Old version: {_VERSION}", required=True),
            Option("rules", ("--rules",), "TOML file of limits.", "path", metavar="FILE"),
            Option("psi", ("--psi",), "Limit of the index. Default: 0.25.", "number"),
            Option("nulls", ("--nulls",), "More nulls, as a share. Default: 0.01.", "number"),
            Option(
                "outside",
                ("--range",),
                "Share of values outside the old range. Default: 0.01.",
                "number",
            ),
            Option("rows", ("--rows",), "Least and most rows. Default: 0.5,10 of the old."),
            Option("ignore", ("--ignore",), "Column or table; may be repeated.", many=True),
            Option("may_add", ("--may-add",), "Allow new columns and tables.", "switch"),
            BUNDLE,
        ),
        examples=("wattline data check digits@v2 --against digits@v1",),
    ),
    _verb(
        name="data diff",
        help="Show what differs between two versions: files, rows, columns, distributions.",
        details="Columns that differ most come first.",
        act="wattline.data.checks:diff_versions",
        show="wattline.data.show_checks:differences",
        args=(
            Argument("old", f"Old version: {_VERSION}"),
            Argument("new", f"New version: {_VERSION}"),
            BUNDLE,
        ),
        examples=("wattline data diff digits@v1 digits@v2",),
    ),
)
