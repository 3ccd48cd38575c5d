"""Reader of `re:` patterns: the part of Python's syntax that RE2 reads alike.

A pattern is parsed here, never compiled or run: a backtracking engine can be kept busy for hours by
200 characters, and the scheduler reads those of every submission. RE2 matches in linear time, of
the size of the program times that of the text, so that size is bounded as well.
"""

import re
import warnings
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

PATTERN = "re:"
MAX_PATTERN_CHARS = 200
MAX_STATES = 2_000
"""Of all patterns of a service: a text of 64 KiB then takes a second at worst."""

_parser: Any = import_module("re._parser")
"""Python's own parser; a private module since 3.11, as is its predecessor `sre_parse`."""

_NOT_LINEAR = re.compile(r"\(\?(?:[=!>(]|<[=!]|P=)|\\[1-9gG]|[*+?}]\+")
"""Look-around, conditions, references to groups, atomic groups, possessive quantifiers: engines
that match in linear time have none of them. An escaped `\\\\1` matches too, which is refused for
simplicity."""

_NOT_ALIKE = re.compile(r"(\(\?#|\(\?[a-z-]*[aLux]|\\[ZuUN0]|\\[^\x00-\x7f]|\{,)|\\.", re.DOTALL)
"""Comments, flags, escapes, and repeats without a minimum that RE2 refuses or reads otherwise; or
another escape, whose character begins none of them."""

_CLASS = re.compile(r"\\.|\[\^?\]?((?:\\.|[^\]\\])*)\]", re.DOTALL)
"""An escape outside of classes, or what is in a class."""
_BACKSPACE = re.compile(r"(?:\\[^b]|[^\\])*\\b", re.DOTALL)
"""An escape that Python reads as a backspace, in what is in a class."""
_POSIX_CLASS = re.compile(r"(?:\\.|[^\\])*?\[:", re.DOTALL)
"""What may begin a POSIX class, in what is in a class: Python reads two characters."""

MAX_REPEATS = 1_000
"""Of nested repeats by their product, as in RE2, also where the outer ones are none."""

_WIDE_STATES = 10
"""Of a character that may be one to four bytes of UTF-8."""
_ASCII = 128


def states(pattern: str) -> int:
    """Checks a pattern; about the number of states of its program. Raises ValueError."""
    if not 0 < len(pattern) <= MAX_PATTERN_CHARS:
        raise ValueError(f"a pattern has 1 to {MAX_PATTERN_CHARS} characters")
    whole = f"{PATTERN}{pattern}"
    if found := _NOT_LINEAR.search(pattern):
        text = f"{found.group()!r} cannot be matched in linear time"
        raise ValueError(f"{whole}: {text}; patterns are those of RE2")
    if unknown := next(filter(None, (one[1] for one in _NOT_ALIKE.finditer(pattern))), ""):
        raise ValueError(f"{whole}: RE2 does not know {unknown!r}")
    classes = [found[1] or "" for found in _CLASS.finditer(pattern)]
    if any(map(_BACKSPACE.match, classes)):
        raise ValueError(f"{whole}: RE2 does not know {chr(92)}b in a class; write {chr(92)}x08")
    if any(map(_POSIX_CLASS.match, classes)):
        text = r"classes such as [:alpha:] are not accepted; write [A-Za-z], or \[: for the text"
        raise ValueError(f"{whole}: {text}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of what later releases will read otherwise
            parsed = _parser.parse(pattern)
        shortest, _ = parsed.getwidth()
    except (re.error, OverflowError, RecursionError, Warning) as error:
        raise ValueError(f"{whole} is no pattern: {error}") from error
    if shortest == 0:
        raise ValueError(f"{whole} matches the empty text")
    if not _repeats_left(parsed, MAX_REPEATS):
        text = f"repeats more than {MAX_REPEATS:,} times; nested repeats are multiplied"
        raise ValueError(f"{whole} {text}")
    return _states(parsed)


def _repeats_left(parsed: Iterable[tuple[Any, Any]], left: int) -> int:
    """What is left of the allowed repeats in the deepest ones; RE2 divides in whole numbers."""
    return min((_left_in(str(kind), value, left) for kind, value in parsed), default=left)


def _left_in(kind: str, value: Any, left: int) -> int:
    if kind in ("MAX_REPEAT", "MIN_REPEAT"):
        least, most, parsed = value
        times = least if most == _parser.MAXREPEAT else most
        return _repeats_left(parsed, left // max(1, times))
    if kind == "SUBPATTERN":
        return _repeats_left(value[3], left)
    if kind == "BRANCH":
        return min(_repeats_left(one, left) for one in value[1])
    return left


def _states(parsed: Iterable[tuple[Any, Any]]) -> int:
    return sum(_STATES.get(str(kind), _none)(value) for kind, value in parsed)


def _none(_: Any) -> int:
    """Of a place in the text."""
    return 1


def _literal(code: int) -> int:
    return 1 if code < _ASCII else _WIDE_STATES


def _wide(_: Any) -> int:
    return _WIDE_STATES


def _class(items: Iterable[tuple[Any, Any]]) -> int:
    return sum(_ITEM_STATES.get(str(kind), _none)(value) for kind, value in items)


def _repeat(value: tuple[int, int, Any]) -> int:
    least, most, parsed = value
    is_open = most == _parser.MAXREPEAT
    return (max(least, 1) if is_open else most) * (_states(parsed) + 1)


_ITEM_STATES: dict[str, Callable[[Any], int]] = {
    "CATEGORY": lambda name: _WIDE_STATES if "NOT" in str(name) else 3,
    "LITERAL": _literal,
    "RANGE": lambda ends: _literal(ends[1]),
    "NEGATE": _wide,
}
_STATES: dict[str, Callable[[Any], int]] = {
    "LITERAL": _literal,
    "NOT_LITERAL": _wide,
    "ANY": _wide,
    "IN": _class,
    "BRANCH": lambda value: sum(_states(one) + 1 for one in value[1]),
    "SUBPATTERN": lambda value: _states(value[3]) + 2,
    "MAX_REPEAT": _repeat,
    "MIN_REPEAT": _repeat,
}
