"""Service order: priority, then least expected service, then age.

* **Priority** is strict.
* **Expected service**: the Gittins index of the job (`gittins`) times its GPUs: GPU-seconds per
  completion. All jobs with an expected service of `LONG_GPU_S` or more are equal: long work is
  served by age, so that it does not wait behind every newer job that is a little shorter.
* **Patience**: a job that has waited `PATIENCE` times its index counts half its expected service,
  and so on: a stream of shorter work does not starve it (the response ratio of Brinch Hansen,
  1971).
* **Age**, then the job's number.
"""

from collections.abc import Iterable
from typing import Generic, NamedTuple, TypeVar

Key = TypeVar("Key")

LONG_GPU_S = 650 * 3600.0
"""Expected service above which only age counts."""

PATIENCE = 145.0
"""Multiple of its expected run time after which a waiting job's expected service is halved."""


class Asking(NamedTuple, Generic[Key]):
    """A job that requests to run, or to continue."""

    key: Key
    priority: int
    gpus: int
    index_s: float
    """Seconds on its GPUs per completion, from `gittins`."""
    since_s: float
    """Time of submission."""
    number: int


def in_order(asking: Iterable[Asking[Key]], now_s: float) -> list[Asking[Key]]:
    """Sorted by service order."""
    return sorted(asking, key=lambda each: place_of(each, now_s))


def place_of(each: Asking[Key], now_s: float) -> tuple[int, float, float, int]:
    """Sort key, smallest first. Work without GPUs counts as one."""
    service_gpu_s = min(each.index_s * max(1, each.gpus), LONG_GPU_S)
    if 0.0 < service_gpu_s < LONG_GPU_S:
        service_gpu_s /= 1.0 + (now_s - each.since_s) / (PATIENCE * each.index_s)
    return -each.priority, service_gpu_s, each.since_s, each.number
