"""Kinds of values that a file has as text: numbers, booleans and times are found by their form."""

import re
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from pyarrow import compute

from wattline_runtime.data.columns.number_bins import Ints
from wattline_runtime.data.columns.summary import (
    Column,
    Kind,
    added,
    categories,
    numbers,
    opaque,
)

_WHOLE = r"[+-]?(?:0|[1-9][0-9]*)"
_ISO_8601 = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)
_FORMS: tuple[tuple[Kind, str], ...] = (
    ("integer", _WHOLE),
    ("float", rf"(?:{_WHOLE}(?:\.[0-9]*)?|[+-]?\.[0-9]+)(?:[eE][+-]?[0-9]+)?"),
    ("float", r"(?i:[+-]?inf(?:inity)?)"),
    ("boolean", r"(?i:true|false)"),
    ("time", _ISO_8601),
    ("text", r"(?s:.*)"),
)
"""The first that a value has. Leading zeros make no number: 01234 is a code."""
_TIME = re.compile(_ISO_8601)


def column_of_texts(values: pa.Array) -> Column:
    """Of a file without types, as CSV: each value by its form."""
    found = values.drop_null().value_counts()
    # Only different values are looked at, by Arrow's compiled expressions: a file has millions.
    left = compute.utf8_trim_whitespace(found.field(0))
    counts = found.field(1).to_numpy()
    column = Column()
    for kind, form in _FORMS:
        if not len(left):
            break
        has_form = compute.match_substring_regex(left, rf"\A(?:{form})\z")
        is_one = has_form.to_numpy(zero_copy_only=False)
        if is_one.any():
            column = added(column, _column(kind, left.filter(has_form), counts[is_one]))
            left, counts = left.filter(compute.invert(has_form)), counts[~is_one]
    return column


def column_of_strings(counts: Mapping[str, int]) -> Column:
    """Of a file with types: times and texts."""
    times = sum(count for value, count in counts.items() if _TIME.fullmatch(value))
    texts = {value: count for value, count in counts.items() if not _TIME.fullmatch(value)}
    return added(opaque("time", times), categories("text", texts))


def _column(kind: Kind, values: pa.Array, counts: Ints) -> Column:
    if kind in ("integer", "float"):
        doubles = compute.cast(values, pa.float64()).to_numpy(zero_copy_only=False)
        return numbers(kind, doubles, counts)
    if kind == "time":
        return opaque(kind, int(counts.sum()))
    if kind == "boolean":
        values = compute.utf8_lower(values)
    named: Counter[str] = Counter()
    for value, count in zip(values.to_pylist(), np.asarray(counts).tolist(), strict=True):
        named[value] += count
    return categories(kind, named)
