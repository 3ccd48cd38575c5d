"""Definition of a verb: source of the command line, its help and the docs page."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from wattline_protocol.site.model import Role

Section = Literal[
    "Set up",
    "Programs",
    "Jobs",
    "Data",
    "Serving",
    "Nodes",
    "Power",
    "Watch",
    "Simulation",
    "Measure",
]
SECTIONS: tuple[Section, ...] = get_args(Section)

Kind = Literal["text", "integer", "number", "switch", "path", "duration"]


@dataclass(frozen=True, slots=True)
class Argument:
    """A value given by position. `name` is the act's parameter and, in capitals, the metavar."""

    name: str
    help: str
    kind: Kind = "text"
    required: bool = True
    many: bool = False
    after_dashes: bool = False
    """Takes everything after `--`, untouched."""


@dataclass(frozen=True, slots=True)
class Option:
    """A value given by flag. The act's parameter is `name`."""

    name: str
    flags: tuple[str, ...]
    help: str
    kind: Kind = "text"
    default: Any = None
    metavar: str = ""
    choices: tuple[str, ...] = ()
    many: bool = False
    required: bool = False
    value_alone: str = ""
    """Its value where none follows the flag; empty = one must follow."""
    likely_value: str = ""
    """Pattern of a surplus word that is probably its value: the error shows the line with the
    flag. Empty: of none."""


@dataclass(frozen=True, slots=True)
class Verb:
    """One command of the user.

    `act` and `show` are `module:function`, imported only when the verb runs. With a `role` the
    act's first parameter is a connected client; without one it runs on this machine alone.
    The act returns a value (or an iterator of values, shown as they come) that `show` turns
    into something rich can print; `--json` prints the value itself.
    """

    name: str
    section: Section
    help: str
    act: str
    show: str | None = None
    lists: tuple[str, ...] = ()
    """`module:NAME` of each `ListOf` that prints what the act returns: the first that applies to
    the arguments; `show` does where none does."""
    selects: bool = False
    """Its act is given `where` as text and evaluates it; otherwise rows are selected here."""
    streams: bool = False
    """The act of a list may return rows one by one, as they come."""
    args: tuple[Argument | Option, ...] = ()
    role: Role | None = None
    """The least role that may do it; None: needs no scheduler."""
    details: str = ""
    examples: tuple[str, ...] = ()
    has_json: bool = True
    knows_json: bool = False
    """Its act is given `as_json`, because what it does beside its result depends on that."""

    @property
    def words(self) -> tuple[str, ...]:
        """`power shed` is two words: a family and its member."""
        return tuple(self.name.split())


BUNDLE = Option(
    "bundle",
    ("--bundle",),
    "Join bundle. Default: $WATTLINE_BUNDLE, else ~/.config/wattline/bundle.toml.",
    kind="path",
    metavar="FILE",
)
JSON = Option("json", ("--json",), "Print the result as JSON.", kind="switch")
