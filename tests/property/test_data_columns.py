"""Summaries of columns do not depend on batches or order; the stability index is a distance."""

from collections.abc import Sequence
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import example, given
from hypothesis import strategies as st

from wattline_runtime.data.columns import number_bins, value_counts
from wattline_runtime.data.columns.check import check
from wattline_runtime.data.columns.number_bins import MAX_BINS, NumberBins, bins_of
from wattline_runtime.data.columns.readers.texts import column_of_texts
from wattline_runtime.data.columns.rules import Rules
from wattline_runtime.data.columns.stability import stability
from wattline_runtime.data.columns.summary import (
    Column,
    Summary,
    Table,
    added,
    categories,
    numbers,
    with_rows,
)
from wattline_runtime.data.columns.summary_file import decode_summary, encode_summary
from wattline_runtime.data.columns.value_counts import MAX_VALUES, counts_of

finite = st.floats(allow_nan=False, allow_infinity=False)
cells = st.one_of(
    st.integers().map(str),
    st.floats().map(repr),
    st.sampled_from(["true", "False", "2026-01-31", "042", "é", "x" * 100]),
    st.text(max_size=8),
)
seeds = st.integers(0, 2**32 - 1)


def sample(seed: int, count: int, shift: float = 0.0) -> Column:
    return numbers("float", np.random.default_rng(seed).normal(shift, 1.0, count))


def in_batches(values: Sequence[Any], cuts: Sequence[int]) -> list[Sequence[Any]]:
    ends = sorted({0, len(values), *(cut % (len(values) + 1) for cut in cuts)})
    return [values[a:b] for a, b in pairwise(ends)]


def summarized(batches: Sequence[Sequence[str]]) -> bytes:
    table = Table()
    for batch in batches:
        column = column_of_texts(pa.array(batch, pa.string()))
        table = with_rows(table, len(batch), [("x", column)])
    return encode_summary(Summary({"t": table}))


@given(st.lists(cells, min_size=1), st.lists(st.integers(0)), st.randoms())
def test_any_split_and_any_order_give_the_same_summary(
    values: list[str], cuts: list[int], order: Any
) -> None:
    whole = summarized([values])
    shuffled = list(values)
    order.shuffle(shuffled)
    assert summarized(in_batches(shuffled, cuts)) == whole
    assert encode_summary(decode_summary(whole)) == whole


@given(seeds, st.integers(1, 6), st.sampled_from([1.0, 1e-3, 1e9, 1e300]))
def test_many_numbers_stay_within_the_bound_whatever_the_split(
    seed: int, parts: int, size: float
) -> None:
    values = np.random.default_rng(seed).normal(0, size, 3 * MAX_BINS)
    whole = bins_of(values)
    split = reduce(number_bins.merged, map(bins_of, np.array_split(values[::-1], parts)))
    assert equal(whole, split)
    assert MAX_BINS / 4 < len(whole.keys) <= MAX_BINS
    assert whole.total == len(values)
    middle = whole.quantile(0.5)
    assert abs(float((values <= middle).mean()) - 0.5) < 0.02


def equal(a: NumberBins, b: NumberBins) -> bool:
    return (
        a.shift == b.shift and np.array_equal(a.keys, b.keys) and np.array_equal(a.counts, b.counts)
    )


@given(st.lists(finite, min_size=1, unique=True), finite, finite)
def test_few_numbers_are_exact(values: list[float], one: float, other: float) -> None:
    low, high = sorted((one, other))
    bins = bins_of(np.array(values))
    assert bins.outside(low, high) == sum(not low <= value <= high for value in values)
    assert bins.quantile(1.0) == max(values)


@given(st.dictionaries(st.text(max_size=80), st.integers(1, 9), max_size=3 * MAX_VALUES), seeds)
def test_many_values_stay_within_the_bound_whatever_the_split(
    counts: dict[str, int], seed: int
) -> None:
    pieces: list[dict[str, int]] = [{}, {}, {}]
    for value, count in counts.items():
        pieces[(seed + len(value)) % 3][value] = count
    whole, split = counts_of(counts), reduce(value_counts.merged, map(counts_of, pieces))
    assert (dict(whole.values), dict(whole.buckets)) == (dict(split.values), dict(split.buckets))
    assert len(whole.values) <= MAX_VALUES
    assert whole.total == sum(counts.values())


@given(cells)
@example(str(2**53 + 1))
def test_numbers_as_text_are_those_of_python(text: str) -> None:
    column = column_of_texts(pa.array([text], pa.string()))
    is_code = text.lstrip("+-").startswith("0") and text.lstrip("+-0")[:1].isdigit()
    try:
        number = float("" if is_code or "_" in text else text)
    except ValueError:
        assert column.low is None
    else:
        is_finite = np.isfinite(number)
        assert column.low == (number if is_finite else None)
        assert column.type != "integer" or number == float(int(text))


columns = st.one_of(
    st.builds(sample, seeds, st.integers(1, 3_000), st.floats(-3, 3)),
    st.builds(
        lambda counts: categories("text", counts),
        st.dictionaries(st.text(max_size=3), st.integers(1, 99), min_size=1, max_size=40),
    ),
    st.builds(
        lambda a, seed: added(categories("text", {"n/k": a}), sample(seed, 100)),
        st.integers(1, 99),
        seeds,
    ),
)


@given(columns, columns)
def test_the_index_is_symmetric_and_zero_of_equal_samples(a: Column, b: Column) -> None:
    there, back, same = stability(a, b), stability(b, a), stability(a, a)
    assert there is not None
    assert back is not None
    assert same is not None
    assert np.isclose(there.psi, back.psi)
    assert there.psi >= 0
    assert same.psi == 0
    twice = stability(a, added(a, a))
    assert twice is not None
    assert twice.psi == 0


@given(seeds)
def test_the_index_grows_with_a_shift(seed: int) -> None:
    old = sample(seed, 2_000)
    found = [stability(old, sample(seed + 1, 2_000, shift)) for shift in (0, 0.5, 1, 2, 4)]
    indices = [one.psi for one in found if one is not None]
    assert len(indices) == 5
    assert indices == sorted(indices)
    assert indices[0] < 0.1
    assert indices[1] > 0.1
    assert indices[2] > 0.25


@given(seeds, st.integers(5, 2_000), st.integers(5, 2_000))
def test_samples_of_one_distribution_pass(seed: int, old: int, new: int) -> None:
    """Also where they are small: the default limits allow for chance."""
    sides = [with_rows(Table(), n, [("x", sample(seed + n, n))]) for n in (old, new)]
    first, second = (Summary({"t": side}) for side in sides)
    assert check(first, second, Rules(rows=(0, 1e9))).ok
