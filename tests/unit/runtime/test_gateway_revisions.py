"""A revision on trial gets its share of the requests or copies, and its failures reach nobody."""

from typing import Any

import pytest

from support.programs.serving import GatewayBench, name, route
from wattline_protocol.ids import JobId
from wattline_protocol.text.json_alike import alike
from wattline_protocol.wire.rollouts import BUCKETS_S, RevisionTraffic, RouteSplit
from wattline_runtime.gateway import events as e
from wattline_runtime.gateway.revisions.comparisons import COMPARED_WITHIN_S
from wattline_runtime.gateway.revisions.copies import MAX_DUE
from wattline_runtime.gateway.revisions.reporting import TrafficReporter
from wattline_runtime.gateway.stats import Stats
from wattline_runtime.wire import COMPARE, Failure, Infer, Reply

OLD, NEW = 1, 2
"""Tasks 1 and 3 are of job 1, tasks 2 and 4 of job 2."""


class RevisionBench(GatewayBench):
    """Workers of two revisions, with room for all."""

    def split(self, *tasks: int, **split: Any) -> "RevisionBench":
        routes = tuple(route(task, job=NEW if task % 2 == 0 else OLD) for task in tasks)
        found = RouteSplit(JobId(NEW), **split) if split else None
        splits = {} if found is None else {"svc": found}
        self.happens(e.RoutesChanged({"svc": routes}, splits))
        return self

    def fail(self, task: int, number: int, reason: Any = "model_error") -> "RevisionBench":
        self.happens(e.WorkerMessage(name(task), f"key-{task}", Failure(number, reason)))
        return self

    def say(self, task: int, number: int, output: bytes) -> "RevisionBench":
        self.happens(e.WorkerMessage(name(task), f"key-{task}", Reply(number, output)))
        return self

    def traffic(self, revision: int) -> RevisionTraffic:
        report = TrafficReporter(self.gateway, Stats()).take().revisions
        return next(one for one in report if one.revision == revision)


def bench(share: int = 0, *tasks: int, **split: Any) -> RevisionBench:
    made = RevisionBench(queue_limit=1000)
    tasks = tasks or (1, 2)
    made.split(*tasks, share_permille=share, **split)
    for task in tasks:
        made.worker(task, capacity=100)
    return made


def test_without_a_split_both_get_requests() -> None:
    b = RevisionBench(queue_limit=100).split(1, 2)
    b.worker(1, capacity=100).worker(2, capacity=100).submit(*range(1, 21))
    assert len(b.inferred(1)) == len(b.inferred(2)) == 10


@pytest.mark.parametrize("share", [0, 50, 250, 999])
def test_a_revision_on_trial_gets_its_share(share: int) -> None:
    b = bench(share)
    for number in range(1, 1001):
        b.submit(number)
        b.reply(1 if number in b.inferred(1) else 2, number)
    assert len(b.inferred(2)) == share
    assert set(b.outcomes.values()) == {"out"}


def test_one_without_a_ready_worker_gets_none_and_none_waits_for_it() -> None:
    b = bench(500)
    b.worker(2, capacity=0).submit(*range(1, 11))
    assert len(b.inferred(1)) == 10


def test_it_gets_all_where_the_old_one_has_no_ready_worker() -> None:
    b = bench(0)
    b.worker(1, capacity=0).submit(*range(1, 11))
    assert len(b.inferred(2)) == 10


def test_what_waits_for_the_old_one_goes_to_the_new_one_once_it_has_ended() -> None:
    b = RevisionBench(queue_limit=100).split(1, 2, share_permille=0)
    b.worker(1, capacity=1).worker(2, capacity=5).submit(1, 2, 3)
    assert (b.inferred(1), b.inferred(2)) == ([1], [])
    b.happens(e.WorkerDisconnected(name(1)))
    b.reply(2, 1)
    assert b.inferred(2) == [1, 2, 3]


@pytest.mark.parametrize("reason", ["model_error", "bad_input", "output_too_large", "expired"])
def test_what_it_fails_at_is_answered_by_the_old_one(reason: str) -> None:
    b = bench(999)
    b.submit(1, 2)
    (number,) = b.inferred(2)
    b.fail(2, number, reason)
    assert number not in b.outcomes
    assert number in b.inferred(1)
    assert b.traffic(NEW).errors == 0, "not known yet"
    b.reply(1, number)
    assert b.outcomes[number] == "out"
    assert (b.traffic(NEW).requests, b.traffic(NEW).errors) == (1, 1)
    assert b.traffic(OLD).errors == 0


def test_what_both_fail_at_is_the_clients_error() -> None:
    b = bench(999)
    b.submit(1, 2)
    (number,) = b.inferred(2)
    b.fail(2, number, "bad_input").fail(1, number, "bad_input")
    assert b.outcomes[number] == "bad_input"
    assert (b.traffic(NEW).requests, b.traffic(NEW).errors) == (1, 0)


def test_without_guard_its_errors_reach_the_client() -> None:
    b = bench(999, is_guarded=False)
    b.submit(1, 2)
    (number,) = b.inferred(2)
    b.fail(2, number)
    assert b.outcomes[number] == "model_error"
    assert b.traffic(NEW).errors == 1


def test_requests_of_a_lost_worker_on_trial_are_not_suspect() -> None:
    b = bench(999, 1, 2, 4)
    b.submit(1, 2)
    task = 2 if b.inferred(2) else 4
    (number,) = b.inferred(task)
    b.happens(e.WorkerDisconnected(name(task)))
    assert number in b.inferred(1)
    b.happens(e.WorkerDisconnected(name(1)))
    assert number not in b.outcomes, "this is its first suspicious loss"
    b.reply(6 - task, 1).reply(6 - task, number)
    assert b.outcomes[number] == "out"


def test_a_hung_worker_on_trial_costs_nobody_an_answer() -> None:
    b = bench(999)
    b.submit(1, 2, within_s=3.0)
    (number,) = b.inferred(2)
    b.reply(1, 1)
    for _ in range(12):
        b.later(0.1)
        b.worker(1, capacity=100).worker(2, capacity=100)
    assert number in b.inferred(1)
    b.reply(1, number)
    assert b.outcomes[number] == "out"
    assert b.traffic(NEW).errors == 1


def test_a_drained_replica_returns_what_it_did_not_run() -> None:
    b = bench(999)
    b.submit(1, 2)
    (number,) = b.inferred(2)
    b.fail(2, number, "draining")
    assert number in b.inferred(1)
    assert b.traffic(NEW).requests == 0


def test_late_requests_count_as_errors_of_the_revision_that_has_them() -> None:
    b = bench(999, is_guarded=False)
    b.submit(1, 2, within_s=0.5).later(1.0)
    assert set(b.outcomes.values()) == {"deadline"}
    assert (b.traffic(NEW).errors, b.traffic(OLD).errors) == (1, 1)


def test_times_are_counted_by_revision() -> None:
    b = bench(999)
    b.submit(1, 2).later(0.05)
    b.reply(2, *b.inferred(2)).reply(1, *b.inferred(1))
    times = b.traffic(NEW).times
    assert sum(times) == 1
    at = times.index(1)
    assert BUCKETS_S[at - 1] < 0.05 <= BUCKETS_S[at]


def test_a_report_has_what_came_since_the_last_one() -> None:
    b = bench(500)
    reporter = TrafficReporter(b.gateway, Stats())
    b.submit(1).reply(1, 1)
    first = reporter.take().revisions
    b.submit(2).reply(2, 2)
    second = reporter.take().revisions
    assert [(one.revision, one.ready, one.requests) for one in first] == [(1, 1, 1), (2, 1, 0)]
    assert [(one.revision, one.ready, one.requests) for one in second] == [(1, 1, 0), (2, 1, 1)]


def test_a_report_has_each_worker() -> None:
    b = bench(500)
    b.submit(1)
    workers = TrafficReporter(b.gateway, Stats()).take().workers
    assert workers is not None
    assert [(one.ref.job, one.state, one.in_flight) for one in workers] == [
        (1, "ready", 1),
        (2, "ready", 0),
    ]


# --- copies ---------------------------------------------------------------------------------------


def copies(*tasks: int, **split: Any) -> RevisionBench:
    return bench(0, *tasks, shadow_permille=500, **split)


def test_copies_answer_nobody_and_are_compared() -> None:
    b = copies()
    b.submit(1, 2, 3, 4)
    assert b.inferred(1) == [1, 2, 3, 4]
    assert b.inferred(2) == [-2, -4]
    b.say(2, -2, b'{"a": 1}')
    assert not b.outcomes
    b.say(1, 2, b'{"a":1}')
    b.say(1, 4, b"5").say(2, -4, b"6")
    assert b.outcomes == {2: '{"a":1}', 4: "5"}
    assert (b.traffic(NEW).equal, b.traffic(NEW).different) == (1, 1)
    assert b.traffic(NEW).requests == 2
    assert b.traffic(OLD).requests == 2


def test_a_copy_that_fails_is_an_error_if_the_request_was_answered() -> None:
    b = copies()
    b.submit(1, 2, 3, 4)
    b.fail(2, -2).reply(1, 2)
    b.fail(2, -4).fail(1, 4)
    assert b.traffic(NEW).errors == 1


def test_copies_end_with_their_worker_and_their_request() -> None:
    b = copies()
    b.submit(*range(1, 9))
    b.happens(e.Abandoned(2))
    b.reply(1, 4)
    b.happens(e.WorkerDisconnected(name(2)))
    assert b.traffic(NEW).errors == 1
    b.reply(1, 6, 8)
    assert b.traffic(NEW).errors == 3
    assert not b.gateway.queue.copies.by_request


def test_without_a_free_slot_there_is_no_copy() -> None:
    b = copies()
    b.worker(2, capacity=1)
    b.submit(*range(1, 9))
    assert b.inferred(2) == [-2]


# --- copies that the model compares -------------------------------------------------------------


def by_model(*, compares: bool | None = True, capacity: int = 100) -> RevisionBench:
    made = copies(is_by_model=True)
    made.worker(2, capacity=capacity, compares=compares)
    return made


def pairs(b: RevisionBench) -> list[tuple[int, bytes]]:
    sent = [m for _, m in b.sent if isinstance(m, Infer) and m.method == COMPARE]
    return [(m.id, m.input) for m in sent]


def differ(b: RevisionBench, *numbers: int) -> RevisionBench:
    """The copies of these requests get another output."""
    for number in numbers:
        b.say(1, number, b'"old"').say(2, -number, b'"new"')
    return b


def counts(b: RevisionBench) -> tuple[int, int, int]:
    found = b.traffic(NEW)
    return found.equal, found.different, found.uncompared


def test_the_model_of_the_new_revision_compares() -> None:
    b = by_model()
    b.submit(1, 2, 3, 4)
    differ(b, 2, 4)
    assert counts(b) == (0, 0, 0)
    b.later(0.2)
    assert pairs(b) == [(-2, b'["old","new"]'), (-4, b'["old","new"]')]
    b.say(2, -2, b"true").say(2, -4, b"false")
    assert counts(b) == (1, 1, 0)
    assert b.traffic(NEW).requests == 2, "a comparison is no request"
    assert b.traffic(NEW).compares is True
    assert not b.gateway.queue.copies.at_model


@pytest.mark.parametrize("reason", ["model_error", "expired", "draining", "overloaded"])
def test_a_comparison_that_fails_is_none_and_says_nothing_of_the_worker(reason: str) -> None:
    b = by_model()
    for number in range(1, 41):
        b.submit(number)
    for number in range(2, 41, 2):
        differ(b, number).later(0.2)
        b.fail(2, -number, reason)
    assert counts(b) == (0, 0, 20)
    assert b.traffic(NEW).errors == 0
    assert b.traffic(NEW).ready == 1, "its circuit stays closed"


def test_an_answer_that_is_neither_true_nor_false_is_none() -> None:
    b = by_model()
    b.submit(1, 2)
    differ(b, 2).later(0.2)
    b.say(2, -2, b"1")
    assert counts(b) == (0, 0, 1)


def test_equal_bytes_need_no_model() -> None:
    b = by_model()
    b.submit(1, 2)
    b.say(1, 2, b"5").say(2, -2, b"5")
    b.later(0.2)
    assert (pairs(b), counts(b)) == ([], (1, 0, 0))


@pytest.mark.parametrize("compares", [None, False])
def test_workers_without_the_method_are_not_asked(compares: bool | None) -> None:
    b = by_model(compares=compares)
    b.submit(1, 2)
    differ(b, 2).later(0.2)
    assert (pairs(b), counts(b), b.traffic(NEW).compares) == ([], (0, 0, 1), compares)


def test_comparisons_leave_slots_and_wait_for_a_limited_time() -> None:
    b = by_model()
    b.submit(*range(1, 13))
    differ(b, *range(2, 13, 2)).later(0.2)
    assert [number for number, _ in pairs(b)] == [-2, -4], "two at a time"
    b.say(2, -2, b"true")
    assert [number for number, _ in pairs(b)] == [-2, -4, -6], "the next at once"
    for _ in range(4):
        b.worker(2, capacity=100, compares=True).later(COMPARED_WITHIN_S / 3)
    assert counts(b) == (1, 0, 5), "at the model or not"


@pytest.mark.parametrize("late", [b"true", None], ids=["equal", "fails"])
def test_what_a_model_compares_too_late_is_not_compared(late: bytes | None) -> None:
    """It may hang, and then its worker ends only after a limit of its own."""
    b = by_model()
    b.submit(*range(1, 9))
    differ(b, 2, 4, 6, 8).later(0.2)
    for _ in range(4):
        b.worker(2, capacity=100, compares=True).later(COMPARED_WITHIN_S / 3)
    assert counts(b) == (0, 0, 4)
    for number in (-2, -4):
        _ = b.fail(2, number, "model_error") if late is None else b.say(2, number, late)
    assert counts(b) == (0, 0, 4), "once each"
    assert not b.gateway.queue.copies.at_model


def test_a_worker_that_ends_compares_nothing() -> None:
    b = by_model()
    b.submit(*range(1, 9))
    differ(b, 2, 4, 6, 8).later(0.2)
    b.happens(e.WorkerDisconnected(name(2)))
    b.later(0.2)
    assert counts(b) == (0, 0, 4)
    assert not b.gateway.queue.copies.due


def test_what_waits_for_a_model_is_bounded() -> None:
    b = by_model()
    numbers = range(2, 2 * MAX_DUE + 9, 2)
    b.submit(*range(1, numbers[-1] + 1))
    differ(b, *numbers)
    assert (len(b.gateway.queue.copies.due), counts(b)) == (MAX_DUE, (0, 0, 4))
    b.submit(999, 1000)
    b.happens(e.WorkerDisconnected(name(2)))
    b.later(0.2)
    assert counts(b)[2] == MAX_DUE + 4


@pytest.mark.parametrize(
    ("one", "other", "tolerance", "is_alike"),
    [
        (b"1", b"1", 0.0, True),
        (b"1", b"1.0", 0.0, True),
        (b"1", b"1.0001", 0.0, False),
        (b"1", b"1.0001", 1e-3, True),
        (b"[1000, 0.0001]", b"[1000.9, 0.0002]", 1e-3, True),
        (b"[1000]", b"[1002]", 1e-3, False),
        (b'{"a": 1, "b": "x"}', b'{"b":"x","a":1}', 0.0, True),
        (b'{"a": 1}', b'{"a": 1, "b": 2}', 0.5, False),
        (b"[1, 2]", b"[1]", 0.5, False),
        (b"true", b"1", 0.5, False),
        (b"null", b"0", 0.5, False),
        (b'"1"', b"1", 0.5, False),
        (b"1" + b"0" * 400, b"1", 0.5, False),
        (b"[1" + b"0" * 400 + b"]", b"[ 1" + b"0" * 400 + b"]", 0.0, True),
    ],
)
def test_answers_are_compared_as_json(
    one: bytes, other: bytes, tolerance: float, is_alike: bool
) -> None:
    assert alike(one, other, tolerance) is is_alike
    assert alike(other, one, tolerance) is is_alike


def test_trial_ends_with_its_split() -> None:
    b = bench(0)
    b.submit(1, 2).reply(1, 1, 2)
    b.split(1, 2)
    b.submit(3, 4, 5, 6)
    assert b.inferred(2)
    assert not [m for _, m in b.sent if isinstance(m, Infer) and m.id < 0]
