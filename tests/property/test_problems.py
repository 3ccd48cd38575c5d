"""Whatever conditions come and go, over restarts: beginnings and ends are pairs, and few."""

from hypothesis import given, settings
from hypothesis import strategies as st

from support.core.harness import BEAT_S, Harness, joined
from support.core.sites import site
from wattline_protocol.wire.problem_kinds import KINDS
from wattline_protocol.wire.problems import Condition
from wattline_scheduler.core.model import problem_book
from wattline_scheduler.records import ProblemRecord

SITE = site().rack("a", 1).build()
POOL = tuple(
    Condition(kind, subject, "at # W")
    for kind, subject in (
        ("foreign_load", "GPU 1"),
        ("foreign_load", "GPU 2"),
        ("observe_mode", ""),
        ("cap_raised", "GPU 1"),
        ("lease_exceeded", ""),
    )
)

Step = tuple[frozenset[Condition], int, bool]
STEPS = st.lists(
    st.tuples(st.frozensets(st.sampled_from(POOL)), st.integers(1, 20), st.booleans()),
    min_size=1,
    max_size=12,
)
"""What is wrong, for how many seconds, and whether the scheduler is killed afterwards."""


def follow(h: Harness, steps: list[Step]) -> None:
    for found, seconds, is_killed in steps:
        for second in range(seconds):
            texts = tuple(Condition(o.kind, o.subject, f"at {second} W") for o in sorted_(found))
            h.agent("a1").say_beat(conditions=texts, problems=tuple(o.sentence for o in texts))
            h.settle()
            h.tick()
            h.mono_s += 0.8
        if is_killed:
            h.restart_scheduler()
            h.join()


def sorted_(found: frozenset[Condition]) -> list[Condition]:
    return sorted(found, key=lambda one: (one.kind, one.subject))


def check_pairs(h: Harness) -> None:
    """In the log every end follows its own beginning, and each has a record."""
    ends = {kind.end_event: name for name, kind in KINDS.items()}
    records = h.disk.of(ProblemRecord)
    for name in {one.kind for one in POOL}:
        began = len(h.events(name))
        ended = len(h.events(KINDS[name].end_event))
        still = sum(one.until_unix_s is None for one in records if one.kind == name)
        assert began == ended + still, (name, began, ended, still)
        assert ends[KINDS[name].end_event] == name
    open_now = {one.record.number for one in h.cluster.state.problems.open.values()}
    assert open_now == {one.number for one in records if one.until_unix_s is None}
    for one in records:
        assert one.until_unix_s is None or one.until_unix_s >= one.since_unix_s
        assert one.occurrences >= 1


@given(steps=STEPS)
@settings(max_examples=30, deadline=None)
def test_begin_and_end_are_pairs_over_restarts(steps: list[Step]) -> None:
    h = joined(SITE)
    follow(h, steps)
    check_pairs(h)
    quiet: Step = (frozenset(), 12, False)
    follow(h, [quiet])
    h.run(problem_book.MOST_HELD_S + 1, BEAT_S)
    check_pairs(h)
    assert not h.cluster.state.problems.open, "what is gone ends, however often it came back"


@given(period_s=st.integers(1, 8), seconds=st.integers(60, 240))
@settings(max_examples=10, deadline=None)
def test_what_flaps_writes_few_events(period_s: int, seconds: int) -> None:
    h = joined(SITE)
    once = frozenset({POOL[2]})
    steps: list[Step] = [
        (once if number % 2 else frozenset(), period_s, False)
        for number in range(seconds // period_s)
    ]
    follow(h, steps)
    assert len(h.events("observe_mode")) <= 5
