"""The help page, from the tables of modes, actions and acts."""

from collections.abc import Mapping
from typing import get_args

from wattline_tui.actions import ACTIONS, Place, key_names
from wattline_tui.acts.table import ACTS, On
from wattline_tui.mode_names import MODE_NAMES

GLOSSARY = (
    ("domain", "nodes behind one limit: breaker, feed, cooling"),
    ("budget", "rating × derate, or less while a limit is in force"),
    ("committed", "maximum draw of the nodes by their leases"),
    ("lease", "wall watts granted to one node until replaced"),
    ("cap", "power limit in force on one GPU"),
    ("share, used", "what is due to an account, and its part of all use"),
    ("used/due", "lowest first among accounts with the same parent"),
    ("still there", "jobs of others on reserved nodes: they continue"),
    ("▾ or power cap", "the cap slows the GPU: it could use more watts"),
)

_HEADS: dict[Place, str] = {
    "everywhere": "Everywhere",
    "rows": "Rows of lists and panels",
    "list": "Lists",
    "tree": "Trees of domains",
    "site": "Site",
    "accounts": "Accounts",
    "job": "Job",
}


def help_text(keys: Mapping[str, str]) -> str:
    """All keys and terms on screen; `keys` are those that the user has mapped, by id."""
    lines = ["Modes", *(_line(keys.get(m.id, m.key), f"{m.title}: {m.help}") for m in MODE_NAMES)]
    for place in get_args(Place):
        found = [a for a in ACTIONS if a.place == place]
        lines += _section(
            _HEADS[place], [_line(key_names(keys.get(a.id, a.keys)), a.help) for a in found]
        )
    for on in get_args(On):
        found_acts = [a for a in ACTS if a.on == on]
        lines += _section(
            f"Acts on a {on}", [_line(key_names(keys.get(a.id, a.key)), a.help) for a in found_acts]
        )
    return "\n".join([*lines, "", "Words", *(f"  {word:<15} {text}" for word, text in GLOSSARY)])


def _section(head: str, lines: list[str]) -> list[str]:
    return ["", head, *lines] if lines else []


def _line(keys: str, text: str) -> str:
    return f"  {keys:<13} {text}"
