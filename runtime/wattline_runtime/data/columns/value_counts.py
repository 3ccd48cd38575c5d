"""Distributions of categories: how often each value occurs, bounded, whatever the order.

Up to `MAX_VALUES` different values are counted by name; of more only the counts of hash buckets
stay. Which of the two follows from the set of values alone, so merging is associative.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from zlib import crc32

MAX_VALUES = 256
BUCKETS = 256
MAX_LABEL_CHARS = 64
_HEAD_CHARS = 40


@dataclass(frozen=True, slots=True)
class ValueCounts:
    """Counts by value; or by hash of the value, where there were too many."""

    values: Mapping[str, int] = field(default_factory=dict)
    buckets: Mapping[int, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """How many values."""
        return sum(self.values.values()) + sum(self.buckets.values())

    def hashed(self) -> "ValueCounts":
        """The same by buckets."""
        counts = Counter(self.buckets)
        for label, count in self.values.items():
            counts[bucket_of(label)] += count
        return ValueCounts(buckets=counts)


NO_VALUES = ValueCounts()


def counts_of(values: Mapping[str, int]) -> ValueCounts:
    """Of values with how often each occurs."""
    labels: Counter[str] = Counter()
    for value, count in values.items():
        labels[label_of(value)] += count
    return _bounded(ValueCounts(labels))


def merged(a: ValueCounts, b: ValueCounts) -> ValueCounts:
    """Both together."""
    if a.buckets or b.buckets:
        return ValueCounts(buckets=Counter(a.hashed().buckets) + Counter(b.hashed().buckets))
    return _bounded(ValueCounts(Counter(a.values) + Counter(b.values)))


def _bounded(counts: ValueCounts) -> ValueCounts:
    return counts if len(counts.values) <= MAX_VALUES else counts.hashed()


def encodable(text: str) -> str:
    """The text with halves of surrogate pairs, which files may hold and UTF-8 cannot, spelled."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def label_of(value: str) -> str:
    """The value; the head and a hash of a long one."""
    value = encodable(value)
    if len(value) <= MAX_LABEL_CHARS:
        return value
    digest = blake2b(value.encode(), digest_size=8).hexdigest()
    return f"{value[:_HEAD_CHARS]}…{digest}"


def bucket_of(label: str) -> int:
    """Its bucket: the same in every process and version."""
    return crc32(label.encode()) % BUCKETS
