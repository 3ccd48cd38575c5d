"""Compact text form of many whole numbers: `3-5,8`."""

from collections.abc import Iterable
from itertools import pairwise

END = -2
"""Sentinel: follows no valid number."""


def folded(numbers: Iterable[int]) -> str:
    """`3-5,8` for 3, 4, 5, 8, in the order given; empty for none."""
    ordered = tuple(numbers)
    first = ordered[0] if ordered else END
    spans: list[str] = []
    for before, number in pairwise((*ordered, END)):
        if number != before + 1:
            spans.append(f"{first}-{before}" if before > first else str(before))
            first = number
    return ",".join(spans)
