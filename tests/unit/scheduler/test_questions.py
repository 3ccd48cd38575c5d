"""Questions that take long are answered one a step, each of them once, in turn."""

import pytest

from support.harness import Harness
from support.sites import job
from wattline_protocol.ids import JobId, UserName
from wattline_protocol.requests import Denied, Explain, Explained, WhatIf
from wattline_scheduler.core.effects import Reply
from wattline_scheduler.shell import questions
from wattline_scheduler.shell.questions import QuestionDesk
from wattline_scheduler.shell.reads import Reads

ADA = UserName("ada")


@pytest.fixture
def desk(reads: Reads) -> QuestionDesk:
    return QuestionDesk(reads)


def told(h: Harness, desk: QuestionDesk) -> Reply:
    (reply,) = desk.answer_next(h.now)
    return reply


def test_one_at_a_time_is_answered_in_the_order_asked(h: Harness, desk: QuestionDesk) -> None:
    runs, waits = h.submit(job().gpus(8)), h.submit(job().gpus(8))
    asked: list[Explain | WhatIf] = [Explain(waits), WhatIf(job().gpus(1).build())]
    asked += [Explain(JobId(77)), Explain(runs)]
    for ask, request in enumerate(asked):
        assert not desk.put(b"c", ask, ADA, request)
    replies = [told(h, desk) for _ in range(4)]
    assert [(reply.client, reply.ask) for reply in replies] == [(b"c", n) for n in range(4)]
    explained = [r.answer.explain for r in replies if isinstance(r.answer, Explained)]
    assert [(view.job, view.state) for view in explained] == [
        (waits, "PENDING"),
        (0, "PENDING"),
        (runs, "RUNNING"),
    ]
    assert isinstance(replies[2].answer, Denied)
    assert not desk
    assert not desk.answer_next(h.now)


def test_it_is_answered_as_things_stand_when_it_is_its_turn(h: Harness, desk: QuestionDesk) -> None:
    h.submit(job().gpus(8))
    waits = h.submit(job().gpus(8))
    desk.put(b"c", 1, ADA, Explain(waits))
    h.end_tasks()
    answer = told(h, desk).answer
    assert isinstance(answer, Explained)
    assert answer.explain.state == "RUNNING"


def test_more_than_may_wait_are_refused(
    h: Harness, desk: QuestionDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "MAX_WAITING", 2)
    number = h.submit(job())
    assert not any(desk.put(b"c", ask, ADA, Explain(number)) for ask in (1, 2))
    (refused,) = desk.put(b"d", 3, ADA, Explain(number))
    assert (refused.client, refused.ask) == (b"d", 3)
    assert refused.answer == Denied("busy", "2 questions wait for their answers; try again")
    assert told(h, desk).ask == 1
    assert not desk.put(b"d", 4, ADA, Explain(number))
