"""Random numbers by counting: a value depends on its key alone, never on who asked before.

`bits` is SplitMix64's finaliser (Steele, Lea & Flood, OOPSLA 2014) over key and counter. Two runs
that place the same jobs on different GPUs so still see the same jobs.
"""

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
Floats = NDArray[np.float64]
Indexes = NDArray[np.int64]
Flags = NDArray[np.bool_]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_TO_UNIT = 1.0 / (1 << 53)


def keys_of(seed: int, count: int) -> Keys:
    """`count` independent keys under one seed."""
    return bits(np.full(count, seed & (2**64 - 1), np.uint64), np.arange(count, dtype=np.uint64))


def bits(keys: Keys, counters: Keys) -> Keys:
    """64 random bits for each (key, counter)."""
    z = keys + (counters + np.uint64(1)) * _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    mixed: Keys = z ^ (z >> np.uint64(31))
    return mixed


def uniform(keys: Keys, counters: Keys) -> Floats:
    """A number in [0, 1) for each (key, counter)."""
    return np.asarray((bits(keys, counters) >> np.uint64(11)) * _TO_UNIT, np.float64)


def normal(keys: Keys, counters: Keys) -> Floats:
    """A standard normal for each (key, counter), by Box and Muller; |z| stays below 9."""
    first = uniform(keys, counters * np.uint64(2))
    second = uniform(keys, counters * np.uint64(2) + np.uint64(1))
    radius = np.sqrt(-2.0 * np.log1p(-first))
    z: Floats = radius * np.cos(2.0 * np.pi * second)
    return z
