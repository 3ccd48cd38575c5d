"""The load of a service in a second, as gateways measure it; pure."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

from wattline_protocol.wire.rollouts import BUCKETS_S, plus_times

NO_TIMES = (0,) * (len(BUCKETS_S) + 1)


@dataclass(frozen=True, slots=True)
class Load:
    """Work is in units of the service: tokens where requests have them, else requests.

    Times are those to the answer, or to the first token of a stream.
    """

    requests: int
    """Those that arrived."""
    arrived: float
    answered: float
    queued: float
    """Work that is not yet at a replica."""
    waiting: Mapping[int, float]
    """Work at each ready replica, by its number, that has no answer or first token yet."""
    times: tuple[int, ...]
    """Answers by time, in `BUCKETS_S`; of one gateway perhaps fewer."""
    is_partial: bool = False
    """Of some gateways only: there may be more load."""

    @property
    def total_waiting(self) -> float:
        """Work without an answer, wherever it is."""
        return self.queued + sum(self.waiting.values())


def added(reports: Iterable[Load | None]) -> Load | None:
    """The sum over gateways; None if there is none or one is silent: the load is not known."""
    known = list(reports)
    heard = [one for one in known if one is not None]
    if not heard or len(heard) < len(known):
        return None
    waiting: dict[int, float] = {}
    for one in heard:
        for number, work in one.waiting.items():
            waiting[number] = waiting.get(number, 0.0) + work
    return Load(
        requests=sum(one.requests for one in heard),
        arrived=sum(one.arrived for one in heard),
        answered=sum(one.answered for one in heard),
        queued=sum(one.queued for one in heard),
        waiting=waiting,
        times=reduce(plus_times, (one.times for one in heard), NO_TIMES),
    )


def quantile_s(times: Sequence[int], share: float) -> float:
    """The time that this share of the answers did not exceed, even within a bucket; 0 = none."""
    needed, below = share * sum(times), 0
    for at, count in enumerate(times):
        if count and below + count >= needed:
            low_s = BUCKETS_S[at - 1] if at else 0.0
            high_s = BUCKETS_S[min(at, len(BUCKETS_S) - 1)]
            return low_s + (high_s - low_s) * (needed - below) / count
        below += count
    return 0.0


def later_than(times: Sequence[int], limit_s: float) -> float:
    """Answers that took longer, even within a bucket; those in the last one took as long as its
    bound."""
    at = bisect_left(BUCKETS_S, limit_s)
    if at == len(BUCKETS_S):
        return 0.0
    low_s, high_s = (BUCKETS_S[at - 1] if at else 0.0), BUCKETS_S[at]
    within = sum(times[at : at + 1]) * (high_s - limit_s) / (high_s - low_s)
    return within + sum(times[at + 1 :])
