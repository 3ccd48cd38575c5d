"""Kept answers, requests that share one, and what answers instead of a service."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from msgspec.structs import replace

from wattline_protocol.ids import AttemptNo, JobId, TaskNo, TaskRef
from wattline_protocol.wire.routes import Routes, WorkerRoute
from wattline_protocol.wire.service_settings import ServiceSettings
from wattline_runtime.gateway.answers.answers import Answers
from wattline_runtime.gateway.answers.cache import ENTRY_BYTES, AnswerCache, bound_all
from wattline_runtime.gateway.answers.fallback import FIRST_SHARE, first_deadline_s, settle
from wattline_runtime.gateway.events import Outcome, Output, Refusal, RequestKind, Submitted
from wattline_runtime.gateway.shell import GatewayShell, OutcomeSink, Submitting
from wattline_runtime.gateway.stats import Stats

NONE = Refusal("no_worker", "no worker of it is ready", 1)


class FakeShell(Submitting):
    """Notes what reaches the core, and answers when the test says so."""

    def __init__(self) -> None:
        self.stats = Stats()
        self.sent: dict[int, tuple[str, bytes, float]] = {}
        self.waiters: dict[int, OutcomeSink] = {}
        self.abandoned: list[int] = []
        self.kinds: list[RequestKind] = []
        self.seen: list[frozenset[str] | None] = []
        self.instead: list[str] = []

    def expect(self, waiter: OutcomeSink) -> int:
        number = len(self.sent) + 1
        self.waiters[number] = waiter
        return number

    def answered_instead(self, service: str, kind: RequestKind, took_s: float) -> None:
        self.instead.append(service)
        assert took_s >= 0.0

    def arrived(self, request: Submitted) -> None:
        self.seen.append(request.seen)
        self.kinds.append(request.kind)
        self.sent[request.id] = request.service, request.input, request.deadline_s

    def abandon(self, number: int) -> None:
        self.abandoned.append(number)
        if (waiter := self.waiters.get(number)) is not None and not waiter.done():
            waiter.set_result(None)

    def change_routes(self, routes: Routes) -> None:
        self.routes = routes

    async def answer(self, number: int, outcome: Outcome) -> None:
        self.waiters[number].set_result(outcome)
        await asyncio.sleep(0)  # what waits for it runs


def routed(*jobs: int, **settings: Any) -> Routes:
    """Service `svc` with a worker of each job."""
    workers = (
        WorkerRoute(TaskRef(JobId(job), TaskNo(0), AttemptNo(1)), f"key-{job}") for job in jobs
    )
    settings = {"cache_ttl_s": 60.0, "cache_bytes": 10_000, **settings}
    return Routes({"svc": tuple(workers)}, settings={"svc": ServiceSettings(**settings)})


def run(test: Callable[[FakeShell, Answers], Awaitable[None]], routes: Routes) -> None:
    async def inner() -> None:
        shell = FakeShell()
        answers = Answers(cast("GatewayShell", shell), 1_000_000)
        answers.change_routes(routes)
        await test(shell, answers)

    asyncio.run(inner())


async def filled(shell: FakeShell, answers: Answers, key: bytes = b"1") -> None:
    number, waiter, is_hit = answers.submit("svc", key, 100.0)
    assert not is_hit
    await shell.answer(number, Output(b"out"))
    assert await waiter == Output(b"out")


def test_an_urgent_request_shares_no_flight_of_a_batch_one() -> None:
    async def test(shell: FakeShell, answers: Answers) -> None:
        urgent, batch = RequestKind(rank=0), RequestKind(rank=2)
        answers.submit("svc", b"1", 100.0, None, batch)
        answers.submit("svc", b"1", 100.0, None, urgent)
        _, _, is_hit = answers.submit("svc", b"1", 100.0, None, batch)
        assert is_hit
        assert shell.kinds == [batch, urgent]

    run(test, routed(1))


def test_an_equal_input_is_answered_without_the_core() -> None:
    async def test(shell: FakeShell, answers: Answers) -> None:
        await filled(shell, answers)
        _, waiter, is_hit = answers.submit("svc", b"1", 100.0)
        assert (await waiter, is_hit, len(shell.sent)) == (Output(b"out"), True, 1)
        assert not answers.submit("svc", b"1 ", 100.0)[2], "the bytes are not exactly equal"
        assert not answers.submit("svc", b"1", 100.0, may_share=False)[2]

    run(test, routed(1))


def test_equal_requests_in_flight_share_one_answer() -> None:
    async def test(shell: FakeShell, answers: Answers) -> None:
        waiters = [answers.submit("svc", b"1", 100.0 + n)[1] for n in range(3)]
        assert len(shell.sent) == 1
        await shell.answer(1, Output(b"out"))
        assert await asyncio.gather(*waiters) == [Output(b"out")] * 3

    run(test, routed(1))


def test_who_has_less_time_than_the_request_in_flight_does_not_wait_for_it() -> None:
    async def test(shell: FakeShell, answers: Answers) -> None:
        answers.submit("svc", b"1", 100.0)
        answers.submit("svc", b"1", 99.0)
        assert len(shell.sent) == 2

    run(test, routed(1))


def test_what_is_refused_for_one_is_requested_again_for_the_others() -> None:
    async def test(shell: FakeShell, answers: Answers) -> None:
        waiters = [answers.submit("svc", b"1", 100.0 + n)[1] for n in range(2)]
        await shell.answer(1, Refusal("deadline", "late"))
        assert await waiters[0] == Refusal("deadline", "late")
        assert shell.sent[2] == ("svc", b"1", 101.0)
        await shell.answer(2, Output(b"out"))
        assert await waiters[1] == Output(b"out")
        answers.submit("svc", b"2", 1.0)
        bad = [answers.submit("svc", b"2", 2.0)[1]]
        await shell.answer(3, Refusal("bad_input", "no"))
        assert await bad[0] == Refusal("bad_input", "no")
        assert len(shell.sent) == 3

    run(test, routed(1))


def test_a_request_made_again_has_its_own_class_and_sees_its_own_services() -> None:
    async def test(shell: FakeShell, answers: Answers) -> None:
        urgent, batch = RequestKind(rank=0), RequestKind(rank=2)
        answers.submit("svc", b"1", 5.0, frozenset({"svc", "more"}), urgent)
        answers.submit("svc", b"1", 9.0, frozenset({"svc"}), batch)
        await shell.answer(1, Refusal("deadline", "too late"))
        assert shell.kinds == [urgent, batch]
        assert shell.seen == [frozenset({"svc", "more"}), frozenset({"svc"})]

    run(test, routed(1))


def test_a_client_that_leaves_takes_no_other_along() -> None:
    async def test(shell: FakeShell, answers: Answers) -> None:
        numbers = [answers.submit("svc", b"1", 100.0) for _ in range(3)]
        answers.abandon(numbers[0][0])
        answers.abandon(numbers[1][0])
        assert (shell.abandoned, await numbers[1][1]) == ([], None)
        await shell.answer(1, Output(b"out"))
        assert await numbers[2][1] == Output(b"out")
        first, second = (answers.submit("svc", b"2", 100.0)[0] for _ in range(2))
        answers.abandon(first)
        answers.abandon(second)
        assert shell.abandoned == [first]

    run(test, routed(1))


def test_a_task_that_is_cancelled_while_it_waits_takes_no_other_along() -> None:
    """As of a record stream whose connection has ended: the rest waited for ever."""

    async def test(shell: FakeShell, answers: Answers) -> None:
        _, _, (_, late, _), (_, last, _) = [answers.submit("svc", b"1", 100.0) for _ in range(4)]
        late.cancel()
        await shell.answer(1, Output(b"out"))
        assert await last == Output(b"out")
        first, second = (answers.submit("svc", b"2", 100.0) for _ in range(2))
        second[1].cancel()
        answers.abandon(first[0])
        answers.abandon(second[0])
        assert shell.abandoned == [first[0]], "nobody waits for it any more"

    run(test, routed(1))


def test_a_new_revision_finds_an_empty_cache_and_two_at_once_use_none() -> None:
    async def test(shell: FakeShell, answers: Answers) -> None:
        await filled(shell, answers)
        answers.change_routes(routed())
        assert answers.submit("svc", b"1", 100.0)[2], "no worker has a route for a moment"
        number, late, _ = answers.submit("svc", b"2", 100.0)
        answers.change_routes(routed(1, 2))
        assert not answers.submit("svc", b"1", 100.0)[2]
        answers.change_routes(routed(1))
        assert answers.submit("svc", b"1", 100.0)[2], "the new revision has gone again"
        answers.change_routes(routed(2))
        await shell.answer(number, Output(b"of the old revision"))
        assert await late == Output(b"of the old revision")
        assert not answers.submit("svc", b"1", 100.0)[2]
        assert not answers.submit("svc", b"2", 100.0)[2]

    run(test, routed(1))


def test_processes_of_a_gateway_divide_the_size() -> None:
    async def inner() -> None:
        answers = Answers(cast("GatewayShell", FakeShell()), 1_000_000, processes=4)
        answers.change_routes(routed(1, cache_bytes=100_000))
        assert answers.caches["svc"].size_bytes == 25_000

    asyncio.run(inner())


def test_refusals_are_not_kept() -> None:
    async def test(shell: FakeShell, answers: Answers) -> None:
        _, waiter, _ = answers.submit("svc", b"1", 100.0)
        await shell.answer(1, Refusal("model_error", "no"))
        await waiter
        assert not answers.submit("svc", b"1", 100.0)[2]

    run(test, routed(1))


def test_the_least_recently_used_answers_make_room() -> None:
    cache: AnswerCache[None] = AnswerCache(60.0, 2 * (ENTRY_BYTES + 2))
    for key in (b"1", b"2"):
        cache.keep(key, b"x", 0.0)
    assert cache.fresh(b"1", 1.0) == b"x"
    cache.keep(b"3", b"x", 1.0)
    assert [cache.any(key) for key in (b"1", b"2", b"3")] == [b"x", None, b"x"]
    cache.keep(b"4", b"x" * 10_000, 1.0)
    assert cache.any(b"4") is None
    assert cache.held_bytes == cache.size_bytes


def test_an_answer_past_its_time_is_kept_but_not_fresh() -> None:
    cache: AnswerCache[None] = AnswerCache(60.0, 10_000)
    cache.keep(b"1", b"x", 0.0)
    assert (cache.fresh(b"1", 59.0), cache.fresh(b"1", 60.0)) == (b"x", None)
    assert cache.any(b"1") == b"x"
    cache.keep(b"1", b"y", 60.0)
    assert cache.fresh(b"1", 61.0) == b"y"
    assert cache.held_bytes == ENTRY_BYTES + 2


def test_the_largest_caches_shrink_when_all_together_are_too_large() -> None:
    small, large = (AnswerCache[None](60.0, 1_000_000) for _ in range(2))
    small.keep(b"1", b"x" * 100, 0.0)
    for n in range(100):
        large.keep(b"%d" % n, b"x" * 1000, 0.0)
    bound_all([small, large], 50_000)
    assert small.any(b"1") is not None
    assert 45_000 < small.held_bytes + large.held_bytes <= 50_000


# --- instead


def fallen(chain: tuple[str, ...], refusal: Refusal, small: Outcome = NONE) -> Any:
    """What a client of `svc` gets when it refuses, and `small` answers so."""
    got: list[Any] = []

    async def test(shell: FakeShell, answers: Answers) -> None:
        await filled(shell, answers)
        answers.caches["svc"].ttl_s = 0.0
        answers.caches["svc"].keep(b"1", b"old", 0.0)
        number, waiter, is_hit = answers.submit("svc", b"1", 100.0)
        assert not is_hit
        await shell.answer(number, refusal)
        numbers = [number]
        settling = asyncio.ensure_future(settle(answers, "svc", b"1", 100.0, None, waiter, numbers))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if len(numbers) > 1 and numbers[1]:
            assert shell.sent[numbers[1]] == ("small", b"1", 100.0)
            await shell.answer(numbers[1], small)
        got.append(await settling)
        got.append(dict(shell.stats.fallbacks))
        assert shell.instead == ["svc"] * shell.stats.fallbacks.total()

    run(test, routed(1, fallback=chain))
    return got


@pytest.mark.parametrize("reason", ["no_worker", "too_slow", "queue_full", "deadline"])
def test_another_service_answers_first(reason: Any) -> None:
    refusal = Refusal(reason, "not now", 1)
    [outcome, counts] = fallen(("small", "static:null"), refusal, Output(b"small's"))
    assert outcome == (Output(b"small's"), "small")
    assert counts == {("svc", "small"): 1}


def test_then_what_follows_in_order() -> None:
    assert fallen(("small", "cache", "static:1"), NONE)[0] == (Output(b"old"), "cache")
    assert fallen(("small", "static:1", "cache"), NONE)[0] == (Output(b"1"), "static:1")


def test_where_all_fail_the_error_names_each() -> None:
    [(refusal, entry), counts] = fallen(("small",), Refusal("too_slow", "3 s", 3))
    assert (refusal.reason, refusal.retry_after_s, entry) == ("too_slow", 3, "")
    assert refusal.message == "svc: 3 s; small: no worker of it is ready"
    assert counts == {}


@pytest.mark.parametrize("may_share", [True, False])
def test_a_fallback_keeps_nothing_of_a_request_that_is_not_to_be_stored(*, may_share: bool) -> None:
    async def test(shell: FakeShell, answers: Answers) -> None:
        known = routed(1, fallback=("small",))
        kept = ServiceSettings(cache_ttl_s=60.0, cache_bytes=10_000)
        answers.change_routes(replace(known, settings={**known.settings, "small": kept}))
        number, waiter, _ = answers.submit("svc", b"1", 100.0, may_share=may_share)
        await shell.answer(number, NONE)
        settling = asyncio.ensure_future(
            settle(answers, "svc", b"1", 100.0, None, waiter, [number], may_share=may_share)
        )
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await shell.answer(number + 1, Output(b"small's"))
        assert await settling == (Output(b"small's"), "small")
        assert (answers.caches["small"].any(b"1") is not None) == may_share

    run(test, routed(1))


def test_what_the_request_itself_caused_has_no_fallback() -> None:
    refusal = Refusal("bad_input", "no such colour")
    assert fallen(("static:1",), refusal)[0] == (refusal, "")


def test_a_service_that_follows_has_the_last_quarter_of_the_time() -> None:
    assert first_deadline_s(("cache", "small"), 100.0, 104.0) == 100.0 + 4 * FIRST_SHARE
    assert first_deadline_s(("cache", "static:1"), 100.0, 104.0) == 104.0
