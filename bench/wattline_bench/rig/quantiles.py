"""Quantiles of samples: the nearest rank above, so that none is too small."""

from collections.abc import Sequence

import msgspec


class Quantiles(msgspec.Struct, frozen=True):
    """The median and the 99th percentile, in the unit of the samples."""

    p50: float
    p99: float


def quantiles(samples: Sequence[float]) -> Quantiles:
    """Raises RuntimeError if there are no samples."""
    if not samples:
        raise RuntimeError("nothing was measured")
    ordered = sorted(samples)
    return Quantiles(ordered[int(len(ordered) * 0.5)], ordered[int(len(ordered) * 0.99)])
