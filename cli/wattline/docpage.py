"""Generates `docs/cli.md` from the table of verbs: `python -m wattline.docpage docs/cli.md`."""

import sys
from pathlib import Path
from typing import Any

from wattline.exits import MEANINGS, WAIT_MEANINGS
from wattline.lists.list_of import ListOf
from wattline.verbs.catalogue import CATALOGUE
from wattline.verbs.group import metavar, parameters
from wattline.verbs.run import load
from wattline.verbs.verb import SECTIONS, Argument, Option, Verb

_HEAD = """# The `wattline` command

Generated from the table of verbs (`cli/wattline/verbs/`) by `make docs`; do not edit.

`wattline --help` prints an overview; `wattline help VERB` and `wattline VERB --help` print the
help of a verb. A verb that talks to the scheduler takes its join bundle from `--bundle FILE`, else
from `$WATTLINE_BUNDLE`, else from `~/.config/wattline/bundle.toml`. With `--json` a verb prints the
views of `wattline_protocol.views.site_views` as JSON, and text as `{"text": "…"}`; streams print
one object per line. In a pipe the output is plain text in full width. `NO_COLOR` is honoured.
Lists have common options: [lists](lists.md).
"""


def page() -> str:
    """The whole page."""
    parts = [_HEAD, _exit_codes()]
    for section in SECTIONS:
        parts.append(f"## {section}\n")
        parts += [_verb(verb) for verb in CATALOGUE if verb.section == section]
    return "\n".join(parts).rstrip() + "\n"


def _exit_codes() -> str:
    rows = [f"| {code} | {meaning} |" for code, meaning in MEANINGS.items()]
    waits = [f"| {state} | {code} |" for state, code in WAIT_MEANINGS.items()]
    return "\n".join(
        [
            "## Exit codes\n",
            "| code | meaning |",
            "|---|---|",
            *rows,
            "\n`run` and `submit --wait` exit with the job's own status:\n",
            "| job ended as | code |",
            "|---|---|",
            *waits,
            "",
        ]
    )


def _verb(verb: Verb) -> str:
    arguments = [p for p in verb.args if isinstance(p, Argument)]
    usage = " ".join(["wattline", verb.name, "[OPTIONS]", *(metavar(a) for a in arguments)])
    lines = [
        f"### {verb.name}\n",
        f"`{usage}`\n",
        " ".join(filter(None, [verb.help, verb.details])),
    ]
    if verb.role is not None:
        lines.append(f"\nRole needed: {verb.role}.")
    rows = [_row(p) for p in parameters(verb)]
    if rows:
        lines += ["\n| parameter | meaning |", "|---|---|", *rows]
    lines += [f"\n{_columns(load(of))}" for of in verb.lists]
    if verb.examples:
        lines += ["\n```sh", *verb.examples, "```"]
    return "\n".join(lines) + "\n"


def _columns(of: ListOf[Any, Any]) -> str:
    """What the options of lists may name, those that are not usually shown in italics."""
    names = (
        f"{mark}`{column.name}`{mark} ({column.kind.name})"
        for column in of.table(0.0).columns
        for mark in ("" if column.is_usual else "*",)
    )
    return f"Columns ([lists](lists.md)), those in italics on request: {', '.join(names)}."


def _row(p: Argument | Option) -> str:
    if isinstance(p, Argument):
        return f"| `{_cell(metavar(p))}` | {_cell(p.help)} |"
    word = p.metavar or ("" if p.kind == "switch" else p.kind.upper())
    flags = ", ".join(f"`{flag}{f' {word}' if word else ''}`" for flag in p.flags)
    notes = [p.help]
    if p.choices:
        notes.append(f"One of {', '.join(p.choices)}.")
    if p.default not in (None, "", False):
        notes.append(f"Default: {p.default}.")
    return f"| {_cell(flags)} | {_cell(' '.join(notes))} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
