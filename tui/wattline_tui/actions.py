"""Every key of the terminal: bindings, footer, go to and help come from this table.

Acts on the site, with their keys, are in `acts.table`.
"""

from dataclasses import dataclass
from typing import Literal

from textual.binding import Binding

from wattline_protocol.text.wording import joined

Place = Literal["everywhere", "rows", "list", "tree", "site", "accounts", "job"]


@dataclass(frozen=True, slots=True)
class Action:
    """What a key does. `id` is stable, so that keys can be remapped by it."""

    id: str
    keys: str
    label: str
    help: str
    place: Place
    in_footer: bool = True
    does: str = ""
    """The call of one of several actions that share a method."""

    @property
    def call(self) -> str:
        """Of the method that does it."""
        return self.does or self.id.replace("-", "_")


def _rows(id: str, keys: str, help: str, does: str) -> Action:  # noqa: A002 - as in the table
    """A key that moves the cursor, or opens what is under it."""
    return Action(id, keys, id.replace("-", " "), help, "rows", in_footer=False, does=does)


ACTIONS = (
    Action("filter", "slash", "filter", "Filter by a condition, as for --where", "list"),
    Action("goto", "colon,ctrl+p", "go", "Go to anything by its name", "everywhere"),
    Action("sort", "s", "sort", "Sort by a column; again: turn the order", "list"),
    Action("acts", "a", "act", "List the acts on what is chosen or in focus", "everywhere"),
    Action("help", "question_mark,f1", "help", "Show all keys and the glossary", "everywhere"),
    Action("choose", "space", "choose", "Choose a row, or no longer", "list", in_footer=False),
    Action(
        "choose-all", "asterisk", "all", "Choose all rows shown, or none", "list", in_footer=False
    ),
    _rows("up", "up,k", "Go up a row", "move(-1)"),
    _rows("down", "down,j", "Go down a row", "move(1)"),
    _rows("page-up", "pageup", "Go up a page", "page(-1)"),
    _rows("page-down", "pagedown", "Go down a page", "page(1)"),
    _rows("first", "home", "Go to the first row", "end(-1)"),
    _rows("last", "end", "Go to the last row", "end(1)"),
    _rows("open", "enter", "Open what the row is about", "open"),
    Action("close", "left", "close", "Close a domain, or go to its parent", "tree", False),
    Action("expand", "right", "open", "Open a domain, or go to its first part", "tree", False),
    Action("filter-jobs", "slash", "jobs", "Filter jobs by a condition, as for --where", "site"),
    Action("heat", "t", "cells", "Show GPUs by power, temperature, use, owner, health", "site"),
    Action("zoom", "z", "zoom", "Show the panel in focus alone, or all panels", "site"),
    Action("reservations", "b", "reservations", "Show reservations of nodes", "accounts"),
    Action(
        "explain",
        "x",
        "explain",
        "Explain why a job is pending, and until when",
        "everywhere",
        False,
    ),
    Action(
        "whatif",
        "w",
        "what if",
        "Predict what fewer watts do, or where a job starts",
        "everywhere",
        False,
    ),
    Action("follow", "f", "follow", "Follow the log, or stop following", "job"),
    Action("search", "slash", "search", "Mark the lines of the log that contain a text", "job"),
    Action("next-match", "n", "next", "Go to the next line that matches", "job", False),
    Action("last-match", "N", "before", "Go to the line before that matches", "job", False),
    Action("earlier", "b", "earlier", "Read what is before the log shown", "job"),
    Action("choose-log", "t", "rank", "Choose the task or rank whose log is shown", "job"),
    Action(
        "next-part", "m", "metrics", "Show its metrics as charts, its checkpoints, its log", "job"
    ),
    Action(
        "alarms",
        "exclamation_mark",
        "problems",
        "Show open alarms and warnings with their remedies",
        "everywhere",
        in_footer=False,
    ),
    Action("back", "escape", "back", "Go back; clear a filter", "everywhere", in_footer=False),
    Action("quit", "q", "quit", "Leave the terminal; the site continues", "everywhere", False),
)


def bindings(place: Place) -> list[Binding | tuple[str, str] | tuple[str, str, str]]:
    """Textual bindings of one place."""
    return [
        Binding(a.keys, a.call, a.label, show=False, id=a.id, tooltip=a.help)
        for a in ACTIONS
        if a.place == place
    ]


_KEY_NAMES = {
    "question_mark": "?",
    "exclamation_mark": "!",
    "slash": "/",
    "colon": ":",
    "asterisk": "*",
    "space": "Space",
    "escape": "Esc",
    "enter": "Enter",
    "pageup": "PgUp",
    "pagedown": "PgDn",
    "up": "↑",
    "down": "↓",
    "left": "←",
    "right": "→",
    "home": "Home",
    "end": "End",
}


def key_name(key: str) -> str:
    """For display: `?`, `Ctrl-P`, `d`."""
    if key.startswith("ctrl+"):
        return f"Ctrl-{key.removeprefix('ctrl+').upper()}"
    is_function = key[0] == "f" and key[1:].isdecimal()
    return key.upper() if is_function else _KEY_NAMES.get(key, key)


def key_names(keys: str) -> str:
    """Several of them."""
    return joined([key_name(key) for key in keys.split(",")], "or")
