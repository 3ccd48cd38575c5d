"""Whether two outputs of a service are equal, as JSON, but for small differences of numbers."""

from math import isclose
from typing import Any

import msgspec

MAX_COMPARED_BYTES = 64 * 1024
"""Larger answers are compared byte by byte: decoding them would hold up a gateway's requests."""


def alike(one: bytes, other: bytes, tolerance: float) -> bool:
    """Whether two JSON texts are equal, but for numbers within the relative tolerance."""
    if one == other:
        return True
    if max(len(one), len(other)) > MAX_COMPARED_BYTES:
        return False
    try:
        return _alike(msgspec.json.decode(one), msgspec.json.decode(other), tolerance)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError):
        return False  # the last one: integers beyond what a float holds


def _alike(one: Any, other: Any, tolerance: float) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other or isclose(one, other, rel_tol=tolerance, abs_tol=tolerance)
    if isinstance(one, dict) and isinstance(other, dict):
        same = one.keys() == other.keys()
        return same and all(_alike(value, other[key], tolerance) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        pairs = zip(one, other, strict=False)
        return len(one) == len(other) and all(_alike(a, b, tolerance) for a, b in pairs)
    return bool(one == other)
