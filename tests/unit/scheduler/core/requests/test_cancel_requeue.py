"""Cancel, hold, release and requeue: of jobs, of indices of arrays, and of many at a time."""

import pytest

from support.core.harness import Harness, joined, running
from support.core.sites import job, site
from wattline_protocol.ids import JobId
from wattline_protocol.job.selection import Selection, only, parse_jobs
from wattline_protocol.job.spec import ArraySpec
from wattline_protocol.wire.agent_messages import StopTask
from wattline_protocol.wire.client_messages import (
    Acted,
    Cancel,
    Denied,
    Hold,
    OnJobs,
    Release,
    Requeue,
    Restore,
    Shed,
)
from wattline_scheduler.core.model.jobs.job import Ended
from wattline_scheduler.core.requests import bulk_actions
from wattline_scheduler.records import GangRecord, JobRecord


@pytest.fixture
def h() -> Harness:
    return joined(site().rack("a", 2).build())


def requeue(which: Selection, token: str = "t", *, is_dry_run: bool = False) -> Requeue:
    return Requeue(which, token, is_dry_run)


def refusal(h: Harness, request: OnJobs, user: str = "ops") -> Denied:
    answer = h.ask(request, user=user, role="operator" if user == "ops" else "submitter")
    assert isinstance(answer, Denied), answer
    return answer


def acted(h: Harness, request: OnJobs, user: str = "ops") -> Acted:
    answer = h.ask(request, user=user, role="operator" if user == "ops" else "submitter")
    assert isinstance(answer, Acted), answer
    h.settle()
    return answer


def end_one(h: Harness, number: JobId, code: int = 0, gang: int = 0) -> None:
    attempt = h.gang(number, gang).live[0]
    h.agent(attempt.node).end(attempt.record.ref, code)
    h.settle()


def phases(h: Harness, number: JobId) -> list[str]:
    return [gang.phase_name for gang in h.job(number).gangs]


# --- requeue ----------------------------------------------------------------------------


def test_a_running_job_is_stopped_with_its_grace_and_runs_again(h: Harness) -> None:
    number = h.submit(job().gpus(1).grace(7).retries(0))
    h.effects.clear()
    said = h.do(requeue(only(number)))
    assert said == f"job {number} is requeued"
    stops = [m for name in h.agents for m in h.sent_to(name, StopTask)]
    assert [(m.grace_s, m.why) for m in stops if isinstance(m, StopTask)] == [
        (7, "requeued by ops")
    ]
    assert h.state_of(number) == "RUNNING"
    gang = h.gang(number)
    assert (gang.attempt, gang.failures, gang.losses, gang.refusals) == (2, 0, 0, 0)


def test_whether_the_stopped_try_ends_well_does_not_matter(h: Harness) -> None:
    """A task that saves and leaves with status 0 at its stop notice has not finished its work."""
    number = h.submit(job().gpus(1))
    h.cut_off.update(h.agents)
    h.do(requeue(only(number)))
    assert h.job(number).record.reason == ""
    h.cut_off.clear()
    end_one(h, number, 0)
    h.run(1)
    assert h.state_of(number) == "RUNNING"
    assert h.gang(number).attempt == 2


def test_a_paused_job_goes_back_too(h: Harness) -> None:
    number = h.submit(job().gpus(8))
    h.run(20)
    h.do(Shed(None, fraction=0.996))
    h.run(5)
    assert h.state_of(number) == "PAUSED"
    h.do(requeue(only(number)))
    h.run(2)
    assert h.state_of(number) == "PENDING"
    h.do(Restore(None))
    h.run(5)
    assert h.state_of(number) == "RUNNING"
    assert h.gang(number).attempt == 2


@pytest.mark.parametrize("restarts", [False, True])
def test_a_requeue_under_way_survives_a_restart_and_costs_nothing(
    h: Harness, restarts: bool
) -> None:
    number = h.submit(job().gpus(1))
    h.cut_off.update(h.agents)
    h.do(requeue(only(number)))
    if restarts:
        h.restart_scheduler()
    h.cut_off.clear()
    h.join()
    h.run(5)
    assert h.state_of(number) == "RUNNING"
    gang = h.gang(number)
    assert (gang.attempt, gang.failures, gang.losses) == (2, 0, 0)


def test_an_ended_job_is_queued_again_with_all_its_retries(h: Harness) -> None:
    number = h.submit(job().gpus(1).retries(1))
    for _ in range(2):
        end_one(h, number, 1)
        h.run(3)
    assert h.state_of(number) == "FAILED"
    h.do(requeue(only(number)))
    record = h.job(number).record
    assert (record.state, record.ended_unix_s) == ("RUNNING", None)
    assert len(h.cluster.state.work.open) == 1
    end_one(h, number, 1)
    h.run(3)
    assert h.state_of(number) == "RUNNING", "its retry is back"
    end_one(h, number, 1)
    assert h.state_of(number) == "FAILED"


def test_a_cancelled_job_is_not_cancelled_any_more_once_it_is_requeued(h: Harness) -> None:
    number = h.submit(job().gpus(1))
    h.do(Cancel(only(number)))
    h.do(requeue(only(number)))
    assert not h.job(number).record.cancelled_by
    h.restart_scheduler()
    h.join()
    h.run(3)
    h.end_tasks()
    assert h.state_of(number) == "COMPLETED"


def test_what_was_requeued_is_open_after_a_restart(h: Harness) -> None:
    number = h.submit(job().gpus(8).array(4).retries(0))
    end_one(h, number, 1, gang=0)
    h.do(Cancel(only(number)))
    h.do(Hold(Selection(users=("nobody",))))
    assert h.state_of(number) == "CANCELLED"
    h.do(requeue(only(number, 0)))
    h.restart_scheduler()
    h.join()
    h.run(3)
    assert phases(h, number) == ["running", "ended", "ended", "ended"]


def test_a_requeue_may_permit_a_start_at_step_0(h: Harness) -> None:
    number = h.submit(job().gpus(1).retries(0))
    end_one(h, number, 1)
    assert h.state_of(number) == "FAILED"
    done = h.do(Requeue(only(number), "t", from_scratch=True))
    assert done.endswith("requeued; it begins at step 0 if no checkpoint is intact")
    h.restart_scheduler()
    h.join()
    h.run(3)
    (attempt,) = h.gang(number).live
    assert h.agent(attempt.node).tasks[attempt.record.ref].order.from_scratch


def test_an_array_is_requeued_by_the_states_of_its_indices(h: Harness) -> None:
    number = h.submit(job().gpus(1).array(4))
    end_one(h, number, 1, gang=1)
    end_one(h, number, 0, gang=2)
    reported = acted(h, requeue(Selection(only(number).jobs, states=("FAILED",))))
    assert [(one.indices, one.tasks) for one in reported.jobs] == [("1", 1)]
    assert phases(h, number) == ["running", "running", "ended", "running"]
    assert [h.gang(number, n).attempt for n in range(4)] == [1, 2, 1, 1]


def test_a_whole_array_without_its_completed_indices(h: Harness) -> None:
    number = h.submit(job().gpus(1).array(3))
    end_one(h, number, 0, gang=0)
    assert acted(h, requeue(only(number))).jobs[0].tasks == 2
    assert [h.gang(number, n).attempt for n in range(3)] == [1, 2, 2]


def test_a_back_off_is_over_with_a_requeue(h: Harness) -> None:
    number = h.submit(job().gpus(1).retries(5))
    end_one(h, number, 1)
    assert h.state_of(number) == "PENDING"
    h.do(requeue(only(number)))
    assert h.state_of(number) == "RUNNING"
    assert h.gang(number).failures == 1, "a failure is not forgiven before the end"


def test_a_requeue_asked_twice_is_done_once(h: Harness) -> None:
    number = h.submit(job().gpus(1))
    first = acted(h, requeue(only(number), "once"))
    assert acted(h, requeue(only(number), "once")) == first
    assert h.gang(number).attempt == 2
    acted(h, requeue(only(number), "again"))
    assert h.gang(number).attempt == 3


def test_a_held_job_waits_for_its_release_after_the_requeue(h: Harness) -> None:
    number = h.submit(job().gpus(1))
    h.do(Hold(only(number)))
    assert "held until released" in h.do(requeue(only(number)))
    assert h.state_of(number) == "HELD"


def test_what_is_not_requeued_says_why(h: Harness) -> None:
    done, waiting, cancelled = (h.submit(job().gpus(8)) for _ in range(3))
    end_one(h, done)
    assert refusal(h, requeue(only(done), "a")) == Denied(
        "conflict", f"job {done} has completed; submit it again to repeat it"
    )
    held = h.submit(job().held())
    text = f"job {held} is held; release it with `wattline release`"
    assert refusal(h, requeue(only(held), "b")) == Denied("conflict", text)
    queued = h.submit(job().gpus(8).nodes(2))
    text = f"job {queued} is already queued"
    assert refusal(h, requeue(only(queued), "q")) == Denied("conflict", text)
    h.cut_off.update(h.agents)
    h.ask(Cancel(only(cancelled)))
    text = f"job {cancelled} is being cancelled; requeue it once it has ended"
    assert refusal(h, requeue(only(cancelled), "c")) == Denied("conflict", text)
    acted(h, requeue(only(waiting), "d"))
    text = f"job {waiting} is already being requeued"
    assert refusal(h, requeue(only(waiting), "e")) == Denied("conflict", text)
    assert refusal(h, requeue(only(waiting), "")).kind == "bad_request"


def test_an_ended_job_that_became_impossible_stays_ended(h: Harness) -> None:
    number = h.submit(job().gpus(8))
    h.do(Cancel(only(number)))
    for name in ("a1", "a2"):
        h.agent(name).gpus = h.agent(name).gpus[:4]
    h.join()
    h.run(2)
    denied = refusal(h, requeue(only(number)))
    assert denied.kind == "impossible"
    assert "no node has more than 4" in denied.reason


def test_a_requeue_is_in_the_audit_log(h: Harness) -> None:
    number = h.submit(job("sweep").gpus(1).array(3))
    h.do(requeue(only(number, 1, 2)))
    event = h.events("job_requeued")[0]
    assert (event.actor, event.job, event.text) == (
        "ops",
        number,
        f"'sweep': job {number}[1-2] is requeued",
    )


# --- indices ----------------------------------------------------------------------------


def test_some_indices_are_cancelled_and_the_others_run(h: Harness) -> None:
    number = h.submit(job().gpus(1).array(4))
    assert h.do(Cancel(only(number, 1, 3))) == f"job {number}[1,3] is being cancelled"
    assert phases(h, number) == ["running", "ended", "running", "ended"]
    h.end_tasks()
    assert h.state_of(number) == "CANCELLED"
    assert h.job(number).record.reason == "1: cancelled by ops"


def test_indices_being_cancelled_are_not_run_again_after_a_restart(h: Harness) -> None:
    number = h.submit(job().gpus(1).array(2))
    h.cut_off.update(h.agents)
    h.ask(Cancel(only(number, 0)))
    h.restart_scheduler()
    h.cut_off.clear()
    h.join()
    h.run(3)
    phase = h.gang(number, 0).phase
    assert phase == Ended("CANCELLED")
    assert phases(h, number)[1] == "running"


def test_some_indices_are_held_and_released(h: Harness) -> None:
    number = h.submit(job().gpus(8).array(4).held())
    assert h.do(Release(only(number, 2))) == f"job {number}[2] is released"
    assert phases(h, number) == ["pending", "pending", "running", "pending"]
    h.restart_scheduler()
    h.join()
    h.run(3)
    assert phases(h, number) == ["pending", "pending", "running", "pending"]
    h.do(Release(only(number, 0)))
    assert phases(h, number) == ["running", "pending", "running", "pending"]
    h.end_tasks()
    assert h.state_of(number) == "HELD", "all that waits is held"
    h.do(Release(only(number)))
    assert phases(h, number) == ["ended", "running", "ended", "running"]


def test_an_index_held_while_it_backs_off_stays_held(h: Harness) -> None:
    number = h.submit(job().gpus(1).array(2).retries(3))
    end_one(h, number, 1, gang=0)
    h.do(Hold(only(number, 0)))
    h.run(5)
    assert phases(h, number) == ["pending", "running"]
    h.do(Release(only(number, 0)))
    assert phases(h, number) == ["running", "running"]


def test_an_index_released_while_it_backs_off_waits_for_that(h: Harness) -> None:
    number = h.submit(job().gpus(1).array(2).retries(3))
    end_one(h, number, 1, gang=0)
    h.do(Hold(only(number, 0)))
    h.do(Release(only(number, 0)))
    assert phases(h, number) == ["pending", "running"]
    h.run(3)
    assert phases(h, number) == ["running", "running"]


def test_indices_are_those_of_the_users_array(h: Harness) -> None:
    number = h.submit(job().gpus(1)._with(array=ArraySpec((5, 6, 9))))
    reported = acted(h, Cancel(only(number, 5, 9)))
    assert reported.jobs[0].indices == "5,9"
    assert phases(h, number) == ["ended", "running", "ended"]


def test_indices_that_are_not_there_are_refused_with_those_that_are(h: Harness) -> None:
    array, plain = h.submit(job().gpus(1).array(4)), h.submit(job().gpus(1))
    text = f"job {array} has no index 7; it has 0-3"
    assert refusal(h, Cancel(only(array, 0, 7))) == Denied("not_found", text)
    assert h.state_of(array) == "RUNNING"
    text = f"job {plain} has no index 3: it is not an array"
    assert refusal(h, Hold(only(plain, 3))) == Denied("not_found", text)


# --- many -------------------------------------------------------------------------------


def test_ranges_do_what_can_be_done_and_tell_the_rest(h: Harness) -> None:
    first, second = h.submit(job().gpus(1)), h.submit(job().held())
    end_one(h, first)
    reported = acted(h, Cancel(Selection(parse_jobs(f"{first}-{second + 1}"))))
    assert [(one.job, one.refused) for one in reported.jobs] == [
        (first, "conflict"),
        (second, ""),
        (second + 1, "not_found"),
    ]
    assert [one.text for one in reported.jobs] == [
        f"job {first} has already ended: COMPLETED",
        f"job {second} ended",
        f"there is no job {second + 1}",
    ]


def test_filters_choose_among_open_jobs(h: Harness) -> None:
    a = h.submit(job("sweep-a").held()._with(queue="night"), user="ada")
    b = h.submit(job("sweep-b").held()._with(account="vision"), user="bob")
    c = h.submit(job("train").held(), user="bob")
    over = h.submit(job("sweep-c"), user="bob")
    h.end_tasks()

    def hit(**filters: tuple[str, ...]) -> list[JobId]:
        which = Selection(**filters)  # type: ignore[arg-type]  # any filter
        return [one.job for one in acted(h, Cancel(which, is_dry_run=True)).jobs]

    assert hit(users=("bob",)) == [b, c]
    assert hit(names=("sweep-*",)) == [a, b]
    assert hit(queues=("night",)) == [a]
    assert hit(accounts=("vision", "ada")) == [a, b], "who has no account pays as themselves"
    assert hit(users=("bob",), names=("t*",)) == [c]
    assert hit(states=("HELD",)) == [a, b, c]
    assert hit(states=("COMPLETED",)) == [over]
    assert hit(names=("nothing",)) == []


def test_a_dry_run_changes_nothing(h: Harness) -> None:
    number = h.submit(job().gpus(1).array(3))
    h.effects.clear()
    reported = acted(h, Cancel(only(number), is_dry_run=True))
    assert reported.is_dry_run
    assert (reported.jobs[0].text, reported.jobs[0].tasks) == (
        f"job {number} would be cancelled",
        3,
    )
    reported = acted(h, requeue(only(number), is_dry_run=True))
    assert reported.jobs[0].text == f"job {number} would be requeued"
    kinds = (JobRecord, GangRecord)
    assert not [e for e in h.effects if isinstance(getattr(e, "record", None), kinds)]
    assert acted(h, requeue(only(number))).jobs[0].tasks == 3, "nor does it use up the token"


def test_users_filter_among_their_own(h: Harness) -> None:
    own, other = h.submit(job().held(), user="bob"), h.submit(job().held(), user="ada")
    reported = acted(h, Cancel(Selection(states=("HELD",))), user="bob")
    assert [one.job for one in reported.jobs] == [own]
    assert h.state_of(other) == "HELD"
    denied = refusal(h, Cancel(Selection(users=("ada",))), user="bob")
    assert denied == Denied(
        "not_allowed",
        "only operators act on jobs of other users (here: ada); bob has the role submitter",
    )
    denied = refusal(h, Cancel(only(other)), user="bob")
    assert denied.reason == f"job {other} belongs to ada; only its owner or an operator may do this"


def test_last_is_the_newest_of_whoever_asks(h: Harness) -> None:
    own = h.submit(job().held(), user="ada")
    h.submit(job().held(), user="bob")
    last = Selection(parse_jobs("last"))
    assert [one.job for one in acted(h, Cancel(last), user="ada").jobs] == [own]
    assert refusal(h, Cancel(last), user="eve") == Denied(
        "not_found", "no job of eve is in memory; give its number"
    )


def test_a_selection_of_nothing_is_refused(h: Harness) -> None:
    assert refusal(h, Cancel(Selection())).kind == "bad_request"


def test_an_act_on_many_is_done_in_parts(h: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_actions, "MAX_JOBS", 2)
    numbers = [h.submit(job().held()) for _ in range(5)]
    which = Selection(users=("ada",))
    after, hit, rests = JobId(0), [], []
    for _ in range(3):
        part = acted(h, Release(which, after=after))
        hit += [one.job for one in part.jobs]
        rests.append(part.rest)
        after = part.jobs[-1].job
    assert hit == numbers
    assert rests == [3, 1, 0]


def test_large_arrays_count_by_their_indices(h: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_actions, "MAX_TASKS", 10)
    for _ in range(3):
        h.submit(job().held().array(8))
    part = acted(h, Cancel(Selection(users=("ada",))))
    assert (len(part.jobs), part.rest) == (1, 2)


def test_large_jobs_count_by_their_size(h: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_actions, "MAX_BYTES", 25_000)
    for _ in range(3):
        h.submit(job().held().command("x" * 10_000))
    h.submit(job().held().command("x" * 50_000))
    which, after, parts = Selection(users=("ada",)), JobId(0), []
    for _ in range(3):
        part = acted(h, Cancel(which, after=after))
        parts.append((len(part.jobs), part.rest))
        after = part.jobs[-1].job
    assert parts == [(2, 2), (1, 1), (1, 0)]


# --- jobs that wait for others ----------------------------------------------------------


def test_children_wait_for_a_parent_that_was_requeued(h: Harness) -> None:
    parent = h.submit(job().gpus(8))
    child = h.submit(job().gpus(1).after_ok(parent))
    h.do(requeue(only(parent), "a"))
    h.run(2)
    assert (h.state_of(parent), h.state_of(child)) == ("RUNNING", "PENDING")
    end_one(h, parent, 0)
    assert h.state_of(child) == "RUNNING"


def test_a_child_that_its_parent_ended_is_requeued_after_it(h: Harness) -> None:
    parent = h.submit(job().gpus(1))
    child = h.submit(job().gpus(1).after_ok(parent))
    end_one(h, parent, 1)
    assert h.state_of(child) == "CANCELLED"
    denied = refusal(h, requeue(only(child), "a"))
    assert denied == Denied(
        "impossible",
        f"job {parent} ended FAILED; this job requires its success (after_ok)",
    )
    h.do(requeue(Selection((*only(parent).jobs, *only(child).jobs)), "b"))
    assert (h.state_of(parent), h.state_of(child)) == ("RUNNING", "PENDING")
    end_one(h, parent, 0)
    assert h.state_of(child) == "RUNNING"


def test_a_try_that_was_sent_back_and_left_in_order_is_not_complete(h: Harness) -> None:
    """A program that saves on the stop notice and exits with 0 runs again."""
    number = h.submit(job())
    node, ref = running(h, number)[0]
    h.agent(node).is_stubborn = True
    h.do(Requeue(only(number), "t"))
    h.agent(node).end(ref, 0)
    h.run(2)
    assert [a.record.state for a in h.gang(number).past] == ["CANCELLED"]
    assert h.state_of(number) == "RUNNING"
    assert h.gang(number).attempt == 2
