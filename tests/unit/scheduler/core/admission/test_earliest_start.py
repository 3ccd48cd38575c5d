"""When a job may start at the earliest, by quotas that are used up, reservations and windows: said
early, by a virtual clock that begins on a Tuesday at 22:13:20 UTC."""

import msgspec
import pytest

from support.core.harness import UNIX_START, Harness, end_one, joined
from support.core.parts import explain_job, what_if
from support.core.sites import JobBuilder, job, site
from wattline_protocol.ids import JobId, UserName
from wattline_protocol.job.selection import only
from wattline_protocol.site.model import Account, Queue, Quota, Tariff
from wattline_protocol.views.site_views import ExplainView
from wattline_protocol.wire.agent_messages import TaskUsage
from wattline_protocol.wire.bounds import MAX_UNIX_S
from wattline_protocol.wire.client_messages import Denied, Requeue, Update
from wattline_protocol.wire.reservations import Reserve
from wattline_scheduler.core.lifecycle.job_state import reason_of
from wattline_scheduler.core.model.usage.usage import MJ_PER_KWH
from wattline_scheduler.views.queue_view import queue_head

BEFORE, AFTER = "2023-11-14T23:50:00", "2023-11-15T00:40:00"
"""Midnight, when the quota of a day resets. As a job file is read."""

USED_UP = "the quota of queue night is used up until 2023-11-15 00:00 UTC"


def started(*, month_usd: float = 0.0) -> Harness:
    """Queue `night` has 1 kWh a day, account `lab` so much a month."""
    lab = Account("lab", quota=Quota(cost_per_month_usd=month_usd))
    plain = msgspec.structs.replace(
        site().rack("a", 2).build(),
        queues=(Queue("night", Quota(energy_per_day_wh=1000.0)), Queue("day")),
        accounts=(lab,),
        tariff=Tariff(usd_per_kwh=1.0),
    )
    return joined(plain)


@pytest.fixture
def h() -> Harness:
    return started()


def in_night(runtime_s: float = 1_800) -> JobBuilder:
    return job().queue("night").gpus(1).runtime(runtime_s)


def burns(h: Harness, *, nodes: int = 1, account: str = "") -> JobId:
    """Something of the queue runs."""
    return h.submit(job("burns").queue("night").account(account).gpus(8).nodes(nodes))


def uses(h: Harness, number: JobId, kwh: float = 1.1) -> None:
    """It has drawn so much today, and runs on."""
    attempt = h.gang(number).live[0]
    usage = TaskUsage(run_s=30.0, gpu_s=3_600, node_energy_mj=int(kwh * MJ_PER_KWH))
    h.agent(attempt.node).tasks[attempt.record.ref].usage = usage
    h.run(3)


def reason(h: Harness, number: JobId) -> str:
    return reason_of(h.job(number), h.state_of(number))


def seen(h: Harness, number: JobId) -> ExplainView:
    return explain_job(h.cluster.state, h.job(number), h.now)


def asked(h: Harness, wanted: JobBuilder) -> ExplainView | Denied:
    return what_if(h.cluster.state, UserName("ada"), wanted.build(), {}, h.now)


def reserve(h: Harness, for_s: float, start: str = "") -> None:
    """Node a1, for ada."""
    h.do(Reserve("course", start=start, for_s=for_s, nodes=("a1",), users=("ada",)))


# --- quotas and deadlines -----------------------------------------------------------------


def test_a_deadline_before_its_quota_begins_anew_is_refused_at_submission(h: Harness) -> None:
    uses(h, burns(h))
    for deadline, by in ((BEFORE, "2023-11-14 23:50"), ("2023-11-15T00:20", "2023-11-15 00:20")):
        late = f"cannot end by its deadline ({by} UTC): {USED_UP}, and its time limit is 30m"
        assert h.refuse(in_night().deadline(deadline)) == late
        assert asked(h, in_night().deadline(deadline)) == Denied("impossible", late)
    in_time = h.submit(in_night().deadline(AFTER))
    elsewhere = h.submit(job().queue("day").runtime(1_800).deadline(BEFORE))
    h.run(2)
    assert "deadline" not in reason(h, in_time)
    assert h.state_of(elsewhere) == "RUNNING"


def test_who_waits_says_so_as_soon_as_its_quota_is_used_up(h: Harness) -> None:
    runs = burns(h, nodes=2)
    late, in_time = (h.submit(in_night().deadline(by)) for by in (BEFORE, AFTER))
    elsewhere = h.submit(job().queue("day").runtime(1_800).deadline(BEFORE))
    assert "deadline" not in reason(h, late)
    uses(h, runs)
    assert reason(h, late).startswith(
        f"cannot end by its deadline (2023-11-14 23:50 UTC): {USED_UP}, and its time limit is 30m; "
        "quota exceeded: queue night "
    )
    assert "deadline" not in reason(h, in_time)
    assert "deadline" not in reason(h, elsewhere)
    (reported,) = h.events("deadline_missed")
    assert (reported.job, reported.level) == (late, "warning")
    assert h.state_of(late) == "PENDING", "it may be moved, or the quota raised"


def test_what_was_said_is_taken_back_when_the_quota_is_raised(h: Harness) -> None:
    runs = burns(h, nodes=2)
    late = h.submit(in_night().deadline(BEFORE))
    uses(h, runs)
    assert USED_UP in reason(h, late)
    for used_up, most_wh in ((True, 1000.0), (False, 5000.0)):
        queues = (Queue("night", Quota(energy_per_day_wh=most_wh)), Queue("day"))
        h.site = msgspec.structs.replace(h.site, queues=queues)
        h.restart_scheduler()
        h.join()
        h.run(5)
        assert (USED_UP in reason(h, late)) == used_up
    assert len(h.events("deadline_missed")) == 1


def test_it_waits_for_the_last_of_its_quotas(h: Harness) -> None:
    h = started(month_usd=1.0)
    uses(h, burns(h, account="lab"))
    wanted = in_night().account("lab")
    late = (
        "the quota of account lab is used up until 2023-12-01 00:00 UTC, and its time limit is 30m"
    )
    assert h.refuse(wanted.deadline("2023-11-30T12:00")).endswith(late)
    h.submit(wanted.deadline("2023-12-01T12:00"))


def test_its_next_window_after_the_quota_counts(h: Harness) -> None:
    uses(h, burns(h))
    wanted = in_night().start_only("Tue 22:00-23:00", "Thu 06:00-07:00")
    window = "its next start window opens 2023-11-16 06:00 UTC"
    late = f"{USED_UP}, and {window}, and its time limit is 30m"
    assert h.refuse(wanted.deadline("2023-11-16T06:20")).endswith(late)
    h.submit(wanted.deadline("2023-11-16T06:40"))


def test_what_ended_is_not_run_again_for_a_deadline_that_cannot_be_met(h: Harness) -> None:
    number = h.submit(in_night().deadline(BEFORE))
    end_one(h, number, 1)
    uses(h, burns(h))
    refused = h.ask(Requeue(only(number), "again"))
    assert isinstance(refused, Denied)
    assert USED_UP in refused.reason


def test_a_move_into_a_quota_that_is_used_up_is_refused(h: Harness) -> None:
    runs = burns(h, nodes=2)
    waits = h.submit(in_night().deadline(BEFORE).queue("day"))
    uses(h, runs)
    refused = h.ask(Update(only(waits), {"queue": "night"}))
    assert isinstance(refused, Denied)
    late = "could never start: cannot end by its deadline (2023-11-14 23:50 UTC)"
    assert refused.reason.startswith(f"job {waits} {late}: {USED_UP}")


def test_what_runs_or_is_late_anyway_may_move(h: Harness) -> None:
    runs = burns(h)
    also_runs = h.submit(in_night().deadline(BEFORE).queue("day"))
    late = h.submit(in_night().gpus(8).deadline(BEFORE))
    uses(h, runs)
    assert USED_UP in reason(h, late)
    h.do(Update(only(also_runs), {"queue": "night"}))
    assert h.state_of(also_runs) == "RUNNING"
    h.do(Update(only(late), {"account": "lab"}))
    h.do(Update(only(late), {"queue": "day"}))
    h.run(2)
    assert "deadline" not in reason(h, late)


# --- reservations and windows ---------------------------------------------------------------


def test_windows_that_open_only_after_its_reservation_has_ended_let_it_start_never(
    h: Harness,
) -> None:
    reserve(h, for_s=3_600)
    wanted = job().reservation("course").start_only("Sat-Sun")
    why = (
        "its next start window opens 2023-11-18 00:00 UTC, "
        "and its reservation course ends 2023-11-14 23:13 UTC"
    )
    assert h.refuse(wanted) == f"{why}; name another one, or none"
    assert asked(h, wanted) == Denied("impossible", h.refuse(wanted))
    assert h.refuse(wanted.deadline("2023-12-24T12:00")).endswith(why)
    number = h.submit(job().reservation("course").start_only("Tue 22:30-22:40"))
    refused = h.ask(Update(only(number), {"start_only": ("Sat-Sun",)}))
    assert isinstance(refused, Denied)
    assert refused.reason == f"job {number} could never start: {why}; name another one, or none"


def test_a_window_that_closes_unused_is_told_where_the_next_one_is_too_late(h: Harness) -> None:
    holders = [h.submit(job().gpus(8)) for _ in range(2)]
    reserve(h, for_s=3_600)
    number = h.submit(job().gpus(1).reservation("course").start_only("Tue 22:00-22:20"))
    h.run(300)
    assert "never" not in reason(h, number)
    h.run(120)
    never = (
        "its next start window opens 2023-11-21 22:00 UTC, and its reservation course ends "
        "2023-11-14 23:13 UTC; name another one, or none"
    )
    assert reason(h, number) == f"can never start: {never}"
    assert (seen(h, number).start_unix_s, seen(h, number).start_why) == (None, f"never: {never}")
    for holder in holders:
        end_one(h, holder, 0)
    h.do(Update(only(number), {"start_only": "none"}))
    h.run(1)
    assert h.state_of(number) == "RUNNING", reason(h, number)


def test_a_window_that_opens_within_its_reservation_is_its_start(h: Harness) -> None:
    reserve(h, for_s=3_600, start="2023-11-14T23:00")
    view = asked(h, job().reservation("course").start_only("Tue 22:30-22:40", "Tue 23:30-23:40"))
    assert isinstance(view, ExplainView)
    assert view.start_unix_s == UNIX_START + 76 * 60 + 40


def test_a_window_that_closes_before_its_reservation_begins_is_none_of_it(h: Harness) -> None:
    reserve(h, for_s=3_600, start="2023-11-14T23:00")
    assert h.refuse(job().reservation("course").start_only("Tue 22:30-22:40")) == (
        "its reservation course begins 2023-11-14 23:00 UTC, and its next start window opens "
        "2023-11-21 22:30 UTC, and its reservation course ends 2023-11-15 00:00 UTC; "
        "name another one, or none"
    )


def test_a_quota_that_begins_anew_after_its_reservation_has_ended_lets_it_start_never(
    h: Harness,
) -> None:
    runs = burns(h, nodes=2)
    reserve(h, for_s=3_600)
    number = h.submit(in_night().reservation("course"))
    uses(h, runs)
    ends = "and its reservation course ends 2023-11-14 23:13 UTC; name another one, or none"
    assert h.refuse(in_night().reservation("course")) == f"{USED_UP}, {ends}"
    assert reason(h, number) == f"can never start: {USED_UP}, {ends}"
    assert (seen(h, number).start_unix_s, seen(h, number).start_why) == (
        None,
        f"never: {USED_UP}, {ends}",
    )


def test_a_reservation_that_has_ended_takes_nobody_before_a_tick_tells(h: Harness) -> None:
    reserve(h, for_s=3_600)
    h.mono_s += 3_600
    over = "its reservation course ended 2023-11-14 23:13 UTC; name another one, or none"
    assert h.refuse(job().reservation("course")) == over


def test_an_estimate_after_its_reservation_has_ended_is_none(h: Harness) -> None:
    """What holds its node may end sooner than it must, so nobody knows."""
    first, other = (h.submit(job().gpus(8).runtime(600)) for _ in range(2))
    assert h.gang(first).live[0].node != h.gang(other).live[0].node
    reserve(h, for_s=3_600)
    number = h.submit(job().reservation("course").gpus(8).start_only("Tue 22:00-22:20"))
    view = seen(h, number)
    assert view.start_unix_s is None
    assert view.start_why.startswith("unknown: its reservation course ends before ")
    assert view.start_why.endswith("and its start window opens)")


def test_run_times_without_end_move_no_start_beyond_all_dates() -> None:
    """They are as the agent reports them, and starts are promised by what is learned from them."""
    h = joined(site().rack("a", 1).build())
    long = job("long").gpus(8).account("lab")
    for _ in range(3):
        end_one(h, h.submit(long), 0, run_s=1e12)
    first = h.submit(long)
    number = h.submit(job("other").gpus(8).start_only("Tue 22:00-23:00").runtime(1_800))
    h.run(70)
    (queued,) = queue_head(h.cluster.state, h.now)
    assert (queued.job, (queued.starts_unix_s or 0.0) < MAX_UNIX_S) == (number, True)
    assert (h.state_of(first), h.state_of(number)) == ("RUNNING", "PENDING")
