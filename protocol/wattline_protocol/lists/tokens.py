"""Splits a condition into words, quoted values, operators and parentheses."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

TokenKind = Literal["word", "quoted", "operator", "(", ")"]

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<bracket>[()])
      | (?P<operator>[=!<>~&|]+)
      | '(?P<single>(?:[^']|'')*)'
      | "(?P<double>(?:[^"]|"")*)"
      | (?P<word>[^\s()=!<>~&|'"]+)
      | (?P<open>['"])
    )""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Token:
    """One piece of a condition."""

    kind: TokenKind
    text: str
    """Without its quotes."""

    @property
    def keyword(self) -> str:
        """`and`, `or` or `not`; empty = it is none."""
        word = self.text.casefold()
        return word if self.kind == "word" and word in ("and", "or", "not") else ""


def tokens(text: str) -> Iterator[Token]:
    """All of them. Raises ValueError for a quote that does not end."""
    at, end = 0, len(text.rstrip())
    while at < end:
        found = _TOKEN.match(text, at)
        if found is None:  # a character that no alternative begins with: there is none
            raise ValueError(f"unexpected {text[at]!r}")
        at = found.end()
        if found["open"]:
            raise ValueError(f"the quote {found['open']} is not closed")
        yield _token(found)


def _token(found: re.Match[str]) -> Token:
    if found["bracket"]:
        return Token("(" if found["bracket"] == "(" else ")", found["bracket"])
    if found["operator"]:
        return Token("operator", found["operator"])
    if found["word"]:
        return Token("word", found["word"])
    if found["single"] is not None:
        return Token("quoted", found["single"].replace("''", "'"))
    return Token("quoted", found["double"].replace('""', '"'))


def quoted(text: str) -> str:
    """`text` as one value: in quotes where it needs them."""
    words = [] if "'" in text or '"' in text else list(tokens(text))
    is_plain = len(words) == 1 and words[0] == Token("word", text) and not words[0].keyword
    return text if is_plain else "'" + text.replace("'", "''") + "'"
