"""An operator acknowledges a problem: it stays open, and shows the acknowledgement."""

import pytest

from support.core.harness import Harness, joined
from support.core.sites import site
from wattline_protocol.ids import NodeId, UserName
from wattline_protocol.wire.client_messages import AckProblem, Denied, Done
from wattline_protocol.wire.event_log import ListProblems
from wattline_protocol.wire.problems import Acknowledgement, ProblemView
from wattline_scheduler.views.problems_view import problem_list


@pytest.fixture
def h() -> Harness:
    """A node is silent."""
    h = joined(site().rack("a", 2).build())
    h.cut_off.add(NodeId("a1"))
    h.run(20.0)
    return h


def silent(h: Harness) -> ProblemView:
    found = problem_list(h.cluster.state, ListProblems(ended=True)).problems
    return next(one for one in found if one.kind == "node_silent")


def test_it_stays_open_with_who_when_and_why(h: Harness) -> None:
    answer = h.ask(AckProblem(silent(h).number, "cable ordered"), user="olga")
    assert answer == Done("a1: node does not report: acknowledged (cable ordered)")
    view = silent(h)
    assert view.until_unix_s is None
    assert view.acknowledged == Acknowledgement(UserName("olga"), h.now.unix_s, "cable ordered")
    assert view.acknowledged.text == "olga: cable ordered"
    act = h.acts()[-1]
    assert (act.kind, act.actor, act.node) == ("problem_acknowledged", "olga", "a1")


def test_it_survives_a_restart_and_new_evidence(h: Harness) -> None:
    h.ask(AckProblem(silent(h).number), user="olga")
    h.run(5.0)
    h.restart_scheduler()
    acknowledged = silent(h).acknowledged
    assert acknowledged is not None
    assert acknowledged.by == "olga"


def test_it_can_be_withdrawn_once(h: Harness) -> None:
    number = silent(h).number
    h.ask(AckProblem(number))
    assert isinstance(h.ask(AckProblem(number, withdraw=True)), Done)
    assert silent(h).acknowledged is None
    answer = h.ask(AckProblem(number, withdraw=True))
    assert isinstance(answer, Denied)
    assert answer.reason == f"problem {number} is not acknowledged"


def test_what_has_ended_or_never_began_is_refused_by_name(h: Harness) -> None:
    number = silent(h).number
    unknown = h.ask(AckProblem(999_999))
    assert isinstance(unknown, Denied)
    assert unknown.kind == "not_found"
    h.cut_off.clear()
    h.run(20.0)
    ended = h.ask(AckProblem(number))
    assert isinstance(ended, Denied)
    assert "has ended" in ended.reason
