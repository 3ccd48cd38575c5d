"""Quotas of accounts and queues: each refusal in its words, nobody held up, counts that last."""

import msgspec
import pytest

from support.core.harness import Harness, joined
from support.core.parts import explain_job, what_if
from support.core.sites import PSU_PERMILLE, JobBuilder, gpu, job, site
from wattline_protocol.ids import JobId, UserName
from wattline_protocol.job.selection import only
from wattline_protocol.site.model import Account, Queue, Quota, Tariff
from wattline_protocol.wire.agent_messages import TaskUsage
from wattline_protocol.wire.client_messages import Denied, Release, Submit, Update
from wattline_scheduler.core.lifecycle.job_state import reason_of
from wattline_scheduler.core.model.usage.usage import MJ_PER_KWH
from wattline_scheduler.plan.model.shape import shape_of
from wattline_scheduler.plan.search.quota_headroom import quota_watts, task_held
from wattline_scheduler.views.accounts_view import account_views

GPU_MW = task_held([gpu(0)], shape_of(job().build()), PSU_PERMILLE).mw
"""What is found for a GPU at the start of a job, at the wall of its node."""


def started(*, accounts: tuple[Account, ...] = (), queues: tuple[Queue, ...] = ()) -> Harness:
    plain = site().rack("a", 2, kw=40.0).site_budget(40.0).times(overtake_s=0.0).build()
    tariff = Tariff(usd_per_kwh=0.5, usd_per_gpu_hour=2.0)
    what = msgspec.structs.replace(plain, accounts=accounts, queues=queues, tariff=tariff)
    return joined(what)


def night(**quota: float) -> Harness:
    return started(queues=(Queue("night", Quota(**quota)), Queue("day")))  # type: ignore[arg-type]  # tests choose the fields


def in_queue(name: str, gpus: int = 1) -> JobBuilder:
    return job().queue(name).gpus(gpus)


def paid_by(account: str, gpus: int = 1) -> JobBuilder:
    return job().account(account).gpus(gpus)


def reason(h: Harness, number: JobId) -> str:
    h.run(2)
    return reason_of(h.job(number), h.state_of(number))


def uses(h: Harness, number: JobId, kwh: float) -> None:
    """Its first task drew so much at the wall, on its GPUs for an hour for each kWh."""
    attempt = h.gang(number).live[0]
    agent = h.agent(attempt.node)
    agent.tasks[attempt.record.ref].usage = TaskUsage(
        run_s=30.0, gpu_s=kwh * 3600, node_energy_mj=int(kwh * MJ_PER_KWH)
    )
    agent.say_beat()
    h.settle()
    h.run(2)


def ends_so(h: Harness, number: JobId) -> None:
    """Its only task ends, having used what it said last."""
    attempt = h.gang(number).live[0]
    agent, ref = h.agent(attempt.node), attempt.record.ref
    usage = agent.tasks[ref].usage
    agent.end(ref, 0)
    agent.tasks[ref].usage = usage
    agent.said.clear()
    agent.tell(agent.tasks[ref])
    h.settle()
    assert h.state_of(number) == "COMPLETED"


# --- GPUs and watts at a time ---------------------------------------------------------------


def test_what_would_be_too_many_gpus_at_a_time_waits_and_says_so() -> None:
    h = night(gpus=8)
    first = h.submit(in_queue("night", 6))
    second = h.submit(in_queue("night", 4))
    assert h.state_of(first) == "RUNNING"
    assert reason(h, second) == (
        "quota of queue night reached: 8 GPUs at a time, 6 GPUs in use, it requests 4 GPUs; "
        "available when other jobs of the quota end"
    )
    h.end_tasks()
    h.run(2)
    assert h.state_of(second) == "RUNNING"


def test_who_waits_for_a_quota_is_shown_beside_it_oldest_first() -> None:
    h = night(gpus=8)
    h.submit(in_queue("night", 6))
    large = [h.submit(in_queue("night", 4).priority(50 + n)) for n in range(7)]
    h.submit(in_queue("day", 8).nodes(2))
    h.submit(in_queue("day", 1))
    (shown,) = account_views(h.cluster.state, h.now).quotas
    assert (shown.used, shown.left) == (6.0, 2.0)
    assert (shown.waiting, shown.first_waiting) == (7, tuple(large[:5]))
    assert shown.waiting_jobs == ", ".join(map(str, large[:5])) + " and 2 more"


def test_a_job_is_shown_at_the_limit_that_it_waits_for() -> None:
    h = started(accounts=(Account("lab", quota=Quota(gpus=8, energy_per_day_wh=500.0)),))
    first = h.submit(paid_by("lab", 6))
    more = h.submit(paid_by("lab", 4))
    gpus, energy = account_views(h.cluster.state, h.now).quotas
    assert (gpus.first_waiting, energy.first_waiting) == ((more,), ())
    uses(h, first, kwh=0.6)
    gpus, energy = account_views(h.cluster.state, h.now).quotas
    assert (gpus.first_waiting, energy.first_waiting) == ((), (more,))


def test_nobody_else_is_held_up_by_who_waits_for_a_quota() -> None:
    """It waits long, and its room is neither kept for it nor made free."""
    h = night(gpus=8)
    h.submit(in_queue("night", 8).priority(90))
    waits = h.submit(in_queue("night", 8).priority(90))
    h.run(90)
    other = h.submit(in_queue("day", 8))
    h.run(2)
    assert h.state_of(other) == "RUNNING"
    assert h.state_of(waits) == "PENDING"
    assert not h.cluster.state.promised
    assert not h.events("gang_preempted")


def test_smaller_jobs_of_the_queue_go_on_in_what_is_left() -> None:
    h = night(gpus=8)
    h.submit(in_queue("night", 6))
    h.submit(in_queue("night", 4))
    small = h.submit(in_queue("night", 2))
    h.run(2)
    assert h.state_of(small) == "RUNNING"


def test_one_that_waited_long_is_not_starved_by_a_stream_of_smaller_ones() -> None:
    h = night(gpus=4)
    small = [h.submit(in_queue("night")) for _ in range(4)]
    large = h.submit(in_queue("night", 4))
    for _ in range(40):
        attempt = next(a for n in small for g in h.job(n).gangs for a in g.live)
        h.agent(attempt.node).end(attempt.record.ref, 0, run_s=5.0)
        h.settle()
        small.append(h.submit(in_queue("night")))
        h.run(3)
        if h.state_of(large) == "RUNNING":
            break
    assert h.state_of(large) == "RUNNING"
    other = h.submit(in_queue("day", 4))
    h.run(2)
    assert h.state_of(other) == "RUNNING"


def test_work_is_sent_away_only_for_as_many_as_the_quota_allows() -> None:
    """Two nodes full of work of low priority; of an array of eight, two may start."""
    h = night(gpus=8)
    for _ in range(16):
        h.submit(in_queue("day").priority(10))
    h.run(70)
    for agent in h.agents.values():
        for task in agent.tasks.values():
            task.usage = TaskUsage(run_s=70.0)
        agent.say_beat()
    h.settle()
    h.submit(in_queue("night", 4).priority(90).array(8))
    h.run(10)
    assert len(h.events("gang_preempted")) == 8


def test_an_array_takes_what_its_quota_leaves() -> None:
    h = night(gpus=3)
    number = h.submit(in_queue("night").array(8))
    assert h.job(number).live_count == 3
    h.end_tasks()
    h.run(5)
    assert h.job(number).live_count == 3


def test_parts_of_gpus_count_as_parts() -> None:
    h = night(gpus=1)
    numbers = [h.submit(in_queue("night").share(500)) for _ in range(3)]
    assert [h.state_of(number) for number in numbers] == ["RUNNING", "RUNNING", "PENDING"]
    assert "1 GPU in use, it requests 0.5 GPUs" in reason(h, numbers[2])


def test_watts_at_a_time_are_what_is_booked_for_the_gpus() -> None:
    quota_mw = 2 * GPU_MW + GPU_MW // 2
    h = night(power_mw=quota_mw)
    first, second = h.submit(in_queue("night", 2)), h.submit(in_queue("night", 1))
    h.run(2)
    assert h.state_of(first) == "RUNNING"
    reported = reason(h, second)
    most, booked, wants = (quota_watts(mw) for mw in (quota_mw, 2 * GPU_MW, GPU_MW))
    assert reported == (
        f"quota of queue night reached: {most} at a time, {booked} booked, it requests {wants}; "
        "available when other jobs of the quota end"
    )


def test_of_a_tree_of_accounts_every_one_above_counts() -> None:
    accounts = (
        Account("research", quota=Quota(gpus=8)),
        Account("vision", "research", quota=Quota(gpus=6)),
        Account("speech", "research"),
    )
    h = started(accounts=accounts)
    h.submit(paid_by("vision", 5))
    assert "quota of account vision reached: 6 GPUs" in reason(h, h.submit(paid_by("vision", 2)))
    assert "quota of account research reached: 8 GPUs" in reason(h, h.submit(paid_by("speech", 4)))
    fits = h.submit(paid_by("speech", 3))
    h.run(2)
    assert h.state_of(fits) == "RUNNING"


# --- energy and money -----------------------------------------------------------------------


def test_where_the_energy_of_a_day_is_used_up_nothing_starts_and_what_runs_goes_on() -> None:
    h = night(energy_per_day_wh=5000.0)
    runs = h.submit(in_queue("night"))
    uses(h, runs, 5.2)
    waits, other = h.submit(in_queue("night")), h.submit(in_queue("day"))
    reported = reason(h, waits)
    assert reported == (
        "quota exceeded: queue night used 5.2 of 5 kWh today; resets 2023-11-15 00:00 UTC"
    )
    assert [h.state_of(number) for number in (runs, waits, other)] == [
        "RUNNING",
        "PENDING",
        "RUNNING",
    ]
    assert len(h.events("quota_used_up")) == 1
    h.mono_s += 2 * 3600
    h.run(5)
    assert h.state_of(waits) == "RUNNING", "a new day"
    assert len(h.events("quota_open")) == 1


def test_a_month_costs_no_more_than_its_quota() -> None:
    accounts = (Account("research", quota=Quota(cost_per_month_usd=20.0)), Account("a", "research"))
    h = started(accounts=accounts)
    runs = h.submit(paid_by("a"))
    uses(h, runs, 8.1)
    assert reason(h, h.submit(paid_by("research"))) == (
        "quota exceeded: account research used 20.25 USD of 20.00 USD this month; "
        "resets 2023-12-01 00:00 UTC"
    )


@pytest.mark.parametrize("is_ended", [True, False])
def test_a_restart_keeps_what_was_used_today(is_ended: bool) -> None:
    h = night(energy_per_day_wh=5000.0, gpus=8)
    runs = h.submit(in_queue("night"))
    uses(h, runs, 5.2)
    if is_ended:
        ends_so(h, runs)
    h.restart_scheduler()
    h.join()
    h.run(3)
    waits = h.submit(in_queue("night"))
    assert "used 5.2 of 5 kWh today" in reason(h, waits)
    (one,) = h.cluster.state.work.quotas.all
    assert one.held_milli == (0 if is_ended else 1000)


def again(h: Harness) -> None:
    """The scheduler was killed, and all nodes are heard."""
    h.restart_scheduler()
    h.run(3)
    h.join()
    h.run(3)


def test_that_a_quota_is_used_up_is_told_once_a_day_also_over_restarts() -> None:
    h = night(energy_per_day_wh=5000.0, gpus=8)
    uses(h, h.submit(in_queue("night")), 5.2)
    again(h)
    waits = h.submit(in_queue("night"))
    assert "used 5.2 of 5 kWh today" in reason(h, waits), "it is still used up"
    assert (len(h.events("quota_used_up")), len(h.events("quota_open"))) == (1, 0)
    h.restart_scheduler()
    h.mono_s += 2 * 3600  # it was away at midnight
    h.join()
    h.run(3)
    assert h.state_of(waits) == "RUNNING"
    again(h)
    assert (len(h.events("quota_used_up")), len(h.events("quota_open"))) == (1, 1)
    uses(h, waits, 5.2)
    again(h)
    assert len(h.events("quota_used_up")) == 2, "another day"


def test_an_end_does_not_make_it_told_again() -> None:
    """The end of a try writes what was used by the same name anew."""
    h = night(energy_per_day_wh=5000.0, gpus=8)
    runs = h.submit(in_queue("night"))
    uses(h, runs, 5.2)
    ends_so(h, runs)
    again(h)
    assert (len(h.events("quota_used_up")), len(h.events("quota_open"))) == (1, 0)


def test_it_is_told_anew_of_a_quota_that_is_another() -> None:
    h = night(energy_per_day_wh=5000.0)
    runs = h.submit(in_queue("night"))
    uses(h, runs, 5.2)
    h.site = msgspec.structs.replace(
        h.site, queues=(Queue("night", Quota(energy_per_day_wh=6000.0)), Queue("day"))
    )
    again(h)
    assert (len(h.events("quota_used_up")), len(h.events("quota_open"))) == (1, 1)
    uses(h, runs, 6.1)
    again(h)
    reported = h.events("quota_used_up")
    assert ["of 5 kWh today" in reported[0].text, "of 6 kWh today" in reported[1].text] == [
        True,
        True,
    ]
    assert len(reported) == 2


def test_that_the_month_is_used_up_is_told_although_the_day_was() -> None:
    h = night(energy_per_day_wh=5000.0, cost_per_month_usd=20.0)
    runs = h.submit(in_queue("night"))
    for kwh in (5.2, 8.1):
        uses(h, runs, kwh)
        again(h)
    texts = [event.text for event in h.events("quota_used_up")]
    assert ["of 5 kWh today" in texts[0], "of 20.00 USD this month" in texts[1]] == [True, True]
    assert len(texts) == 2


def test_one_that_can_never_start_any_more_says_so_and_keeps_nobody_waiting() -> None:
    """It was accepted by another site file, and has waited long."""
    h = night(gpus=8)
    vain = h.submit(in_queue("night", 8).held())
    h.site = msgspec.structs.replace(h.site, queues=(Queue("night", Quota(gpus=4)), Queue("day")))
    h.restart_scheduler()
    h.join()
    h.do(Release(only(vain)))
    h.run(90)
    assert reason(h, vain) == (
        "quota of queue night reached: 4 GPUs at a time, 0 GPUs in use, it requests 8 GPUs; "
        "it can never start unless it or the quota is changed"
    )
    other = h.submit(in_queue("night", 4))
    h.run(2)
    assert h.state_of(other) == "RUNNING"


def test_a_site_file_that_became_stricter_ends_nothing() -> None:
    h = night(gpus=8)
    runs = h.submit(in_queue("night", 8))
    queues = (Queue("night", Quota(gpus=4)), Queue("day"))
    h.site = msgspec.structs.replace(h.site, queues=queues)
    h.restart_scheduler()
    h.join()
    h.run(3)
    assert h.state_of(runs) == "RUNNING"
    waits = h.submit(in_queue("night", 1))
    assert "4 GPUs at a time, 8 GPUs in use" in reason(h, waits)
    h.end_tasks()
    h.run(3)
    assert h.state_of(waits) == "RUNNING"


# --- what is refused at submission ------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "reported"),
    [
        (
            in_queue("night", 5),
            "requests 5 GPUs, the quota of queue night is 4 GPUs at a time",
        ),
        (
            in_queue("night", 2).nodes(2),
            "kW for its GPUs, the quota of queue night is 1.2 kW at a time",
        ),
        (in_queue("nigth"), "there is no queue nigth; the nearest is night"),
        (paid_by("visio"), "there is no account visio; the nearest is vision"),
        (in_queue("ops"), "queue ops is for bob, eve; you are ada"),
        (paid_by("vision"), "account research is for bob; you are ada"),
    ],
)
def test_what_can_never_be_is_refused(wanted: JobBuilder, reported: str) -> None:
    h = started(
        accounts=(Account("research", users=("bob",)), Account("vision", "research")),
        queues=(
            Queue("night", Quota(gpus=4, power_mw=1_200_000)),
            Queue("ops", users=("bob", "eve")),
        ),
    )
    assert reported in h.refuse(wanted)


def test_the_usual_queue_and_ones_own_account_need_no_entry() -> None:
    h = started(accounts=(Account("research"),), queues=(Queue("night"),))
    for wanted in (job(), paid_by("ada"), paid_by("research"), in_queue("night")):
        h.submit(wanted)


def test_a_member_may_and_what_is_refused_has_its_kind() -> None:
    h = started(queues=(Queue("ops", users=("bob",)),))
    h.submit(in_queue("ops"), user="bob")
    answer = h.ask(Submit(in_queue("ops").build(), "t"), user="ada", role="submitter")
    assert isinstance(answer, Denied)
    assert answer.kind == "not_allowed"


# --- changes ----------------------------------------------------------------------------------


def test_running_work_moves_to_another_queue_only_where_it_fits() -> None:
    h = night(gpus=8)
    first, second = h.submit(in_queue("night", 6)), h.submit(in_queue("day", 4))
    h.run(2)
    answer = h.ask(Update(only(second), {"queue": "night"}))
    said = "more than the quota of queue night has left: 8 GPUs at a time, 6 GPUs in use"
    assert answer == Denied("conflict", f"job {second} uses 4 GPUs, {said}")
    h.do(Update(only(first), {"queue": "day"}))
    h.do(Update(only(second), {"queue": "night"}))
    assert [one.held_milli for one in h.cluster.state.work.quotas.all] == [4000]


def test_a_waiting_job_that_moves_counts_elsewhere() -> None:
    h = night(gpus=8)
    h.submit(in_queue("night", 6))
    waits = h.submit(in_queue("night", 4))
    h.run(2)
    h.do(Update(only(waits), {"queue": "day"}))
    h.run(2)
    assert h.state_of(waits) == "RUNNING"


# --- explain ----------------------------------------------------------------------------------


def test_explain_names_the_quota_and_until_when() -> None:
    h = night(energy_per_day_wh=5000.0)
    uses(h, h.submit(in_queue("night")), 5.2)
    waits = h.submit(in_queue("night"))
    h.run(2)
    view = explain_job(h.cluster.state, h.job(waits), h.now)
    assert view.refusals[0].filter == "quota"
    assert view.start_why == "when its quota resets"
    assert view.start_unix_s == 1_700_006_400.0, "midnight"
    asked = what_if(h.cluster.state, UserName("ada"), in_queue("night").build(), {}, h.now)
    assert getattr(asked, "start_why", "") == "when its quota resets"


def test_who_is_held_back_by_a_quota_takes_no_room_in_an_estimate() -> None:
    h = night(gpus=8)
    h.submit(in_queue("night", 8))
    h.submit(in_queue("night", 8).priority(90))
    h.run(2)
    wanted = in_queue("day", 8)
    view = what_if(h.cluster.state, UserName("ada"), wanted.build(), {}, h.now)
    assert getattr(view, "start_why", "") == "resources are free now"
    assert h.state_of(h.submit(wanted)) == "RUNNING"


def test_explain_says_when_enough_of_its_quota_ends() -> None:
    h = night(gpus=8)
    first = h.submit(in_queue("night", 6).runtime(3_600))
    waits = h.submit(in_queue("night", 4).runtime(600))
    last = h.submit(in_queue("night", 8))
    h.run(2)
    view = explain_job(h.cluster.state, h.job(waits), h.now)
    assert view.start_unix_s == pytest.approx(h.now.unix_s + 3_600, abs=15)
    assert view.start_why == f"after job {first} has ended, at its time limit at the latest"
    assert [one.text for one in view.remedies] == [
        "with 2 GPUs per node instead of 4 it would start now"
    ]
    view = explain_job(h.cluster.state, h.job(last), h.now)
    assert view.start_unix_s == pytest.approx(h.now.unix_s + 4_200, abs=20)
    assert view.start_why == f"after job {waits} has run (ahead of it in the queue)"


def test_explain_does_not_guess_when_others_of_a_quota_end() -> None:
    h = night(gpus=8)
    h.submit(in_queue("night", 6))
    waits = h.submit(in_queue("night", 4))
    h.run(2)
    view = explain_job(h.cluster.state, h.job(waits), h.now)
    assert view.start_unix_s is None
    assert "quota of queue night" in view.start_why
