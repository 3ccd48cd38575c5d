"""The loop over real sockets: others are answered between the parts of a question."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from support.core.sites import job
from support.programs.live_scheduler import WITHIN_S, SiteDirectory, until
from support.programs.stepped_loop import SteppedLoop, stepped_loop
from wattline_protocol.ids import Instant, Now
from wattline_protocol.wire.client_messages import (
    Explain,
    Explained,
    GetPower,
    GetSite,
    ListEvents,
    ListJobs,
    Power,
    Response,
    Submit,
    Submitted,
)
from wattline_scheduler.core.model.effects import Effect
from wattline_scheduler.shell.clients import client_turns
from wattline_scheduler.shell.clients.client_turns import CLIENTS_S
from wattline_scheduler.shell.run import read_clock


class Slow:
    """A clock by which a step's time for clients is over after one thing was served."""

    def __init__(self) -> None:
        self._looks = 0

    def __call__(self) -> Now:
        self._looks += 1
        now = read_clock()
        return Now(Instant(now.mono_s + self._looks * CLIENTS_S), now.unix_s)


class Stepped(SteppedLoop):
    """The loop of a scheduler."""

    def comes_in(self) -> None:
        """Wait until the scheduler has something to read."""
        assert self.sockets.clients.socket.poll(int(WITHIN_S * 1000))


@pytest.fixture
def stepped(directory: SiteDirectory, state: Path) -> Iterator[Stepped]:
    with stepped_loop(Stepped, directory, state, Slow()) as stepped, closing(stepped.loop):
        yield stepped


def test_others_are_answered_between_the_parts_of_a_question(
    stepped: Stepped, directory: SiteDirectory
) -> None:
    ada, bob = (stepped.client(directory.bundle(name)) for name in ("ada", "bob"))
    submitted = stepped.ask(ada, Submit(job().build(), "token")).answer
    assert isinstance(submitted, Submitted)
    ada.start(Explain(submitted.job))
    stepped.comes_in()
    stepped.step()
    assert isinstance(stepped.ask(bob, GetPower()).answer, Power)
    assert not ada.receive()
    explained = stepped.next(ada)
    assert isinstance(explained, Response)
    assert isinstance(explained.answer, Explained)
    assert explained.answer.explain.state == "PENDING"


def test_what_is_due_has_the_third_step_after_an_overrun_for_itself(
    stepped: Stepped, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_turns, "OVERRUN_CPU_S", -1.0)
    due: list[int] = []
    handle_due = stepped.loop._handle_due

    def noted() -> list[Effect]:
        due.append(stepped.steps)
        return handle_due()

    monkeypatch.setattr(stepped.loop, "_handle_due", noted)
    for _ in range(6):
        stepped.step()
    assert due == [2, 5]


FLOOD = 40
ROUND = 10
"""Steps in each of which one thing is served: of two lanes of another member, and of its own."""


def test_a_flood_of_one_member_costs_another_one_a_round_of_turns(
    stepped: Stepped, directory: SiteDirectory
) -> None:
    ada, *floods = (stepped.client(directory.bundle(name)) for name in ("ada", "bob", "bob"))
    for request in (ListEvents(-10_000, 10_000), ListJobs(), GetSite(), GetPower()) * FLOOD:
        for flood in floods:
            flood.start(request)
    stepped.comes_in()
    stepped.step()
    for number in range(5):
        began = stepped.steps
        submitted = stepped.ask(ada, Submit(job().build(), str(number))).answer
        assert isinstance(submitted, Submitted)
        assert stepped.steps - began <= ROUND, "2 × 4 × 40 requests of another member wait"
    until(lambda: stepped.step_until_told(floods[0]), "the flood is answered beside it")
