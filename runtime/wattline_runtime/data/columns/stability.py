"""Population stability index: how far two distributions of a column are apart.

PSI = sum over bins of (p - q) * ln(p / q): Kullback-Leibler divergence in both directions. Its
limits, 0.1 and 0.25, are those of credit scoring (Siddiqi, Credit Risk Scorecards, 2006): below 0.1
no change worth a look, above 0.25 another population.
"""

from collections.abc import Callable, Mapping
from math import sqrt
from typing import NamedTuple, TypeVar

import numpy as np

from wattline_runtime.data.columns.number_bins import Floats, Ints, NumberBins
from wattline_runtime.data.columns.summary import Column
from wattline_runtime.data.columns.value_counts import ValueCounts, bucket_of

MODERATE = 0.1
SIGNIFICANT = 0.25
QUANTILES = 10
TOP_VALUES = 10
"""Values with a bin of their own, the most frequent; the others share as many by their hash."""
_Z = 4.0
"""Standard deviations to a chance of 3 in 100,000 that equal distributions exceed the limit."""


K = TypeVar("K", str, int)


class Stability(NamedTuple):
    """PSI, and what it may be by chance for as many rows."""

    psi: float
    by_chance: float


def stability(old: Column, new: Column) -> Stability | None:
    """None where one has no values to compare."""
    number_counts = number_pairs(old.numbers, new.numbers)
    value_pairs = category_pairs(old.values, new.values)
    counts = np.concatenate((number_counts, value_pairs), axis=1)
    counts = counts[:, counts.sum(axis=0) > 0]
    totals = counts.sum(axis=1)
    if not totals.all():
        return None
    return Stability(psi(counts), chance(totals, counts.shape[1]))


def psi(counts: Ints) -> float:
    """Of two rows of counts. An empty bin counts as half a value."""
    totals = counts.sum(axis=1, keepdims=True)
    p, q = np.where(counts > 0, counts, 0.5) / totals
    return float(((p - q) * np.log(p / q)).sum())


def chance(totals: Ints, bins: int) -> float:
    """What two samples of one distribution exceed with the chance of `_Z` standard deviations.

    PSI / (1/n + 1/m) is distributed as chi-squared with one degree of freedom less than bins
    (Yurdakul, Statistical Properties of Population Stability Index, 2018); its quantile by Wilson
    and Hilferty.
    """
    degrees = bins - 1
    if degrees == 0:
        return 0.0
    part = 2 / (9 * degrees)
    quantile = degrees * (1 - part + _Z * sqrt(part)) ** 3
    return float(quantile * (1 / totals).sum())


def number_pairs(old: NumberBins, new: NumberBins) -> Ints:
    """Counts of both between the deciles of both together, each weighing the same.

    Deciles of one of the two would make the index depend on which is which.
    """
    shift = max(old.shift, new.shift)
    old, new = old.coarsened(shift), new.coarsened(shift)
    keys = np.union1d(old.keys, new.keys)
    counts = np.zeros((2, len(keys)), np.int64)
    for row, bins in zip(counts, (old, new), strict=True):
        row[np.searchsorted(keys, bins.keys)] = bins.counts
    pooled = _pooled(counts)
    middles = np.cumsum(pooled) - pooled / 2
    return _summed(counts, np.minimum((middles * QUANTILES).astype(np.int64), QUANTILES - 1))


def category_pairs(old: ValueCounts, new: ValueCounts) -> Ints:
    """Counts of both by value: the most frequent ones by name, the others in groups."""
    if old.buckets or new.buckets:
        return _by_frequency(old.hashed().buckets, new.hashed().buckets, int)
    return _by_frequency(old.values, new.values, bucket_of)


def _by_frequency(old: Mapping[K, int], new: Mapping[K, int], group: Callable[[K], int]) -> Ints:
    keys = sorted(old.keys() | new.keys())
    counts = np.array([[one.get(key, 0) for key in keys] for one in (old, new)], np.int64)
    rank = np.argsort(np.argsort(-_pooled(counts), kind="stable"), kind="stable")
    groups = np.array([TOP_VALUES + group(key) % TOP_VALUES for key in keys], np.int64)
    return _summed(counts, np.where(rank < TOP_VALUES, rank, groups))


def _pooled(counts: Ints) -> Floats:
    """The mean of the shares of both; of one where the other has nothing."""
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    return np.asarray(shares.sum(axis=0) / max(1, np.count_nonzero(totals)), float)


def _summed(counts: Ints, groups: Ints) -> Ints:
    summed = np.zeros((2, int(groups.max()) + 1 if len(groups) else 0), np.int64)
    for row, one in zip(summed, counts, strict=True):
        np.add.at(row, groups, one)
    return summed
