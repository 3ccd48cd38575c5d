"""Turns: nothing is lost, no member waits longer than a round, none has more than its share."""

from collections.abc import Sequence
from itertools import cycle

from hypothesis import given
from hypothesis import strategies as st

from wattline_protocol.ids import Instant
from wattline_scheduler.shell.clients.fair_queue import QUANTUM_S, FairLimits, FairQueue

PLENTY = FairLimits(share=1e6, burst_s=1e6, items=10_000, bytes=1 << 30)

COSTS = st.lists(st.floats(1e-5, 0.2), min_size=1, max_size=20)


def at(mono_s: float) -> Instant:
    return Instant(mono_s)


@given(
    puts=st.lists(st.tuples(st.sampled_from("abcd"), st.floats(0.0, 0.05)), max_size=80),
    gaps=st.lists(st.integers(0, 3), max_size=80),
)
def test_all_that_was_taken_in_is_served_once_and_in_its_members_order(
    puts: list[tuple[str, float]], gaps: list[int]
) -> None:
    queue: FairQueue[tuple[int, float]] = FairQueue(FairLimits(0.5, 0.02, 10_000, 1 << 30))
    sent: dict[str, list[int]] = {name: [] for name in "abcd"}
    came: dict[str, list[int]] = {name: [] for name in "abcd"}
    now_s = 0.0

    def serve() -> None:
        nonlocal now_s
        taken = queue.take(at(now_s))
        if taken is None:
            now_s += queue.next_in_s(at(now_s)) or 0.0
            return
        name, (number, cost_s) = taken
        came[name].append(number)
        now_s += cost_s
        queue.charge(cost_s)

    for number, (name, cost_s) in enumerate(puts):
        assert queue.put(name, (number, cost_s), 1, at(now_s))
        sent[name].append(number)
        for _ in range(gaps[number] if number < len(gaps) else 0):
            serve()
    for _ in range(10 * len(puts) + 10):
        serve()
    assert came == sent
    assert len(queue) == 0
    assert queue.next_in_s(at(now_s)) is None


@given(others=st.lists(COSTS, min_size=1, max_size=6), small_s=st.floats(1e-5, QUANTUM_S))
def test_who_asks_for_little_waits_one_round_whatever_others_ask(
    others: Sequence[Sequence[float]], small_s: float
) -> None:
    queue: FairQueue[float] = FairQueue(PLENTY)
    left = {f"m{number}": cycle(costs) for number, costs in enumerate(others)}
    now_s = 0.0
    for name, costs in left.items():
        for _ in range(3):
            queue.put(name, next(costs), 1, at(now_s))
    round_s = sum(QUANTUM_S + max(costs) for costs in others)
    for _ in range(30):
        asked_s = now_s
        queue.put("small", small_s, 1, at(now_s))
        while True:
            taken = queue.take(at(now_s))
            assert taken is not None
            name, cost_s = taken
            if name == "small":
                break
            queue.put(name, next(left[name]), 1, at(now_s))
            now_s += cost_s
            queue.charge(cost_s)
        assert now_s - asked_s <= round_s + 1e-9
        now_s += cost_s
        queue.charge(cost_s)


@given(costs=COSTS, share=st.floats(0.1, 0.9))
def test_a_member_alone_gets_its_share_and_no_more(costs: list[float], share: float) -> None:
    limits = FairLimits(share, burst_s=0.5, items=10_000, bytes=1 << 30)
    queue: FairQueue[float] = FairQueue(limits)
    for cost_s in costs * 20:
        queue.put("a", cost_s, 1, at(0.0))
    now_s = used_s = 0.0
    while len(queue):
        taken = queue.take(at(now_s))
        if taken is None:
            wait_s = queue.next_in_s(at(now_s))
            assert wait_s is not None
            now_s += max(wait_s, 1e-6)
            continue
        used_s += taken[1]
        now_s += taken[1]
        queue.charge(taken[1])
        assert used_s <= limits.burst_s + share * now_s + max(costs) + QUANTUM_S
    assert abs(used_s - sum(costs) * 20) < 1e-6


@given(first=st.floats(0.001, 0.2), second=st.floats(0.001, 0.2))
def test_two_that_always_ask_get_the_same_time(first: float, second: float) -> None:
    queue: FairQueue[float] = FairQueue(PLENTY)
    costs = {"a": first, "b": second}
    used = dict.fromkeys(costs, 0.0)
    for name, cost_s in costs.items():
        for _ in range(3):
            queue.put(name, cost_s, 1, at(0.0))
    for _ in range(400):
        taken = queue.take(at(0.0))
        assert taken is not None
        name, cost_s = taken
        queue.put(name, cost_s, 1, at(0.0))
        used[name] += cost_s
        queue.charge(cost_s)
    assert abs(used["a"] - used["b"]) <= 2 * (QUANTUM_S + max(costs.values()))


def test_beyond_its_room_a_member_is_refused_and_others_are_not() -> None:
    queue: FairQueue[int] = FairQueue(FairLimits(1.0, 1.0, items=2, bytes=100))
    assert [queue.put("a", n, 10, at(0.0)) for n in range(3)] == [True, True, False]
    assert queue.put("b", 0, 90, at(0.0))
    assert not queue.put("b", 1, 20, at(0.0))
    assert (queue.waiting("a"), queue.waiting("b"), queue.waiting("c")) == (2, 1, 0)


def test_one_item_may_be_larger_than_the_room_of_a_member() -> None:
    queue: FairQueue[int] = FairQueue(FairLimits(1.0, 1.0, items=2, bytes=100))
    assert queue.put("a", 0, 1_000, at(0.0))


def test_what_is_put_back_goes_on_before_others_of_its_member() -> None:
    queue: FairQueue[str] = FairQueue(PLENTY)
    for item in ("long", "next"):
        queue.put("a", item, 1, at(0.0))
    queue.put("b", "other", 1, at(0.0))
    served = []
    for part in range(5):
        taken = queue.take(at(0.0))
        assert taken is not None
        served.append(taken[1])
        if taken[1] == "long" and part < 3:
            queue.put_back("long", 1)
        queue.charge(QUANTUM_S)
    assert served == ["long", "other", "long", "long", "next"]


def test_debt_is_remembered_while_a_member_asks_nothing() -> None:
    queue: FairQueue[str] = FairQueue(PLENTY)
    queue.put("costly", "first", 1, at(0.0))
    assert queue.take(at(0.0)) == ("costly", "first")
    queue.charge(10 * QUANTUM_S)
    queue.put("costly", "second", 1, at(0.0))
    for number in range(5):
        queue.put("other", str(number), 1, at(0.0))
    served = []
    for _ in range(6):
        taken = queue.take(at(0.0))
        assert taken is not None
        served.append(taken[0])
        queue.charge(QUANTUM_S)
    assert served == ["other"] * 5 + ["costly"]
