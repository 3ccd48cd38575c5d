"""Kinds of values that a file has as text: numbers, booleans and times are found by their form."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np

from wattline_runtime.data.columns.summary import (
    Column,
    Kind,
    added,
    categories,
    numbers,
    opaque,
)

_WHOLE = r"[+-]?(?:0|[1-9]\d*)"
_FORMS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("integer", re.compile(_WHOLE, re.ASCII)),
    ("float", re.compile(rf"(?:{_WHOLE}(?:\.\d*)?|[+-]?\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)),
    ("infinite", re.compile(r"[+-]?inf(?:inity)?", re.IGNORECASE)),
    ("boolean", re.compile(r"true|false", re.IGNORECASE)),
)
_TIME = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?", re.ASCII
)
"""ISO 8601. Leading zeros make no number: 01234 is a code."""
_MAX_NUMBER_CHARS = 400
"""A double in full has fewer; a longer row of digits is a text."""


def column_of_texts(counts: Mapping[str, int]) -> Column:
    """Of a file without types, as CSV: each value by its form."""
    groups: defaultdict[Kind, dict[str, int]] = defaultdict(dict)
    for value, count in counts.items():
        stripped = value.strip()
        group = groups[_kind(stripped)]
        group[stripped] = group.get(stripped, 0) + count
    column = Column()
    for kind, values in groups.items():
        column = added(column, _column(kind, values))
    return column


def column_of_strings(counts: Mapping[str, int]) -> Column:
    """Of a file with types: times and texts."""
    times = sum(count for value, count in counts.items() if _TIME.fullmatch(value))
    texts = {value: count for value, count in counts.items() if not _TIME.fullmatch(value)}
    return added(opaque("time", times), categories("text", texts))


def _kind(value: str) -> Kind:
    if len(value) <= _MAX_NUMBER_CHARS:
        for kind, form in _FORMS:
            if form.fullmatch(value):
                return kind
        if _TIME.fullmatch(value):
            return "time"
    return "text"


def _column(kind: Kind, values: Mapping[str, int]) -> Column:
    match kind:
        case "integer" | "float" | "infinite":
            return weighted(kind, values.items())
        case "boolean":
            lowered: defaultdict[str, int] = defaultdict(int)
            for value, count in values.items():
                lowered[value.lower()] += count
            return categories("boolean", lowered)
        case "time":
            return opaque("time", sum(values.values()))
        case _:
            return categories("text", values)


def weighted(kind: Kind, pairs: Iterable[tuple[str | float, int]]) -> Column:
    """Numbers with how often each occurs."""
    values, counts = zip(*pairs, strict=True)
    return numbers(kind, np.array([float(v) for v in values]), np.array(counts, np.int64))
