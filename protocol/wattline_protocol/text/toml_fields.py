"""Reads a TOML document key by key and collects all errors.

A `Fields` reads one table. Each `take` names a key and a reader, which converts the raw value or
raises ValueError with a valid form; `end` reports the keys that were not taken, with the nearest
valid key. Problems name a place in the document; only the final report converts places to lines (or
to flags, for options that were never text).
"""

import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from heapq import nlargest
from typing import Any, NamedTuple, TypeVar

from wattline_protocol.text.toml import KeyPath, key_lines, line_of
from wattline_protocol.text.visible import visible_line
from wattline_protocol.wire.bounds import CONTROL

T = TypeVar("T")
Reader = Callable[[object], T]

MAX_DOCUMENT_CHARS = 4 * 1024 * 1024
MAX_PROBLEMS = 50
"""Problems reported at once; a text with more is probably no such document."""
MAX_SHOWN_CHARS = 60
MAX_COMPARED, MAX_COMPARED_CHARS = 100, 64
"""Words that a mistyped one is compared with, and their length."""

_ERROR_LINE = re.compile(r"\s*\(at (?:line (\d+), column \d+|end of document)\)")


class Problem(NamedTuple):
    """One error and its place."""

    path: KeyPath
    text: str


class DocumentError(ValueError):
    """A text that cannot be used. `problems` has a line for each error."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems[:MAX_PROBLEMS])
        if len(problems) > MAX_PROBLEMS:
            self.problems += (f"and {len(problems) - MAX_PROBLEMS} more",)
        super().__init__("\n".join(self.problems))


class Unshown(ValueError):
    """A wrong value that may be a secret: no error repeats it."""


class Document(NamedTuple):
    """A parsed text with the lines of its keys."""

    table: dict[str, Any]
    lines: Mapping[KeyPath, int]
    source: str

    def line(self, problem: Problem) -> int:
        """The line of the problem, or of the enclosing table."""
        return line_of(self.lines, problem.path)

    def located(self, problem: Problem) -> str:
        """The problem with its file and line."""
        return f"{self.source}:{self.line(problem)}: {problem.text}"


def read_document(text: str, source: str) -> Document:
    """Parse TOML. Raises DocumentError with file and line."""
    if len(text) > MAX_DOCUMENT_CHARS:
        raise DocumentError([f"{source}: over {MAX_DOCUMENT_CHARS} characters"])
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DocumentError([_syntax_error(text, source, str(error))]) from error
    except RecursionError as error:
        raise DocumentError([f"{source}: nested too deeply"]) from error
    return Document(table, key_lines(text), source)


def _syntax_error(text: str, source: str, said: str) -> str:
    match = _ERROR_LINE.search(said)
    line = int(match[1]) if match and match[1] else text.count("\n") + 1
    return f"{source}:{line}: not valid TOML: {_ERROR_LINE.sub('', said)}"


class Fields:
    """One table being read. All tables of a document share one list of problems."""

    def __init__(
        self, table: Mapping[str, Any], problems: list[Problem], path: KeyPath = ()
    ) -> None:
        self.path = path
        self._table = table
        self._problems = problems
        self._known: dict[str, None] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._table

    @property
    def problem_count(self) -> int:
        """Problems of the document so far."""
        return len(self._problems)

    def may_have(self, keys: Collection[str]) -> None:
        """Valid keys, in the order in which an error lists them."""
        self._known.update(dict.fromkeys(keys))

    def take(self, key: str, reader: Reader[T], default: T) -> T:
        """The value of `key`, or `default` when it is absent or wrong."""
        self._known[key] = None
        if key not in self._table:
            return default
        try:
            return reader(self._table[key])
        except ValueError as error:
            value = "" if isinstance(error, Unshown) else f" = {shown(self._table[key])}"
            self.blame(f"{self.name(key)}{value}: {error}", key)
            return default

    def need(self, key: str, reader: Reader[T], instead: T) -> T:
        """As `take`, for a required key; with `instead` reading continues without it."""
        if key not in self._table:
            where = f" in {self._title()}" if self.path else ""
            self.blame(f"{key} is missing{where}", key)
        return self.take(key, reader, instead)

    def table(self, key: str) -> "Fields":
        """The table `key`; an empty one when it is absent or no table."""
        empty: Mapping[str, Any] = {}
        value = self.take(key, _is_table, empty)
        return Fields(value, self._problems, (*self.path, key))

    def tables(self, key: str) -> list["Fields"]:
        """The elements of the array of tables `[[key]]`."""
        none: list[Mapping[str, Any]] = []
        items = self.take(key, _are_tables, none)
        return [
            Fields(item, self._problems, (*self.path, key, at)) for at, item in enumerate(items)
        ]

    def end(
        self, elsewhere: Mapping[str, str] | None = None, written: Mapping[str, str] | None = None
    ) -> None:
        """Report keys that were not taken.

        `elsewhere`: key → the table it belongs to. `written`: other names of keys → their valid
        spelling.
        """
        for key in self._table:
            if key not in self._known:
                right = (written or {}).get(key)
                advice = f"; write {right}" if right else self._advice(key, elsewhere or {})
                self.blame(f"unknown key {self.name(key)}{advice}", key)

    def blame(self, text: str, *keys: str | int) -> None:
        """Add a problem at `keys` below this table."""
        self._problems.append(Problem((*self.path, *keys), text))

    def name(self, key: str) -> str:
        """`key` with its tables, for display."""
        return ".".join([*(str(part) for part in self.path if isinstance(part, str)), key])

    def _title(self) -> str:
        names = ".".join(str(part) for part in self.path if isinstance(part, str))
        return f"[[{names}]]" if isinstance(self.path[-1], int) else f"[{names}]"

    def _advice(self, key: str, elsewhere: Mapping[str, str]) -> str:
        if key in elsewhere:
            return f"; it belongs to {elsewhere[key]}"
        near = nearest(key, self._known)
        if near:
            return f"; the nearest is {near}"
        near = nearest(key, elsewhere)
        if near:
            return f"; the nearest is {near} of {elsewhere[near]}"
        return f"; keys here are {', '.join(self._known)}"


def nearest(word: str, words: Iterable[str]) -> str:
    """The word most similar to `word`; "" when none is, or if it is too long for a typo.

    Users choose both. A comparison takes up to 0.3 ms at `MAX_COMPARED_CHARS`: of many words, only
    those with the longest common prefix and suffix are compared.
    """
    word = word.casefold()
    if len(word) > MAX_COMPARED_CHARS:
        return ""
    short = [one for one in words if len(one) <= MAX_COMPARED_CHARS]
    if len(short) > MAX_COMPARED:
        short = nlargest(MAX_COMPARED, short, key=partial(_affix_chars, word))
    found = get_close_matches(word, short, n=1)
    return found[0] if found else ""


def _affix_chars(word: str, other: str) -> int:
    """Length of the common prefix and of the common suffix."""
    return _prefix_chars(word, other) + _prefix_chars(word[::-1], other[::-1])


def _prefix_chars(word: str, other: str) -> int:
    pairs = enumerate(zip(word, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(word), len(other)))


def shown(value: object) -> str:
    """A value in a problem's text: short, on one line."""
    text = visible_line(_plain(value).replace("\n", "\\n"))
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[: MAX_SHOWN_CHARS - 1]}…"


def _plain(value: object) -> str:
    """As in a TOML file, on one line."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return f'"{value}"'
        case list() | tuple():
            return f"[{', '.join(map(_plain, value))}]"
        case Mapping():
            pairs = ", ".join(f"{key} = {_plain(one)}" for key, one in value.items())
            return f"{{ {pairs} }}" if pairs else "{}"
        case _:
            return str(value)


# --- Readers ----------------------------------------------------------------------------


def text(value: object) -> str:
    """Any string without control characters that would corrupt a log or a command line."""
    if not isinstance(value, str):
        raise ValueError("expected text in quotes")
    control = next((found[0] for found in CONTROL.finditer(value) if found[0] not in "\n\t"), "")
    if control:
        raise ValueError(
            f"expected text without control characters; it contains U+{ord(control):04X}"
        )
    return value


def flag(value: object) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise ValueError("expected true or false, without quotes")
    return value


def whole(least: int, most: int) -> Reader[int]:
    """A whole number in a range."""

    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError(f"expected a whole number from {least} to {most}")
        return value

    return read


def number(least: float, most: float) -> Reader[float]:
    """A number in a range."""

    def read(value: object) -> float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not least <= float(str(value)) <= most:
            raise ValueError(f"expected a number from {least:g} to {most:g}")
        return float(str(value))

    return read


def choice(*words: str) -> Reader[str]:
    """One of some words."""

    def read(value: object) -> str:
        if value not in words:
            near = nearest(value, words) if isinstance(value, str) else ""
            hint = f'; did you mean "{near}"?' if near else ""
            raise ValueError(f"expected one of {', '.join(words)}{hint}")
        return str(value)

    return read


def quantity(parse: Callable[[str], T]) -> Reader[T]:
    """A quantity with its unit, as text. See `quantities`."""

    def read(value: object) -> T:
        return parse(value if isinstance(value, str) else "")

    return read


def or_word(word: str, reader: Reader[T]) -> Reader[T | str]:
    """The same reader, or a word."""

    def read(value: object) -> T | str:
        if value == word:
            return word
        try:
            return reader(value)
        except ValueError as error:
            raise ValueError(f'{error}; or "{word}"') from None

    return read


def above_zero(reader: Reader[T]) -> Reader[T]:
    """The same reader for a value that may not be 0: for that the key is omitted."""

    def read(value: object) -> T:
        got = reader(value)
        if not got:
            raise ValueError("must be above 0; omit it for none")
        return got

    return read


def texts(most: int) -> Reader[tuple[str, ...]]:
    """A list of strings; one string counts as a list of one."""

    def read(value: object) -> tuple[str, ...]:
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list | tuple) or not items or len(items) > most:
            raise ValueError(f"expected a list of 1 to {most} texts in quotes")
        return tuple(text(item) for item in items)

    return read


def _is_table(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError("expected a table")
    return value


def _are_tables(value: object) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise ValueError("expected tables; write [[name]] above each")
    return value
