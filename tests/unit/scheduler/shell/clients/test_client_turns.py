"""Who is served when: members in turn, long work in parts, and no step longer than it may be."""

from functools import partial

import pytest

from support.core.harness import Harness
from support.core.sites import job
from support.programs.client_pipe import greeted
from wattline_protocol.ids import Instant, JobId, Now, UnixTime
from wattline_protocol.wire.agent_messages import PROTOCOL_VERSION
from wattline_protocol.wire.client_messages import (
    Answer,
    Ask,
    ClientHello,
    Denied,
    Done,
    Explain,
    Explained,
    GetPower,
    Request,
    WhatIf,
)
from wattline_scheduler.core.model.effects import Effect, Reply
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.shell.clients import client_turns
from wattline_scheduler.shell.clients.client_endpoint import Session
from wattline_scheduler.shell.clients.client_turns import (
    CLIENTS_S,
    OVERRUN_CPU_S,
    PART_S,
    ClientTurns,
)
from wattline_scheduler.shell.clients.questions import Reads
from wattline_scheduler.time_slices import Parts

MANY = 1_000
COST_S = 0.004
"""Of each plain request."""


class Clock:
    """Time goes on a little each time that somebody looks, and where work is done."""

    def __init__(self) -> None:
        self.passed_s = 0.0
        self.look_s = 0.0

    def __call__(self) -> Now:
        self.passed_s += self.look_s
        return Now(Instant(self.passed_s), UnixTime(self.passed_s))


def fails(_session: Session, _ask: int, _what: str, error: Exception) -> list[Effect]:
    raise error


class Scene:
    """Clients of some members, and what becomes of what they ask."""

    def __init__(self, reads: Reads | None = None) -> None:
        self.pipe, self.endpoint = greeted(b"ada", "ada")
        self.clock, self._reads = Clock(), reads
        self.turns = ClientTurns(self.endpoint, self.clock, self._answer, fails, self._used_s)
        self.cost_s = COST_S
        self.order: list[tuple[bytes, int]] = []
        """Plain requests in the order in which they were served."""

    def _used_s(self) -> float:
        """CPU time so far."""
        return self.clock.passed_s

    def joins(self, user: str) -> None:
        self.pipe.arrives(ClientHello(PROTOCOL_VERSION, "t"), user.encode(), user=user)
        self.turns.take_in()
        assert self.turns.serve() == []

    def asks(self, user: str, ask: int, request: Request | None = None) -> None:
        self.pipe.arrives(Ask(ask, request or GetPower()), user.encode(), user=user)

    def step(self) -> list[Reply]:
        self.turns.take_in()
        return [effect for effect in self.turns.serve() if isinstance(effect, Reply)]

    def all_told(self) -> list[Reply]:
        return [reply for _ in range(MANY) for reply in self.step()]

    def _answer(self, session: Session, ask: Ask) -> list[Effect]:
        match ask.request:
            case Explain(job=number):
                assert self._reads is not None
                return self.turns.later(session, ask.ask, partial(self._reads.explain, number))
            case WhatIf():
                assert self._reads is not None
                asker = Asker(session.user, session.role)
                look = partial(self._reads.what_if, asker, ask.request)
                return self.turns.later(session, ask.ask, look)
            case _:
                self.clock.passed_s += self.cost_s
                self.order.append((session.connection, ask.ask))
                return [Reply(session.connection, ask.ask, Done(""))]

    def works(self, user: str, ask: int, parts: int, part_s: float = PART_S) -> list[Effect]:
        """Long work of so many parts, which then says Done."""
        session = self.endpoint.sessions[user.encode()]

        def begin(now: Now) -> Parts[Answer]:
            for _ in range(parts):
                self.clock.passed_s += part_s
                yield
            return Done(f"after {parts}")

        return self.turns.later(session, ask, begin)


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture
def asked(reads: Reads) -> Scene:
    return Scene(reads)


def test_a_flood_of_one_member_is_served_between_others(scene: Scene) -> None:
    scene.joins("bob")
    for ask in range(400):
        scene.asks("ada", ask)
    scene.asks("bob", 1)
    scene.step()
    assert scene.order.index((b"bob", 1)) <= 2, "one quantum of the other member comes before"


def test_a_step_serves_clients_no_longer_than_it_may(scene: Scene) -> None:
    for ask in range(100):
        scene.asks("ada", ask)
    served = 0
    while served < 100:
        began_s = scene.clock.passed_s
        served += len(scene.step())
        assert scene.clock.passed_s - began_s < CLIENTS_S + COST_S
        assert scene.turns.next_in_s() is not None or served == 100


def test_after_an_overrun_clients_have_a_step_and_then_what_is_due(scene: Scene) -> None:
    scene.joins("bob")
    scene.cost_s = 2 * OVERRUN_CPU_S
    scene.asks("ada", 1)
    seen = [([reply.client for reply in scene.step()], scene.turns.defers_due)]
    scene.asks("bob", 1)
    scene.asks("ada", 2)
    seen += [([reply.client for reply in scene.step()], scene.turns.defers_due) for _ in range(3)]
    assert seen == [([b"ada"], True), ([b"bob"], True), ([], False), ([b"ada"], True)]


def test_a_member_that_used_up_its_allowance_waits_and_others_do_not(scene: Scene) -> None:
    scene.joins("bob")
    allowance = round(client_turns.LIMITS.burst_s / (COST_S * (1 - client_turns.LIMITS.share)))
    for ask in range(allowance + 200):
        scene.asks("ada", ask)
    while (wait_s := scene.turns.next_in_s()) is None or wait_s == 0.0:
        scene.step()
    assert scene.turns.next_in_s() == pytest.approx(2 * PART_S, abs=2 * PART_S)
    scene.asks("bob", 1)
    (reply,) = scene.step()
    assert reply.client == b"bob"
    scene.clock.passed_s += 1.0
    assert {reply.client for reply in scene.step()} == {b"ada"}


def test_requests_beyond_what_may_wait_are_answered_busy(scene: Scene) -> None:
    for ask in range(client_turns.LIMITS.items + 3):
        scene.asks("ada", ask)
    while scene.pipe.arriving:
        scene.turns.take_in()
    busy = [
        reported.ask for reported in scene.pipe.responses() if isinstance(reported.answer, Denied)
    ]
    assert busy == [client_turns.LIMITS.items + n for n in range(3)]


def test_long_work_of_a_member_holds_up_neither_others_nor_itself(scene: Scene) -> None:
    scene.joins("bob")
    assert not scene.works("ada", 99, parts=50)
    for ask in (1, 2):
        scene.asks("ada", ask)
        scene.asks("bob", ask)
        done = scene.step()
        assert {(reply.client, reply.ask) for reply in done} == {(b"ada", ask), (b"bob", ask)}
    assert [reply.ask for reply in scene.all_told()] == [99]


def test_long_work_of_two_members_goes_on_in_turn(scene: Scene) -> None:
    scene.joins("bob")
    scene.works("ada", 1, parts=100)
    scene.works("bob", 2, parts=3)
    assert [reply.ask for reply in scene.all_told()] == [2, 1]


def test_more_long_work_than_may_wait_is_refused(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_turns, "MAX_LONG", 2)
    scene.joins("bob")
    assert not any(scene.works("ada", ask, parts=1) for ask in (1, 2))
    (refused,) = scene.works("ada", 3, parts=1)
    assert isinstance(refused, Reply)
    text = "2 queries of ada are unanswered; retry later"
    assert (refused.ask, refused.answer) == (3, Denied("busy", text))
    assert not scene.works("bob", 4, parts=1)
    assert sorted(reply.ask for reply in scene.all_told()) == [1, 2, 4]


def test_work_of_clients_that_are_gone_is_dropped(scene: Scene) -> None:
    scene.works("ada", 1, parts=50)
    scene.works("ada", 2, parts=50)
    scene.step()
    scene.endpoint.end(scene.endpoint.sessions[b"ada"])
    assert scene.all_told() == []
    assert scene.turns.next_in_s() is None


# --- explanations -------------------------------------------------------------------------


def said(reply: Reply) -> tuple[object, ...]:
    """All but the time, which has gone on."""
    assert isinstance(reply.answer, Explained)
    view = reply.answer.explain
    return view.state, view.reason, view.refusals, view.start_why, view.remedies


def test_questions_of_a_member_are_answered_in_the_order_asked(h: Harness, asked: Scene) -> None:
    runs, waits = h.submit(job().gpus(8)), h.submit(job().gpus(8))
    questions: list[Explain | WhatIf] = [Explain(waits), WhatIf(job().gpus(1).build())]
    questions += [Explain(JobId(77)), Explain(runs)]
    for ask, request in enumerate(questions):
        asked.asks("ada", ask, request)
    replies = asked.all_told()
    assert [(reply.client, reply.ask) for reply in replies] == [(b"ada", n) for n in range(4)]
    views = [r.answer.explain for r in replies if isinstance(r.answer, Explained)]
    assert [(view.job, view.state) for view in views] == [
        (waits, "PENDING"),
        (0, "PENDING"),
        (runs, "RUNNING"),
    ]
    assert isinstance(replies[2].answer, Denied)


def test_a_question_in_parts_is_answered_as_at_once_and_of_one_moment(
    h: Harness, asked: Scene
) -> None:
    h.submit(job().gpus(8).runtime(3_600))
    waits = h.submit(job().gpus(8))
    asked.asks("ada", 1, Explain(waits))
    (at_once,) = asked.step()
    asked.clock.look_s = CLIENTS_S  # a step is over after one part
    asked.asks("ada", 2, Explain(waits))
    steps = 0
    while not (replies := asked.step()):
        steps += 1
        if steps == 2:
            h.end_tasks()
            assert h.state_of(waits) == "RUNNING"
    assert steps > 2
    assert [said(reply) for reply in replies] == [said(at_once)]
