"""Questions that take long are answered in turn, each of them once, a few milliseconds a step."""

import pytest

from support.harness import Harness
from support.sites import job
from wattline_protocol.ids import Instant, JobId, Now, UserName
from wattline_protocol.requests import Denied, Explain, Explained, WhatIf
from wattline_scheduler.core.effects import Reply
from wattline_scheduler.core.selecting import Asker
from wattline_scheduler.shell import questions
from wattline_scheduler.shell.questions import TURN_S, QuestionDesk
from wattline_scheduler.shell.reads import Reads

ADA = Asker(UserName("ada"), "operator")

MANY = 1_000


class Clock:
    """Time goes on a little each time that somebody looks."""

    def __init__(self, h: Harness) -> None:
        self._h = h
        self.passed_s = 0.0
        self.step_s = 0.0

    def __call__(self) -> Now:
        self.passed_s += self.step_s
        return Now(Instant(self._h.mono_s + self.passed_s), self._h.now.unix_s)


@pytest.fixture
def clock(h: Harness) -> Clock:
    return Clock(h)


@pytest.fixture
def gone() -> set[bytes]:
    """Clients that are not there any more."""
    return set()


@pytest.fixture
def desk(reads: Reads, clock: Clock, gone: set[bytes]) -> QuestionDesk:
    return QuestionDesk(reads, clock, lambda client: client not in gone)


def told(desk: QuestionDesk) -> Reply:
    (reply,) = next(filter(None, (desk.take_turn() for _ in range(MANY))))
    return reply


def said(reply: Reply) -> tuple[object, ...]:
    """All but the time, which has gone on."""
    assert isinstance(reply.answer, Explained)
    view = reply.answer.explain
    return view.state, view.reason, view.refusals, view.start_why, view.remedies


def answered_at_once(h: Harness, desk: QuestionDesk) -> tuple[JobId, tuple[object, ...]]:
    """A job that waits for another one, and what is said of it in one turn."""
    h.submit(job().gpus(8).runtime(3_600))
    waits = h.submit(job().gpus(8))
    desk.put(b"c", 1, ADA, Explain(waits))
    (reply,) = desk.take_turn()
    return waits, said(reply)


def test_one_at_a_time_is_answered_in_the_order_asked(h: Harness, desk: QuestionDesk) -> None:
    runs, waits = h.submit(job().gpus(8)), h.submit(job().gpus(8))
    asked: list[Explain | WhatIf] = [Explain(waits), WhatIf(job().gpus(1).build())]
    asked += [Explain(JobId(77)), Explain(runs)]
    for ask, request in enumerate(asked):
        assert not desk.put(b"c", ask, ADA, request)
    replies = [told(desk) for _ in range(4)]
    assert [(reply.client, reply.ask) for reply in replies] == [(b"c", n) for n in range(4)]
    views = [r.answer.explain for r in replies if isinstance(r.answer, Explained)]
    assert [(view.job, view.state) for view in views] == [
        (waits, "PENDING"),
        (0, "PENDING"),
        (runs, "RUNNING"),
    ]
    assert isinstance(replies[2].answer, Denied)
    assert not desk
    assert not desk.take_turn()


def test_it_is_answered_as_things_stand_when_it_is_its_turn(h: Harness, desk: QuestionDesk) -> None:
    h.submit(job().gpus(8))
    waits = h.submit(job().gpus(8))
    desk.put(b"c", 1, ADA, Explain(waits))
    h.end_tasks()
    assert said(told(desk))[0] == "RUNNING"


def test_a_turn_is_over_in_time_and_the_answer_is_the_same(
    h: Harness, desk: QuestionDesk, clock: Clock
) -> None:
    waits, at_once = answered_at_once(h, desk)
    clock.step_s = TURN_S / 3
    desk.put(b"c", 2, ADA, Explain(waits))
    turns = 0
    while len(desk):
        began_s, replies = clock.passed_s, desk.take_turn()
        assert clock.passed_s - began_s <= TURN_S + 2 * clock.step_s
        turns += 1
    assert turns > 3
    assert [said(reply) for reply in replies] == [at_once]


def test_what_happens_between_turns_is_not_in_the_answer(
    h: Harness, desk: QuestionDesk, clock: Clock
) -> None:
    waits, before = answered_at_once(h, desk)
    clock.step_s = TURN_S
    desk.put(b"c", 2, ADA, Explain(waits))
    assert not desk.take_turn()
    h.end_tasks()
    assert h.state_of(waits) == "RUNNING"
    assert said(told(desk)) == before


def test_questions_of_clients_that_are_gone_are_dropped(
    h: Harness, desk: QuestionDesk, clock: Clock, gone: set[bytes]
) -> None:
    h.submit(job().gpus(8))
    waits = h.submit(job().gpus(8))
    clock.step_s = TURN_S
    for client, ask in ((b"a", 1), (b"b", 2), (b"a", 3), (b"c", 4)):
        desk.put(client, ask, ADA, Explain(waits))
    assert not desk.take_turn()  # the first is being answered
    gone.add(b"a")
    replies = told(desk), told(desk)
    assert [(reply.client, reply.ask) for reply in replies] == [(b"b", 2), (b"c", 4)]
    assert not desk


def test_more_than_may_wait_are_refused(
    h: Harness, desk: QuestionDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "MAX_WAITING", 2)
    number = h.submit(job())
    assert not any(desk.put(b"c", ask, ADA, Explain(number)) for ask in (1, 2))
    (refused,) = desk.put(b"d", 3, ADA, Explain(number))
    assert (refused.client, refused.ask) == (b"d", 3)
    assert refused.answer == Denied("busy", "2 questions wait for their answers; try again")
    assert told(desk).ask == 1
    assert not desk.put(b"d", 4, ADA, Explain(number))
