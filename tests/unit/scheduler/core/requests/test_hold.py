"""Holds of operators: the owner of a job does not undo what an operator did to it."""

import pytest

from support.core.harness import Harness, joined
from support.core.sites import job, site
from wattline_protocol.ids import JobId
from wattline_protocol.job.selection import only
from wattline_protocol.wire.client_messages import (
    Acted,
    Cancel,
    Denied,
    Hold,
    OnJobs,
    Release,
    Requeue,
)
from wattline_scheduler.core.lifecycle.job_state import reason_of
from wattline_scheduler.core.model.jobs.job import CRASHES_HELD


@pytest.fixture
def h() -> Harness:
    return joined(site().rack("a", 2).build())


def by_owner(h: Harness, request: OnJobs) -> str:
    """The refusal that ada, a submitter, gets; "" = it was done."""
    answer = h.ask(request, user="ada", role="submitter")
    h.settle()
    assert isinstance(answer, Acted | Denied)
    return answer.reason if isinstance(answer, Denied) else ""


def reason(h: Harness, number: JobId) -> str:
    return reason_of(h.job(number), h.state_of(number))


@pytest.mark.parametrize("is_held_already", [False, True], ids=["waits", "held by its owner"])
def test_what_an_operator_holds_only_operators_release(h: Harness, is_held_already: bool) -> None:
    h.submit(job().gpus(8).nodes(2))
    number = h.submit(job().gpus(8))
    if is_held_already:
        assert not by_owner(h, Hold(only(number)))
    h.do(Hold(only(number)))
    assert reason(h, number) == "held by ops until an operator releases it"
    h.restart_scheduler()
    h.join()
    reported = by_owner(h, Release(only(number)))
    assert reported == f"job {number} is held by ops; only operators may release it"
    assert not by_owner(h, Hold(only(number))), "which changes nothing"
    assert by_owner(h, Release(only(number)))
    h.do(Release(only(number)))
    assert h.state_of(number) == "PENDING"
    assert not by_owner(h, Hold(only(number)))
    assert reason(h, number) == "held until released"
    assert not by_owner(h, Release(only(number)))


def test_indices_that_an_operator_holds_stay_held(h: Harness) -> None:
    number = h.submit(job().array(3).gpus(8).nodes(2))
    h.do(Hold(only(number, 1)))
    assert by_owner(h, Release(only(number, 1)))
    h.do(Release(only(number, 1)))
    assert not by_owner(h, Hold(only(number, 2)))
    assert not by_owner(h, Release(only(number, 2)))


def test_a_hold_is_over_with_the_index_that_was_held(h: Harness) -> None:
    number = h.submit(job().array(3).gpus(8).nodes(2))
    h.do(Hold(only(number, 1)))
    assert not by_owner(h, Cancel(only(number, 1)))
    assert not by_owner(h, Hold(only(number, 2)))
    assert not by_owner(h, Release(only(number, 2)))


def test_a_crash_loop_is_not_what_an_operator_holds(h: Harness) -> None:
    """It was held by nobody: its owner lets it try again once the operator has released theirs."""
    number = h.submit(job().array(2).gpus(8).retries(CRASHES_HELD))
    for _ in range(CRASHES_HELD):
        h.agent(h.gang(number).live[0].node).end(h.gang(number).live[0].record.ref, 3)
        h.run(130)
    h.do(Hold(only(number, 1)))
    assert by_owner(h, Release(only(number, 0)))
    h.do(Release(only(number, 1)))
    assert not by_owner(h, Release(only(number, 0)))


def test_an_operators_own_job_is_held_as_anybodys(h: Harness) -> None:
    number = h.submit(job().gpus(8), user="ops")
    h.do(Hold(only(number)))
    assert h.job(number).record.held_by == ""


def test_a_requeue_after_the_end_begins_without_the_hold(h: Harness) -> None:
    number = h.submit(job().gpus(8).held())
    h.do(Hold(only(number)))
    assert not by_owner(h, Cancel(only(number)))
    assert not by_owner(h, Requeue(only(number), "t"))
    assert h.state_of(number) == "RUNNING"
    assert h.job(number).record.held_by == ""


def test_each_act_on_a_job_says_in_its_event_what_was_done(h: Harness) -> None:
    number = h.submit(job("burn").gpus(1))
    which = only(number)
    for request in (Hold(which), Release(which), Requeue(which, token="t"), Cancel(which)):
        h.do(request)
    events = [event for event in h.cluster.state.journal.events if event.job == number]
    assert [event.text for event in events if event.actor != "scheduler"] == [
        "'burn' is submitted (batch, 1 × 1 task)",
        "'burn' is held",
        "'burn' is released",
        "'burn' is requeued",
        "'burn' is cancelled",
    ]
