"""What replaces a command of Slurm or of kubectl, by the tables of docs/from-slurm.md."""

import re
import tomllib
from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import NamedTuple

PAGE = "docs/from-slurm.md"


class Replaced(NamedTuple):
    """One command, and the Markdown of what replaces it."""

    words: tuple[str, ...]
    """Of which one that ends in `=` stands for all that begin so."""
    instead: str


def tables() -> dict[str, dict[str, str]]:
    """The page's tables by their section: commands, and what replaces them, both in Markdown."""
    return tomllib.loads((files(__package__) / "commands.toml").read_text(encoding="utf-8"))


def replacement(words: Sequence[str]) -> str | None:
    """What the row with the most of the first words says, as a sentence; None: no row has any."""
    found = [row for row in _rows() if _begins(words, row.words)]
    if not found:
        return None
    row = max(found, key=lambda row: len(row.words))
    whose = "" if row.words[0] == "kubectl" else "Slurm's "
    return f"{whose}{' '.join(row.words)}{_predicate(row.instead)} ({PAGE})."


def _rows() -> Iterator[Replaced]:
    for section, rows in tables().items():
        before = () if section == "Commands" else (section,)
        for cell, instead in rows.items():
            for command in re.findall("`([^`]+)`", cell):
                yield Replaced((*before, *command.split()), instead)


def _begins(words: Sequence[str], row: Sequence[str]) -> bool:
    return len(words) >= len(row) and all(map(_is_meant, words, row))


def _is_meant(word: str, of_row: str) -> bool:
    """In any case and number, as scontrol reads `show nodes` and `nodename=n1`."""
    word, of_row = word.casefold(), of_row.casefold()
    return word.startswith(of_row) if of_row.endswith("=") else word in (of_row, f"{of_row}s")


def _predicate(cell: str) -> str:
    """` is …`, ` has no counterpart: …` or `: …`, without links."""
    text = re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", cell)
    if text.startswith("None"):
        return f" has no counterpart{text.removeprefix('None')}"
    return f" is {text}" if text.startswith("`") else f": {text}"
