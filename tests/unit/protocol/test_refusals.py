"""Counting refusals, and the rate limit."""

from wattline_protocol.trust.refusals import MAX_UNTAKEN, RateLimit, Refusals


def test_refusals_are_counted_and_the_newest_kept() -> None:
    refusals = Refusals()
    for number in range(MAX_UNTAKEN + 5):
        refusals.add("rate", f"n{number}", "too fast")
    taken = refusals.take()
    assert refusals.counts["rate"] == MAX_UNTAKEN + 5
    assert len(taken) == MAX_UNTAKEN
    assert taken[-1].peer == f"n{MAX_UNTAKEN + 4}"
    assert refusals.take() == []


def test_a_burst_is_allowed_and_then_the_rate() -> None:
    limit = RateLimit(per_s=10, burst=3)
    assert [limit.allows("a", 0.0) for _ in range(4)] == [True, True, True, False]
    assert limit.allows("b", 0.0)
    assert not limit.allows("a", 0.05)
    assert limit.allows("a", 0.15)


def test_full_buckets_are_forgotten() -> None:
    limit = RateLimit(per_s=1, burst=2)
    limit.allows("quick", 0.0)
    limit.allows("busy", 10.0)
    limit.forget_full(10.5)
    assert len(limit) == 1
    assert limit.allows("quick", 10.5)
