"""A token bucket never grants more than its burst and what time brings, at any limits, and the
parts of a rate never add up to more than the whole and the even parts of new members."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattline_protocol.ids import UnixTime
from wattline_protocol.wire.api_keys import EVEN_SHARE, ApiKeyUse, KeyDemand
from wattline_runtime.gateway.access.rate_limit import TokenBucket

RATES = st.floats(0.01, 1e6)
BURSTS = st.floats(1, 1e6)
Step = tuple[float, int, float | None]
"""Seconds that pass, inputs that are asked for, a new share."""
STEPS = st.lists(
    st.tuples(st.floats(0, 100), st.integers(1, 300), st.floats(0.001, 1) | st.none()), max_size=60
)


@given(RATES, BURSTS, STEPS)
def test_no_more_than_burst_and_rate(
    rate_per_s: float, burst: float, steps: list[tuple[float, int, float | None]]
) -> None:
    """The share of a gateway changes on the way: the whole rate is the bound of all shares."""
    bucket = TokenBucket(rate_per_s, burst, burst, 0.0)
    now_s, granted = 0.0, 0
    for passed_s, count, share in steps:
        now_s += passed_s
        if share is not None:
            bucket.limit(rate_per_s * share, max(1.0, burst * share), now_s)
        wait_s = bucket.take(count, now_s)
        granted += count if wait_s == 0 else 0
        assert granted <= (burst + rate_per_s * now_s) * (1 + 1e-9)
        assert wait_s >= 0
        assert 0 <= bucket.tokens <= bucket.burst


@given(RATES, BURSTS, st.integers(1, 300))
def test_what_waits_as_long_as_told_is_granted(rate_per_s: float, burst: float, count: int) -> None:
    bucket = TokenBucket(rate_per_s, burst, 0.0, 0.0)
    wait_s = bucket.take(count, 0.0)
    if count <= burst:
        assert bucket.take(count, wait_s * (1 + 1e-9) + 1e-9) == 0
    else:
        assert wait_s == float("inf")


KEYS = ("a", "b")
REPORTS = st.lists(
    st.tuples(st.integers(0, 3), st.booleans(), st.lists(st.integers(0, 100), max_size=2)),
    max_size=40,
)
"""Member, whether it ends instead, what it was asked for by key."""


class Members:
    """Gateways that report in any order, or processes of one, whose number is fixed."""

    def __init__(self, count: int | None) -> None:
        self.known: dict[int, KeyDemand] = {}
        self._count, self._now_s = count, 0.0

    def report(self, number: int, asked: list[int]) -> None:
        self._now_s += 0.4
        own = self.known.setdefault(number, KeyDemand(self._now_s))
        uses = zip(KEYS, asked, strict=False)
        own.add((ApiKeyUse(key, 0, 0, n, UnixTime(0)) for key, n in uses), self._now_s)
        in_use = {key for one in self.known.values() for key in one.per_s}
        others = [one for one in self.known.values() if one is not own]
        own.grant(in_use, others, self._count or len(self.known))

    def sums(self) -> tuple[float, ...]:
        """Of both keys, which are in use for a time, and of one that never is."""
        known = self.known.values()
        return tuple(sum(one.shares.get(key, one.share) for one in known) for key in (*KEYS, ""))


NEW = EVEN_SHARE * (1 / 2 + 1 / 3 + 1 / 4)
"""What the even parts of four gateways add, each of which was new."""


@pytest.mark.parametrize(("count", "more"), [(4, EVEN_SHARE), (None, NEW)])
@given(REPORTS)
def test_parts_never_add_up_to_more_than_the_whole_and_the_even_parts_of_new_members(
    count: int | None, more: float, reports: list[tuple[int, bool, list[int]]]
) -> None:
    members = Members(count)
    for number, ends, asked in reports:
        if ends:
            members.known.pop(number, None)
            continue
        members.report(number, asked)
        assert max(members.sums()) <= 1 + more + 1e-9
    for _ in range(20):  # until all demand is forgotten
        for number in range(4):
            members.report(number, [])
    assert members.sums() == pytest.approx((1.0, 1.0, 1.0))
