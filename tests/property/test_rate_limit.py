"""A token bucket never grants more than its burst and what time brings, at any limits."""

from hypothesis import given
from hypothesis import strategies as st

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
