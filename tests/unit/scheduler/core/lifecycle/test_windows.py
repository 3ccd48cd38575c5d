"""Windows and deadlines of jobs, by a virtual clock that begins on a Tuesday at 22:13:20 UTC."""

from datetime import UTC, datetime

import msgspec
import pytest

from support.core.harness import BEAT_S, UNIX_START, Harness, joined
from support.core.parts import explain_job
from support.core.sites import job, site
from wattline_protocol.ids import Instant, JobId, Now, UnixTime
from wattline_protocol.job.selection import only
from wattline_protocol.wire.client_messages import (
    Denied,
    Hold,
    Release,
    Requeue,
    Restore,
    Shed,
    Submit,
    Update,
)
from wattline_scheduler.core.cluster import Cluster
from wattline_scheduler.core.lifecycle.job_state import gates_of, reason_of
from wattline_scheduler.core.model import calendar as calendars
from wattline_scheduler.core.model.events import TimePassed

T0 = UNIX_START
SOON = "Tue 22:15-22:17"
"""From 100 s after the start, for 2 minutes."""


def harness(zone: str = "UTC") -> Harness:
    return joined(msgspec.structs.replace(site().rack("a", 1).build(), time_zone=zone))


@pytest.fixture
def h() -> Harness:
    return harness()


def run_to(h: Harness, at_s: float) -> None:
    """Until so many seconds after T0; what is far off is skipped, but for the last seconds."""
    h.mono_s = max(h.mono_s, h.mono_s + at_s - (h.now.unix_s - T0) - 5.0)
    h.run(at_s - (h.now.unix_s - T0))


def run_for(h: Harness, seconds: float) -> None:
    """A beat in so many seconds, and those after it."""
    h.mono_s += seconds - 5.0
    h.run(5.0)


def at(h: Harness, text: str) -> float:
    """Seconds after T0 of a moment in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() - T0


def reason(h: Harness, number: JobId) -> str:
    shown = h.job(number)
    return shown.record.reason if shown.is_ended else reason_of(shown, shown.record.state)


# --- windows ----------------------------------------------------------------------------


def test_it_starts_when_its_window_opens(h: Harness) -> None:
    number = h.submit(job().start_only("Sun", SOON))
    assert h.state_of(number) == "PENDING"
    assert reason(h, number) == "waits for its start window, which opens 2023-11-14 22:15 UTC"
    assert list(gates_of(h.job(number))) == ["window"]
    run_to(h, 99.5)
    assert h.state_of(number) == "PENDING"
    run_to(h, 101)
    assert h.state_of(number) == "RUNNING"
    run_to(h, 225)
    assert h.state_of(number) == "RUNNING", "a window closes for starts only"


def test_a_job_in_its_window_starts_at_once(h: Harness) -> None:
    assert h.state_of(h.submit(job().start_only("Tue 22:00-23:00"))) == "RUNNING"


def test_what_waits_when_the_window_closes_waits_for_the_next(h: Harness) -> None:
    run_to(h, 110)
    first, second = (h.submit(job().gpus(8).start_only(SOON)) for _ in range(2))
    assert (h.state_of(first), h.state_of(second)) == ("RUNNING", "PENDING")
    assert "waits for gpus" in reason(h, second)
    run_to(h, 221)
    h.end_tasks()
    assert h.state_of(second) == "PENDING"
    assert reason(h, second) == "waits for its start window, which opens 2023-11-21 22:15 UTC"


def test_nothing_starts_between_the_close_and_the_next_tick(h: Harness) -> None:
    run_to(h, 110)
    blocker, number = (h.submit(job().gpus(8).start_only(SOON)) for _ in range(2))
    run_to(h, 219)
    h.mono_s += 220.01 - (h.now.unix_s - T0)
    h.end_tasks()
    assert h.job(blocker).is_ended
    assert h.state_of(number) == "PENDING"


def test_a_retry_waits_for_a_window_too(h: Harness) -> None:
    run_to(h, 110)
    number = h.submit(job().retries(1).start_only(SOON))
    run_to(h, 230)
    h.end_tasks(1)
    h.run(3)
    assert reason(h, number).startswith("waits for its start window")


def test_windows_follow_the_sites_local_time_when_clocks_change() -> None:
    """On 2024-03-31 Berlin goes from UTC+1 to UTC+2 at 02:00."""
    h = harness("Europe/Berlin")
    run_to(h, at(h, "2024-03-29T12:00"))
    number = h.submit(job().array(2, 1).start_only("Sat-Sun 22:00-22:30"))
    assert reason(h, number) == "waits for its start window, which opens 2024-03-30 22:00 CET"
    run_to(h, at(h, "2024-03-30T20:59:58"))
    assert h.state_of(number) == "PENDING"
    run_to(h, at(h, "2024-03-30T21:00:01"))
    assert h.state_of(number) == "RUNNING"
    run_to(h, at(h, "2024-03-31T12:00"))
    h.end_tasks()
    h.run(2)
    assert reason(h, number) == "waits for its start window, which opens 2024-03-31 22:00 CEST"
    run_to(h, at(h, "2024-03-31T19:59:58"))
    assert h.state_of(number) == "PENDING"
    run_to(h, at(h, "2024-03-31T20:00:01"))
    assert h.state_of(number) == "RUNNING"


def test_a_restart_forgets_no_window(h: Harness) -> None:
    number = h.submit(job().start_only(SOON))
    h.restart_scheduler()
    h.join()
    h.run(2)
    assert reason(h, number).startswith("waits for its start window")
    run_to(h, 101)
    assert h.state_of(number) == "RUNNING"


def test_a_clock_that_is_set_back_closes_windows_again(h: Harness) -> None:
    run_to(h, 110)
    blocker, number = (h.submit(job().gpus(8).start_only(SOON)) for _ in range(2))
    assert "waits for gpus" in reason(h, number)
    early = Now(Instant(h.mono_s), UnixTime(T0 + 50))
    h.cluster.handle(TimePassed(), early)
    assert reason(h, number).startswith("waits for its start window")
    assert not h.job(blocker).is_ended


def test_openings_are_remembered_only_while_they_hold(
    h: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calendars, "MAX_OPENINGS", 1)
    calendar = h.cluster.state.calendar
    first = calendar.opening((SOON,), h.now)
    later = Now(h.now.mono_s, UnixTime(first.end_unix_s))
    assert calendar.opening(("Sun",), h.now).start_unix_s > first.end_unix_s
    assert calendar.opening((SOON,), later).start_unix_s == first.start_unix_s + 7 * 86_400
    assert calendar.opening((SOON,), h.now) == first


# --- deadlines --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("builder", "said"),
    [
        (job().deadline("2023-11-14T22:00"), "deadline has passed (2023-11-14 22:00 UTC)"),
        (
            job().deadline("2023-11-15T00:13:22+00:00").runtime(3 * 3600),
            "with its time limit of 3h it had to start by 2023-11-14 21:13 UTC",
        ),
        (
            job().deadline("2023-11-17T12:00").start_only("Sat-Sun"),
            "12:00 UTC): its next start window opens 2023-11-18 00:00 UTC",
        ),
        (
            job().deadline("2023-11-18T02:00").start_only("Sat-Sun").runtime(7_200),
            "its next start window opens 2023-11-18 00:00 UTC, and its time limit is 2h",
        ),
        (job().deadline("soon"), 'expected a time such as "2026-12-01T08:00"'),
        (job().start_only("Mon 06:00-06:00"), "never opens"),
        (job().service(1).deadline("2033-01-01T00:00"), "it cannot have a deadline"),
    ],
)
def test_what_cannot_be_done_in_time_is_refused(h: Harness, builder: object, said: str) -> None:
    assert said in h.refuse(builder)  # type: ignore[arg-type]  # a builder, or the test is wrong


def test_a_deadline_is_local_time_of_the_site() -> None:
    h = harness("Europe/Berlin")
    assert "has passed (2023-11-14 23:00 CET)" in h.refuse(job().deadline("2023-11-14T23:00"))
    h.submit(job().deadline("2023-11-14T23:30"))


def test_a_job_says_as_soon_as_it_is_known_that_it_will_be_late(h: Harness) -> None:
    h.submit(job().gpus(8))
    number = h.submit(job().gpus(8).runtime(60).deadline("2023-11-14T22:16:00"))
    run_to(h, 99)
    assert "deadline" not in reason(h, number)
    run_to(h, 101)
    assert reason(h, number).startswith(
        "cannot end by its deadline (2023-11-14 22:16 UTC): with its time limit of 1m it had "
        "to start by 2023-11-14 22:15 UTC; waits for gpus"
    )
    (reported,) = h.events("deadline_missed")
    assert (reported.job, reported.level) == (number, "warning")
    assert h.state_of(number) == "PENDING", "it may be quicker than it says"
    run_to(h, 161)
    assert h.state_of(number) == "TIMEOUT"
    assert reason(h, number) == "not started by its deadline (2023-11-14 22:16 UTC)"
    assert len(h.events("deadline_missed")) == 1


def test_a_late_job_still_starts_but_no_room_is_kept_for_it(h: Harness) -> None:
    blocker = h.submit(job().gpus(4))
    number = h.submit(job().gpus(8).runtime(3_000).deadline("2023-11-14T23:14:00"))
    run_to(h, 660)
    h.run(3)
    assert h.job(number).late
    assert not h.cluster.state.promised
    small = h.submit(job().gpus(4))
    assert h.state_of(small) == "RUNNING", "it is not held up by one that is late anyway"
    h.end_tasks()
    assert h.job(blocker).is_ended
    assert h.state_of(number) == "RUNNING"
    h.tick()
    assert reason(h, number) == "", "it runs, and may yet be done in time"


def test_what_is_promised_room_too_late_says_so_long_before_its_deadline(h: Harness) -> None:
    """The one before it may run until 23:13, and it for 30 minutes."""
    first = h.submit(job().gpus(8).runtime(3_600))
    number = h.submit(job().gpus(8).runtime(1_800).deadline("2023-11-14T23:30"))
    in_time = h.submit(job().gpus(8).runtime(60).deadline("2023-11-15T12:00"))
    view = explain_job(h.cluster.state, h.job(number), h.now)
    late = "too late for its deadline (2023-11-14 23:30 UTC), and its time limit is 30m"
    assert view.start_why == f"after job {first} has ended, at its time limit at the latest; {late}"
    assert "deadline" not in explain_job(h.cluster.state, h.job(in_time), h.now).start_why
    assert not h.events("deadline_at_risk")
    run_to(h, 70)
    h.run(10)
    assert reason(h, number).startswith(
        f"is not expected to start before 2023-11-14 23:13 UTC: {late}; waits"
    )
    assert "deadline" not in reason(h, in_time)
    (reported,) = h.events("deadline_at_risk")
    assert (reported.job, reported.level) == (number, "warning")
    assert number in h.cluster.state.promised, "it keeps its room: the other may end sooner"
    h.end_tasks()
    h.run(2)
    assert h.state_of(number) == "RUNNING"
    assert reason(h, number) == ""


def test_room_that_comes_while_its_window_is_closed_is_no_start(h: Harness) -> None:
    first = h.submit(job().gpus(8).runtime(3_600))
    windows = ("Tue 22:00-23:00", "Wed 08:00-09:00")
    number = h.submit(job().start_only(*windows).runtime(1_800).deadline("2023-11-15T08:20"))
    run_to(h, 70)
    late = "too late for its deadline (2023-11-15 08:20 UTC), and its time limit is 30m"
    why = (
        f"after job {first} has ended, at its time limit at the latest, and its start window opens"
    )
    assert explain_job(h.cluster.state, h.job(number), h.now).start_why == f"{why}; {late}"
    assert reason(h, number).startswith(
        f"is not expected to start before 2023-11-15 08:00 UTC: {late}"
    )


def test_what_is_held_is_promised_nothing_and_at_no_risk(h: Harness) -> None:
    h.submit(job().gpus(8).runtime(3_600))
    number = h.submit(job().gpus(8).runtime(1_800).deadline("2023-11-14T23:30"))
    run_to(h, 70)
    h.run(10)
    assert reason(h, number).startswith("is not expected to start before")
    h.do(Hold(only(number)))
    h.run(2)
    assert reason(h, number).startswith("held")
    assert not h.cluster.state.promised


def test_a_risk_is_told_once_also_over_restarts_and_anew_for_another_deadline(h: Harness) -> None:
    h.submit(job().gpus(8).runtime(3_600))
    number = h.submit(job().gpus(8).runtime(1_800).deadline("2023-11-14T23:30"))
    run_to(h, 70)
    assert len(h.events("deadline_at_risk")) == 1
    h.restart_scheduler()
    assert not h.job(number).at_risk
    h.join()
    h.run(70)
    assert h.job(number).at_risk, "it is promised the same room again"
    assert len(h.events("deadline_at_risk")) == 1
    h.do(Update(only(number), {"deadline": "2023-11-14T23:35"}))
    h.run(2)
    assert [event.job for event in h.events("deadline_at_risk")] == [number] * 2


def test_what_runs_too_slowly_for_its_deadline_says_so(h: Harness) -> None:
    number = h.submit(job().deadline("2023-11-14T23:30"))
    task = h.agent(h.gang(number).live[0].node).tasks[h.gang(number).live[0].record.ref]
    for percent in range(8):
        task.metrics["progress"] = percent / 100
        h.run(120, BEAT_S)
    assert "by its reported progress it will run until 2023-11-15 01:3" in reason(h, number)
    assert "too late for its deadline (2023-11-14 23:30 UTC)" in reason(h, number)
    assert [event.job for event in h.events("deadline_at_risk")] == [number]
    for percent in range(20, 80, 10):
        task.metrics["progress"] = percent / 100
        h.run(120, BEAT_S)
    assert "deadline" not in reason(h, number), "it became faster"


def runs_slowly(h: Harness, number: JobId, gang: int = 0) -> None:
    """A percent in two minutes, for so long that it is believed."""
    attempt = h.gang(number, gang).live[0]
    for percent in range(8):
        h.agent(attempt.node).tasks[attempt.record.ref].metrics["progress"] = percent / 100
        h.run(120, BEAT_S)


def test_a_steady_pace_is_held_against_another_deadline(h: Harness) -> None:
    number = h.submit(job().deadline("2023-11-15T02:30"))
    runs_slowly(h, number)
    for deadline in ("2023-11-14T23:30", "2023-11-15T00:30"):
        assert "deadline" not in reason(h, number)
        h.do(Update(only(number), {"deadline": deadline}))
        h.run(2)
        said = deadline.replace("T", " ")
        assert f"too late for its deadline ({said} UTC)" in reason(h, number)
        h.do(Update(only(number), {"deadline": "2023-11-15T02:30"}))
        h.run(2)
    for deadline in ("2023-11-14T23:30", "none"):
        h.do(Update(only(number), {"deadline": deadline}))
        h.run(2)
    assert "deadline" not in reason(h, number), "it has none any more"
    assert len(h.events("deadline_at_risk")) == 3


def test_an_index_that_ends_takes_back_nothing_said_of_another(h: Harness) -> None:
    number = h.submit(job().array(2).deadline("2023-11-14T23:30"))
    runs_slowly(h, number, gang=1)
    quick = h.gang(number, 0).live[0]
    h.agent(quick.node).end(quick.record.ref)
    h.run(4)
    assert "too late for its deadline" in reason(h, number)


def test_another_try_is_not_taken_to_be_as_slow(h: Harness) -> None:
    number = h.submit(job().deadline("2023-11-14T23:30").retries(1))
    attempt = h.gang(number).live[0]
    for percent in range(8):
        h.agent(attempt.node).tasks[attempt.record.ref].metrics["progress"] = percent / 100
        h.run(120, BEAT_S)
    assert h.job(number).at_risk
    h.agent(attempt.node).end(attempt.record.ref, 1)
    h.settle()
    assert not h.job(number).at_risk


def does(h: Harness, number: JobId, percents: range) -> None:
    """A percent in two minutes."""
    attempt = h.gang(number).live[0]
    for percent in percents:
        h.agent(attempt.node).tasks[attempt.record.ref].metrics["progress"] = percent / 100
        h.run(120, BEAT_S)


def pause(h: Harness, number: JobId) -> None:
    h.do(Shed(None, fraction=0.999))
    h.run(5)
    assert h.state_of(number) == "PAUSED"


def test_what_is_paused_says_that_it_will_be_late_by_what_it_takes_from_now(h: Harness) -> None:
    number = h.submit(job().deadline("2023-11-14T23:30"))
    does(h, number, range(8))
    assert "reported progress it will run until 2023-11-15 01:3" in reason(h, number)
    pause(h, number)
    run_for(h, 1_200)
    late = "it would run until 2023-11-15 01:5"
    assert reason(h, number).startswith(f"by its reported progress {late}")
    assert reason(h, number).endswith(
        "(2023-11-14 23:30 UTC); the minimum caps of running tasks exceed the lowered budget"
    )
    h.do(Restore(None))
    h.run(20)
    assert h.state_of(number) == "RUNNING"
    assert "reported progress it will run until 2023-11-15 01:5" in reason(h, number)
    assert len(h.events("deadline_at_risk")) == 1


def test_a_pause_that_lasts_too_long_for_its_deadline_is_told_while_it_lasts(h: Harness) -> None:
    number = h.submit(job().deadline("2023-11-15T02:00"))
    does(h, number, range(8))
    pause(h, number)
    run_for(h, 600)
    assert "deadline" not in reason(h, number)
    run_for(h, 1_200)
    assert "it would run until 2023-11-15 02:0" in reason(h, number)
    (reported,) = h.events("deadline_at_risk")
    assert reported.job == number
    h.do(Restore(None))
    h.run(20)
    for percent in range(8, 80, 10):
        does(h, number, range(percent, percent + 1))
    assert "deadline" not in reason(h, number), "it became faster"


def test_what_runs_at_its_deadline_goes_on_and_says_so(h: Harness) -> None:
    number = h.submit(job().deadline("2023-11-14T22:14:00"))
    run_to(h, 41)
    assert h.state_of(number) == "RUNNING"
    assert reason(h, number) == "its deadline (2023-11-14 22:14 UTC) has passed"
    assert len(h.events("deadline_missed")) == 1
    answer = h.ask(Requeue(only(number), token="now"))
    assert isinstance(answer, Denied)
    assert "could not start again: deadline" in answer.reason
    h.restart_scheduler()
    h.join()
    h.run(2)
    assert len(h.events("deadline_missed")) == 1, "reported once, also over a restart"
    h.end_tasks()
    assert h.state_of(number) == "COMPLETED"


def test_of_an_array_only_what_has_not_started_ends_at_the_deadline(h: Harness) -> None:
    number = h.submit(job().array(3, 1).deadline("2023-11-14T22:14:00"))
    run_to(h, 41)
    assert h.job(number).count["ended"] == 2
    assert h.state_of(number) == "RUNNING"
    h.end_tasks()
    assert h.state_of(number) == "TIMEOUT"
    assert "1: not started by its deadline" in reason(h, number)


def test_a_retry_after_the_deadline_is_not_begun(h: Harness) -> None:
    number = h.submit(job().retries(3).deadline("2023-11-14T22:14:00"))
    run_to(h, 41)
    h.end_tasks(1)
    h.run(2)
    assert h.state_of(number) == "TIMEOUT"
    answer = h.ask(Requeue(only(number), token="again"))
    assert isinstance(answer, Denied)
    assert "deadline has passed" in answer.reason


def test_a_held_job_misses_its_deadline_too(h: Harness) -> None:
    number = h.submit(job().deadline("2023-11-14T22:14:00"))
    held = h.submit(job().gpus(8).deadline("2023-11-14T22:14:00"))
    h.do(Hold(only(held)))
    run_to(h, 41)
    assert h.state_of(number) == "RUNNING"
    assert h.state_of(held) == "TIMEOUT"
    assert isinstance(h.ask(Release(only(held))), Denied)


def test_a_deadline_that_passes_while_the_scheduler_is_away_is_met_after_it(h: Harness) -> None:
    h.submit(job().gpus(8))
    number = h.submit(job().gpus(8).deadline("2023-11-14T22:14:00"))
    h.mono_s += 60
    h.restart_scheduler()
    h.tick()
    assert h.state_of(number) == "TIMEOUT"


def test_the_same_submission_again_is_the_same_job_though_its_deadline_has_passed(
    h: Harness,
) -> None:
    spec = job().deadline("2023-11-14T22:14:00").build()
    first = h.ask(Submit(spec, "one"), user="ada", role="submitter")
    run_to(h, 60)
    assert h.ask(Submit(spec, "one"), user="ada", role="submitter") == first
    h.cluster = Cluster(h.site, h.disk.load(), h.now)
    assert h.ask(Submit(spec, "one"), user="ada", role="submitter") == first


def test_windows_and_deadlines_can_be_changed(h: Harness) -> None:
    number = h.submit(job().gpus(8).start_only("Sun").runtime(60).deadline("2023-12-24T18:00"))
    answer = h.ask(Update(only(number), {"deadline": "2023-11-18T12:00"}))
    assert isinstance(answer, Denied)
    assert "its next start window opens 2023-11-19 00:00 UTC" in answer.reason
    text = h.do(Update(only(number), {"start_only": (SOON,), "deadline": "2023-11-14T22:17"}))
    assert "start_only Sun → Tue 22:15-22:17" in text
    h.tick()
    assert reason(h, number).startswith("waits for its start window, which opens 2023-11-14 22:15")
    h.submit(job().gpus(8))
    run_to(h, 161)
    assert h.job(number).late
    h.do(Update(only(number), {"start_only": ("none",), "deadline": "none"}))
    h.tick()
    assert reason(h, number).startswith("waits for gpus")
    h.end_tasks()
    assert h.state_of(number) == "RUNNING"
