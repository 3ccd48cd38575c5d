"""Conditions that select rows: `state=pending and (reason~watts or gpus>4)`.

Parsed with explicit stacks to a program in postfix order, so that no nesting is deep enough to harm
its reader; evaluated once a row, in time linear in the length of its texts.
"""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic

from wattline_protocol.lists.column import Column, Row
from wattline_protocol.lists.glob import Glob, escaped, parse_glob
from wattline_protocol.lists.kinds import NONE, Reading, Value
from wattline_protocol.lists.tokens import Token, quoted, tokens
from wattline_protocol.wire.bounds import CONTROL

MAX_CHARS = 1_024
MAX_TERMS = 32

_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
OPERATORS = ("=", "!=", *_ORDERS, "~")
_MEANT = {
    "==": "=",
    "=~": "~",
    "~=": "~",
    "~~": "~",
    "<>": "!=",
    "=!": "!=",
    "=<": "<=",
    "=>": ">=",
    "!~": "~, with `not` before the column",
    "&": "and",
    "&&": "and",
    "|": "or",
    "||": "or",
    "!": "not",
}
_BINDING = {"or": 1, "and": 2, "not": 3}
_ATOM = 4

Find = Callable[[str], Column[Row]]
Test = Callable[[Value], bool]


@dataclass(frozen=True)
class Term(Generic[Row]):
    """One comparison."""

    column: Column[Row]
    operator: str
    literal: str
    """The value as a glob or a literal that means the same at any time and place."""
    test: Test

    @property
    def text(self) -> str:
        """As it is written."""
        return f"{self.column.name}{self.operator}{quoted(self.literal)}"


@dataclass(frozen=True)
class Where(Generic[Row]):
    """A condition, in postfix order."""

    steps: tuple[Term[Row] | str, ...]

    def matches(self, row: Row) -> bool:
        """Whether the row is selected."""
        found: list[bool] = []
        for step in self.steps:
            if isinstance(step, Term):
                found.append(step.test(step.column.value(row)))
            elif step == "not":
                found[-1] = not found[-1]
            else:
                last = found.pop()
                found[-1] = (found[-1] and last) if step == "and" else (found[-1] or last)
        return found[0]

    @property
    def terms(self) -> tuple[Term[Row], ...]:
        """Its comparisons."""
        return tuple(step for step in self.steps if isinstance(step, Term))

    @property
    def text(self) -> str:
        """Text that is parsed to the same condition at any time and in any zone."""
        written: list[tuple[str, int]] = []
        for step in self.steps:
            if isinstance(step, Term):
                written.append((step.text, _ATOM))
            elif step == "not":
                written.append((f"not {_inside(written.pop(), _BINDING[step])}", _BINDING[step]))
            else:
                last, first = written.pop(), written.pop()
                own = _BINDING[step]
                both = f"{_inside(first, own)} {step} {_inside(last, own + 1)}"
                written.append((both, own))
        return written[0][0]


def _inside(written: tuple[str, int], binding: int) -> str:
    text, own = written
    return text if own >= binding else f"({text})"


def parse_where(text: str, find: Find[Row], reading: Reading) -> Where[Row]:
    """Raises ValueError with what is wrong and what would be right. `find` raises it for a name
    that is no column."""
    if len(text) > MAX_CHARS:
        raise ValueError(f"{len(text):,} characters; the maximum is {MAX_CHARS:,}")
    parser = _Parser(list(tokens(text)), find, reading)
    where = Where(parser.steps())
    if len(where.text) > MAX_CHARS:
        raise ValueError(f"more than {MAX_CHARS:,} characters once its times are written in full")
    if CONTROL.search(where.text):
        raise ValueError("a value has a control character, or one that changes the direction")
    return where


class _Parser(Generic[Row]):
    """Shunting-yard: steps that are complete, and words that wait for what follows them."""

    def __init__(self, words: Sequence[Token], find: Find[Row], reading: Reading) -> None:
        self._words = words
        self._find = find
        self._reading = reading
        self._done: list[Term[Row] | str] = []
        self._waiting: list[str] = []
        self._terms = 0

    def steps(self) -> tuple[Term[Row] | str, ...]:
        """All steps."""
        at, is_term_due = 0, True
        while at < len(self._words):
            word = self._words[at]
            if not is_term_due:
                is_term_due = self._after_term(word)
            elif word.kind == "(" or word.keyword == "not":
                self._waiting.append(word.keyword or "(")
            else:
                self._done.append(self._term(self._words[at : at + 3]))
                at, is_term_due = at + 2, False
            at += 1
        if is_term_due:
            raise ValueError("a condition such as state=pending is missing at the end")
        self._flush(0)
        if self._waiting:
            raise ValueError("a parenthesis is not closed")
        return tuple(self._done)

    def _after_term(self, word: Token) -> bool:
        """Whether a term is due after `word`."""
        if word.keyword in ("and", "or"):
            self._flush(_BINDING[word.keyword])
            self._waiting.append(word.keyword)
            return True
        if word.kind == "operator":
            raise _no_operator(word)
        if word.kind != ")":
            hint = "; a value with spaces stands in quotes" if word.kind == "word" else ""
            raise ValueError(f"expected `and` or `or` before {word.text!r}{hint}")
        self._flush(0)
        if not self._waiting:
            raise ValueError("a parenthesis is closed that was not opened")
        self._waiting.pop()
        return False

    def _flush(self, binding: int) -> None:
        """Complete what binds as tightly or more, up to the last parenthesis."""
        while (
            self._waiting and self._waiting[-1] != "(" and (_BINDING[self._waiting[-1]] >= binding)
        ):
            self._done.append(self._waiting.pop())

    def _term(self, words: Sequence[Token]) -> Term[Row]:
        name = words[0]
        if name.kind == "operator" and name.text == "!":
            raise _no_operator(name)
        if name.kind != "word" or name.keyword:
            raise ValueError(f"expected a column before {name.text!r}")
        column = self._find(name.text)
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise ValueError(f"more than {MAX_TERMS} conditions")
        if len(words) < 2 or words[1].kind != "operator":
            raise ValueError(f"expected an operator after {name.text} ({' '.join(OPERATORS)})")
        if words[1].text not in OPERATORS:
            raise _no_operator(words[1])
        written = f"{name.text}{words[1].text}"
        if len(words) < 3 or words[2].kind not in ("word", "quoted"):
            raise ValueError(f"expected a value after {written}; an empty one is ''")
        if words[2].keyword:
            word = words[2].text
            raise ValueError(f"expected a value after {written}; for the text write '{word}'")
        return _compared(column, words[1].text, words[2].text, self._reading)


def _no_operator(token: Token) -> ValueError:
    meant = _MEANT.get(token.text)
    hint = f"the nearest is {meant}" if meant else f"expected one of {' '.join(OPERATORS)}"
    return ValueError(f"no operator {token.text!r}; {hint}")


def _compared(column: Column[Row], sign: str, text: str, reading: Reading) -> Term[Row]:
    kind, glob = column.kind, parse_glob(text) if column.kind.is_text else Glob((text,))
    if sign == "~":
        if not kind.is_text:
            raise ValueError(f"{column.name} is no text: use = != < <= > >=")
        return Term(column, sign, text, _any_text(_contains(glob)))
    if sign in _ORDERS and kind.rank is None:
        raise ValueError(f"{column.name} has no order: use =, != or ~")
    if not glob.is_literal:
        if sign in _ORDERS:
            raise ValueError(f"{column.name}{sign}{text}: a value with * takes = or !=")
        return Term(column, sign, text, _signed(sign, _any_text(glob.matches)))
    if not kind.is_text and text.casefold() == NONE and sign not in _ORDERS:
        return Term(column, sign, NONE, _signed(sign, lambda value: value is None))
    try:
        value, literal = kind.read(glob.parts[0], reading)
    except ValueError as error:
        raise ValueError(f"{column.name}{sign}{text}: {error}") from error
    if kind.is_text:
        literal = escaped(literal)
    if sign in _ORDERS:
        return Term(column, sign, literal, _ordered(column, _ORDERS[sign], value))
    return Term(column, sign, literal, _signed(sign, _equal(value)))


def _signed(sign: str, test: Test) -> Test:
    return test if sign == "=" else lambda value: not test(value)


def _equal(wanted: Value) -> Test:
    return lambda value: (
        wanted in value if isinstance(value, tuple) else value is not None and value == wanted
    )


def _ordered(column: Column[Any], holds: Callable[[Any, Any], bool], wanted: Value) -> Test:
    limit = column.rank(wanted)
    return lambda value: value is not None and holds(column.rank(value), limit)


def _contains(glob: Glob) -> Callable[[str], bool]:
    wanted = glob.anywhere
    return lambda text: wanted.matches(text.casefold())


def _any_text(matches: Callable[[str], bool]) -> Test:
    """A text, or one of several."""
    return lambda value: (
        any(map(matches, value))
        if isinstance(value, tuple)
        else value is not None and matches(str(value))
    )
