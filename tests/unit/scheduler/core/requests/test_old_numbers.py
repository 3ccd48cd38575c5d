"""Numbers of jobs that are not in memory: too old, left out by a recovery, or of no job at all."""

import pytest

from support.core.harness import Harness, joined
from support.core.sites import job, site
from wattline_protocol.ids import JobId, UserName
from wattline_protocol.job.selection import Selection, Span, only
from wattline_protocol.wire.client_messages import Cancel, Denied, Requeue
from wattline_scheduler.core.model.events import ClientRequest
from wattline_scheduler.core.model.jobs import job_index
from wattline_scheduler.core.requests.bulk_actions import named


@pytest.fixture
def h() -> Harness:
    return joined(site().rack("a", 1).build())


def test_what_ended_too_long_ago_says_that_it_is_not_kept(
    h: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_index, "MAX_ENDED_JOBS", 1)
    old, new = h.submit(job().held()), h.submit(job().held())
    for number in (old, new):
        h.do(Cancel(only(number)))
    assert h.do(Requeue(only(new), "t"))
    for act in (Requeue(only(old), "u"), Cancel(only(old))):
        h.handle(ClientRequest(b"c", 9_999, UserName("ops"), "operator", act, {old: "CANCELLED"}))
        denied = h.replies[9_999]
        assert isinstance(denied, Denied)
        kept = "only the newest 10000 ended jobs can be changed"
        assert denied.reason == f"job {old} ended CANCELLED; {kept}: submit it again"


def test_a_number_that_a_recovery_left_out_is_not_taken_for_one_that_ended(h: Harness) -> None:
    h.cluster.state.next_job = JobId(5_000)
    first = h.submit(job().held())
    text = (
        "there is no job 17 on record: numbers below were skipped when a backup was restored; "
        "submit again what was submitted after the backup"
    )
    assert h.ask(Cancel(only(JobId(17)))) == Denied("not_found", text)
    assert h.refuse(job().after_ok(JobId(17))) == f"{text}; a job can depend only on existing jobs"
    never = h.ask(Cancel(only(JobId(first + 1))))
    assert never == Denied("not_found", f"there is no job {first + 1}")


def test_as_many_jobs_are_looked_for_on_disk_as_one_request_acts_on() -> None:
    spans = (Span(JobId(5), JobId(9_000)), Span(JobId(3), JobId(6)))
    assert named(Cancel(Selection(spans)))[:4] == (3, 4, 5, 6)
    assert len(named(Cancel(Selection(spans)))) == 1_000
    assert named(Cancel(Selection(spans), after=JobId(8_998))) == (8_999, 9_000)
    assert named(Cancel(Selection((Span(JobId(1), JobId(2**60)),)))) == ()


def test_what_leaves_memory_by_a_request_is_still_there_for_the_rest_of_it(
    h: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_index, "MAX_ENDED_JOBS", 3)
    held = h.submit(job().held())
    ended = [h.submit(job().held()) for _ in range(3)]
    for number in ended:
        h.do(Cancel(only(number)))
    oldest = ended[0]
    which = Selection((Span(held, held), Span(oldest, oldest, ((0, 0),))))
    answer = h.ask(Cancel(which), user="ada", role="submitter")
    assert f"job {oldest}[0] has already ended" in str(answer)
    assert oldest not in h.cluster.state.work.jobs
