"""Distributions of numbers: counts in bins, bounded, the same whatever the order of the values.

The bin of a value is the highest bits of its double, ordered as the numbers are. All bits count
until there are more than `MAX_BINS` bins; then the lowest bits are dropped, as few as will do. How
many that are follows from the set of values alone, so merging is associative and commutative. Bins
of a fixed width would have to know the range first, and a sketch of quantiles such as t-digest
depends on the order.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MAX_BINS = 1_024
MAX_SHIFT = 63
_LOW_BITS = np.int64(0x7FFF_FFFF_FFFF_FFFF)


@dataclass(frozen=True, slots=True)
class NumberBins:
    """`counts[i]` values whose key without its lowest `shift` bits is `keys[i]`, ascending."""

    shift: int
    keys: Ints
    counts: Ints

    @property
    def total(self) -> int:
        """How many values."""
        return int(self.counts.sum())

    def coarsened(self, shift: int) -> "NumberBins":
        """The same counts with at least `shift` bits dropped."""
        if shift <= self.shift:
            return self
        return _grouped(shift, self.keys >> (shift - self.shift), self.counts)

    def outside(self, low: float, high: float) -> int:
        """Values in bins below that of `low` or above that of `high`."""
        least, most = _keys(np.array([low, high])) >> self.shift
        return int(self.counts[(self.keys < least) | (self.keys > most)].sum())

    def quantile(self, share: float) -> float:
        """The middle of the bin in which the `share` smallest values end; 0 without values."""
        if not len(self.keys):
            return 0.0
        at = int(np.searchsorted(np.cumsum(self.counts), share * self.total))
        key = int(self.keys[min(at, len(self.keys) - 1)])
        ends = np.array([key << self.shift, ((key + 1) << self.shift) - 1], np.int64)
        first, last = _values(ends)
        return float(first / 2 + last / 2)


NO_NUMBERS = NumberBins(0, np.empty(0, np.int64), np.empty(0, np.int64))


def bins_of(numbers: Floats, counts: Ints | None = None) -> NumberBins:
    """The bins of finite numbers, each counted once or as often as `counts` has it."""
    counts = np.ones(len(numbers), np.int64) if counts is None else counts
    return _bounded(_grouped(0, _keys(numbers), counts))


def merged(a: NumberBins, b: NumberBins) -> NumberBins:
    """Both together."""
    shift = max(a.shift, b.shift)
    a, b = a.coarsened(shift), b.coarsened(shift)
    keys, counts = np.concatenate((a.keys, b.keys)), np.concatenate((a.counts, b.counts))
    return _bounded(_grouped(shift, keys, counts))


def _keys(numbers: Floats) -> Ints:
    """Integers in the order of the numbers: the bits of a double, those of negative ones turned."""
    bits = (numbers + 0.0).view(np.int64)  # + 0.0 makes one zero of both
    return bits ^ ((bits >> 63) & _LOW_BITS)


def _values(keys: Ints) -> Floats:
    return (keys ^ ((keys >> 63) & _LOW_BITS)).view(np.float64)


def _grouped(shift: int, keys: Ints, counts: Ints) -> NumberBins:
    """Sorted, equal keys added up."""
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    if not len(keys):
        return NumberBins(shift, keys, counts)
    starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    return NumberBins(shift, keys[starts], np.add.reduceat(counts, starts))


def _bounded(bins: NumberBins) -> NumberBins:
    """With as few bits dropped as leave `MAX_BINS` bins.

    Two neighbours stay apart while the highest bit in which they differ is kept, so the
    `MAX_BINS`-th largest of those bits is the first that has to go.
    """
    if len(bins.keys) <= MAX_BINS:
        return bins
    apart = _bit_lengths((bins.keys[1:] ^ bins.keys[:-1]).view(np.uint64))
    drop = int(np.partition(apart, -MAX_BINS)[-MAX_BINS])
    return bins.coarsened(min(MAX_SHIFT, bins.shift + drop))


def _bit_lengths(values: NDArray[np.uint64]) -> Ints:
    """In two halves, since a double holds 53 bits without rounding."""
    high, low = values >> np.uint64(32), values & np.uint64(0xFFFF_FFFF)
    of_high, of_low = (np.frexp(half.astype(float))[1] for half in (high, low))
    return np.asarray(np.where(high > 0, of_high + 32, of_low), np.int64)
