"""Whose turn it is: what is above the rate waits in order, and a flood is cut off."""

from hypothesis import given
from hypothesis import strategies as st

from wattline_protocol import pace
from wattline_protocol.pace import LOOK_S, MAX_WAITING_BYTES, Pace
from wattline_protocol.refusals import RateLimit


def _pace(waiting: int = 2) -> Pace[int]:
    return Pace(RateLimit(per_s=10, burst=1), waiting)


def test_what_is_above_the_rate_waits_and_what_has_no_room_is_refused() -> None:
    one = _pace()
    assert [one.judge("a", n, 1, 0.0) for n in range(4)] == ["now", "later", "later", "no"]
    assert one.judge("b", 9, 1, 0.0) == "now"
    assert one.retry_in_s == LOOK_S


def test_nothing_overtakes_what_waits() -> None:
    one = _pace()
    for number in range(2):
        one.judge("a", number, 1, 0.0)
    assert one.judge("a", 2, 1, 5.0) == "later"
    assert list(one.due(9, 5.0)) == [("a", 1)]
    assert list(one.due(9, 5.2)) == [("a", 2)]
    assert one.retry_in_s is None
    assert one.judge("a", 3, 1, 9.0) == "now"


def test_no_more_is_due_than_was_asked_for() -> None:
    one = _pace()
    for sender in "ab":
        for number in range(3):
            one.judge(sender, number, 1, 0.0)
    assert len(list(one.due(1, 1.0))) == 1
    assert one.retry_in_s is not None


def test_large_messages_wait_only_as_far_as_there_is_room() -> None:
    one = _pace(waiting=100)
    size = MAX_WAITING_BYTES // 2
    assert [one.judge("a", n, size, 0.0) for n in range(4)] == ["now", "later", "later", "no"]
    assert list(one.due(9, 0.1)) == [("a", 1)]
    assert one.judge("a", 4, size, 0.1) == "later"


def test_without_a_wait_all_above_the_rate_is_refused() -> None:
    one = _pace(waiting=0)
    assert [one.judge("a", n, 1, 0.0) for n in range(3)] == ["now", "no", "no"]
    assert one.retry_in_s is None


@given(
    steps=st.lists(st.tuples(st.sampled_from("ab"), st.floats(0.0, 0.3)), max_size=60),
)
def test_all_that_was_not_refused_comes_once_in_order_and_at_the_rate(
    steps: list[tuple[str, float]],
) -> None:
    one, now_s = _pace(waiting=5), 0.0
    sent: dict[str, list[int]] = {"a": [], "b": []}
    came: dict[str, list[int]] = {"a": [], "b": []}
    for number, (sender, later_s) in enumerate(steps):
        now_s += later_s
        for whose, message in one.due(99, now_s):
            came[whose].append(message)
        verdict = one.judge(sender, number, 1, now_s)
        if verdict != "no":
            sent[sender].append(number)
        if verdict == "now":
            came[sender].append(number)
    for whose, message in one.due(99, now_s + 10 * 0.1 * pace.LOOK_S):
        came[whose].append(message)
    while one.retry_in_s is not None:
        now_s += 0.1
        for whose, message in one.due(99, now_s):
            came[whose].append(message)
    assert came == sent
    assert all(len(numbers) <= 2 + now_s * 10 for numbers in came.values())
