"""The options that every list has."""

from wattline.verbs.verb import Option

WHERE = Option(
    "where",
    ("--where",),
    "Only those whose columns match, as in 'COLUMN~TEXT and COLUMN>1' (docs/lists.md).",
    metavar="CONDITION",
)
COLUMNS = Option(
    "columns", ("--columns",), "Columns, as in a,b or +a,-b (docs/lists.md).", metavar="NAMES"
)
SORT = Option("sort", ("--sort",), "Columns to sort by, as in -a,b.", metavar="NAMES")
CSV = Option("csv", ("--csv",), "Print CSV.", kind="switch")
WATCH = Option(
    "watch_s",
    ("--watch", "-w"),
    "Repeat every 2s, or in this period.",
    kind="duration",
    metavar="[PERIOD]",
    value_alone="2s",
)
WIDE = Option("wide", ("--wide",), "Omit and cut nothing on a terminal.", kind="switch")

LIST_OPTIONS = (WHERE, COLUMNS, SORT, CSV, WATCH, WIDE)
