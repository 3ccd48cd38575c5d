"""Conditions of lists: what is written is read back, and means what Python's own logic says."""

import re
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattline_protocol.lists import kinds
from wattline_protocol.lists.column import Column
from wattline_protocol.lists.glob import escaped, parse_glob
from wattline_protocol.lists.kinds import Reading
from wattline_protocol.lists.table import Table, ordered
from wattline_protocol.lists.tokens import quoted
from wattline_protocol.lists.where import MAX_CHARS


@dataclass(frozen=True)
class Thing:
    number: int | None
    text: str


TABLE = Table(
    (
        Column[Thing]("number", kinds.NUMBER, lambda thing: thing.number),
        Column[Thing]("text", kinds.TEXT, lambda thing: thing.text),
    ),
    "Nothing.",
)
READING = Reading(1_780_000_000.0)
SIGNS = {"=": "==", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
NUMBERS = st.integers(-3, 3)
TEXTS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Zl", "Zp"]), max_size=6
)
THINGS = st.builds(Thing, NUMBERS | st.none(), TEXTS)

TERMS = st.builds(
    lambda sign, value: (f"number{sign}{value}", f"({_python(sign, value)})"),
    st.sampled_from(sorted(SIGNS)),
    NUMBERS,
)


def _python(sign: str, value: int) -> str:
    if sign in ("=", "!="):
        return f"n {SIGNS[sign]} {value}"
    return f"n is not None and n {SIGNS[sign]} {value}"


LOGIC = st.recursive(
    TERMS,
    lambda inner: st.one_of(
        st.builds(lambda one: (f"not {_held(one[0])}", f"(not {one[1]})"), inner),
        st.builds(
            lambda a, word, b: (f"({a[0]}) {word} ({b[0]})", f"({a[1]} {word} {b[1]})"),
            inner,
            st.sampled_from(["and", "or"]),
            inner,
        ),
        st.builds(
            lambda a, b, c: (
                f"({a[0]}) or ({b[0]}) and not ({c[0]})",
                f"({a[1]} or {b[1]} and not {c[1]})",
            ),
            inner,
            inner,
            inner,
        ),
    ),
    max_leaves=8,
)


def _held(text: str) -> str:
    return f"({text})"


@given(logic=LOGIC, thing=THINGS)
def test_logic_is_that_of_python(logic: tuple[str, str], thing: Thing) -> None:
    text, python = logic
    where = TABLE.where(text, READING)
    wanted = eval(python, {"n": thing.number})
    assert where.matches(thing) == wanted
    again = TABLE.where(where.text, READING)
    assert (again.text, again.matches(thing)) == (where.text, wanted)


@given(text=TEXTS, thing=THINGS)
def test_any_text_can_be_written_as_a_value(text: str, thing: Thing) -> None:
    where = TABLE.where(f"text={quoted(escaped(text))}", READING)
    assert where.matches(Thing(None, text))
    assert where.matches(thing) == (thing.text == text)
    assert TABLE.where(where.text, READING).text == where.text


@given(pattern=st.text("ab*", max_size=12), text=st.text("ab", max_size=20))
def test_a_glob_matches_what_others_match(pattern: str, text: str) -> None:
    assert parse_glob(pattern).matches(text) == fnmatchcase(text, pattern)
    contained = re.search(re.escape(pattern).replace(r"\*", ".*"), text)
    assert parse_glob(pattern).anywhere.matches(text) == (contained is not None)


WORDS = [*"()=<~'\"* a1", "!=", "and ", "not ", "number", "text"]


@given(words=st.lists(st.sampled_from(WORDS)))
def test_any_text_is_read_or_refused(words: list[str]) -> None:
    with suppress(ValueError):
        where = TABLE.where("".join(words), READING)
        assert TABLE.where(where.text, READING).text == where.text


@given(rows=st.lists(THINGS, max_size=8), is_reversed=st.booleans())
def test_order_is_stable_with_the_unknown_last(rows: list[Thing], is_reversed: bool) -> None:
    found = ordered(rows, TABLE.order("-number" if is_reversed else "number"))
    known = [thing.number for thing in found if thing.number is not None]
    assert known == sorted(known, reverse=is_reversed)
    assert all(thing.number is None for thing in found[len(known) :])
    for number in {thing.number for thing in rows}:
        same = [id(thing) for thing in rows if thing.number == number]
        assert [id(thing) for thing in found if thing.number == number] == same


@pytest.mark.parametrize("piece", ["(", "not ", "((number=1) and ", "'"])
def test_nesting_has_no_depth_that_harms(piece: str) -> None:
    text = (piece * MAX_CHARS)[:MAX_CHARS]
    with pytest.raises(ValueError, match=r".+"):
        TABLE.where(text, READING)
    deep = (MAX_CHARS - 20) // 2
    assert TABLE.where("(" * deep + "number=1" + ")" * deep, READING).matches(Thing(1, ""))
