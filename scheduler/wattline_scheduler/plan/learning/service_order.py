"""Who is looked at first: priority, then least expected service, then age.

* **Priority** is strict.
* **Expected service**: the Gittins index of the job (`runtimes`) times its GPUs: GPU-seconds for
  one more end. All that is expected to take `LONG_GPU_S` or more counts the same: long work is
  served by age, so that it does not wait behind every newcomer that is a little shorter.
* **Patience**: who was submitted `PATIENCE` times as long ago as an end is expected to take counts
  for half of that, and so on: shorter work that keeps coming does not starve it (the response ratio
  of Brinch Hansen, 1971).
* **Age**, then the job's number.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key")

LONG_GPU_S = 650 * 3600.0
"""Expected service above which only age counts."""

PATIENCE = 145.0
"""Times its expected end after which a job counts for half of what it is expected to take."""


@dataclass(frozen=True, slots=True)
class Asking(Generic[Key]):
    """A job that wants to run, or to go on."""

    key: Key
    priority: int
    gpus: int
    index_s: float
    """Seconds on its GPUs for one more end, from `runtimes`."""
    since_s: float
    """When it was submitted."""
    number: int


def in_order(asking: Iterable[Asking[Key]], now_s: float) -> list[Asking[Key]]:
    """First served first."""
    return sorted(asking, key=lambda each: place_of(each, now_s))


def later_s(index_s: float, gpus: float, most_s: float) -> float:
    """What the scheduler's queue makes of it: a job counts as submitted later by what it is
    expected to take, in seconds of one GPU, but by no more than `most_s`.

    That is the earliest due date of a job that may wait as long as it takes (Bender, Chakrabarti
    and Muthukrishnan, SODA 1998, for the stretch of jobs), bounded: nobody is overtaken by who came
    more than `most_s` after it, so large work is not starved by a stream of small work. Work
    without GPUs counts as one, a share of a GPU as its part, a MIG device by its slices.
    """
    return min(index_s * (gpus or 1.0), most_s)


def place_of(each: Asking[Key], now_s: float) -> tuple[int, float, float, int]:
    """What is compared; the smallest goes first. Work without GPUs counts as one."""
    service_gpu_s = min(each.index_s * max(1, each.gpus), LONG_GPU_S)
    if 0.0 < service_gpu_s < LONG_GPU_S:
        service_gpu_s /= 1.0 + (now_s - each.since_s) / (PATIENCE * each.index_s)
    return -each.priority, service_gpu_s, each.since_s, each.number
