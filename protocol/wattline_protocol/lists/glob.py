"""Globs in which `*` stands for any text, matched in linear time without a regular expression."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

STAR = "*"

_PIECE = re.compile(r"\\([*\\])|(\*)|([^*\\]+|\\)", re.DOTALL)
"""An escaped star or backslash, a star, or other text."""


@dataclass(frozen=True, slots=True)
class Glob:
    """The texts between its stars: one more than there are stars."""

    parts: tuple[str, ...]

    @property
    def is_literal(self) -> bool:
        """Whether it has no star: it matches one text only."""
        return len(self.parts) == 1

    @property
    def anywhere(self) -> "Glob":
        """The same with a star at both ends, without regard to case; for texts in `casefold`."""
        return Glob(("", *(part.casefold() for part in self.parts), ""))

    def matches(self, text: str) -> bool:
        """Whether all of `text` matches. The first place of each part leaves most to the next."""
        if self.is_literal:
            return text == self.parts[0]
        first, *between, last = self.parts
        if len(text) < len(first) + len(last) or not text.startswith(first):
            return False
        at, end = len(first), len(text) - len(last)
        return text.endswith(last) and _has_in_order(text, between, at, end)


def _has_in_order(text: str, parts: Sequence[str], at: int, end: int) -> bool:
    for part in parts:
        found = text.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def parse_glob(text: str) -> Glob:
    r"""`sweep-*`; `\*` is a star and `\\` a backslash."""
    parts = [""]
    for escaped, star, other in _PIECE.findall(text):
        if star:
            parts.append("")
        else:
            parts[-1] += escaped or other
    return Glob(tuple(parts))


def escaped(text: str) -> str:
    """The glob that matches `text` only."""
    return text.replace("\\", "\\\\").replace(STAR, "\\*")
