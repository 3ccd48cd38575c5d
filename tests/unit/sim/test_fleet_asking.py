"""A client of the fleet simulation that asks until it is answered."""

from dataclasses import dataclass, field
from typing import cast

from support.core.sites import job
from wattline_protocol.ids import JobId, UserName
from wattline_protocol.wire.client_messages import Answer, Denied, Request, Submit, Submitted
from wattline_sim.fleet.scheduler_shell import SchedulerShell
from wattline_sim.fleet.site import ASK_AGAIN_S, FleetSite


@dataclass
class Stalled:
    """A scheduler that keeps requests; the test answers them."""

    asked: list[int] = field(default_factory=list)
    answers: dict[int, Answer] = field(default_factory=dict)

    def ask(self, ask: int, request: Request, user: UserName) -> None:
        del request, user
        self.asked.append(ask)


def test_the_denial_of_an_earlier_try_is_no_answer_to_the_last() -> None:
    fleet, scheduler, heard = FleetSite(0), Stalled(), list[Answer]()
    fleet.scheduler = cast("SchedulerShell", scheduler)
    fleet.insist(Submit(job("echo").build(), "t"), heard.append)
    run(fleet, 1.5 * ASK_AGAIN_S)
    first, second = scheduler.asked
    scheduler.answers[first] = Denied("conflict", "a rollout of echo is in progress")
    run(fleet, ASK_AGAIN_S)  # it crashed before it answered the second try, which it had accepted
    assert not heard
    (third,) = set(scheduler.asked) - {first, second}
    scheduler.answers[third] = Submitted(JobId(9))
    run(fleet, 3 * ASK_AGAIN_S)
    assert heard == [Submitted(JobId(9))]
    assert len(scheduler.asked) == 3


def run(fleet: FleetSite, seconds: float) -> None:
    end_s = fleet.world.now_s + seconds
    is_over = list[bool]()
    fleet.world.at(end_s, lambda: is_over.append(True))
    while not is_over:
        fleet.world.step()
