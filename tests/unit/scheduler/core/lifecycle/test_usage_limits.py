"""Limits of energy, cost and idle GPUs: reached, reported, stopped with grace, over a restart."""

import msgspec
import pytest

from support.core.harness import Harness, joined
from support.core.parts import explain_job
from support.core.sites import JobBuilder, job, site
from wattline_protocol.ids import JobId, TaskRef
from wattline_protocol.job.change import ChangeValue
from wattline_protocol.job.selection import only
from wattline_protocol.site.model import Tariff
from wattline_protocol.wire.agent_messages import StopTask, TaskUsage
from wattline_protocol.wire.client_messages import (
    Acted,
    Denied,
    Hold,
    Release,
    Requeue,
    Restore,
    Shed,
    Update,
)
from wattline_scheduler.core.lifecycle.job_state import reason_of
from wattline_scheduler.core.model.usage.gpu_idle_watch import IdleWatch, Mark
from wattline_scheduler.core.model.usage.usage import MJ_PER_KWH
from wattline_scheduler.records import AttemptRecord

TARIFF = Tariff(usd_per_kwh=0.5, usd_per_gpu_hour=2.0)


@pytest.fixture
def h() -> Harness:
    plain = site().rack("a", 2, kw=30.0).build()
    return joined(msgspec.structs.replace(plain, tariff=TARIFF))


def work(h: Harness, seconds: int, *, util: float | None = 1.0, kwh_per_s: float = 0.01) -> None:
    """Every running task uses its GPUs that much, and draws that much at the wall."""
    for _ in range(seconds):
        for agent in h.agents.values():
            agent.util_pct = None if util is None else round(util * 100)
            for task in agent.tasks.values():
                if task.phase == "running":
                    task.usage = later(task.usage, len(task.order.gpus), util or 0.0, kwh_per_s)
        h.run(1)


def later(usage: TaskUsage, gpus: int, util: float, kwh_per_s: float) -> TaskUsage:
    """A second of running more."""
    return msgspec.structs.replace(
        usage,
        run_s=usage.run_s + 1,
        gpu_s=usage.gpu_s + gpus,
        util_gpu_s=usage.util_gpu_s + gpus * util,
        node_energy_mj=usage.node_energy_mj + int(kwh_per_s * MJ_PER_KWH),
    )


def reason(h: Harness, number: JobId) -> str:
    shown = h.job(number)
    return shown.record.reason if shown.is_ended else reason_of(shown, shown.record.state)


def fail_one(h: Harness, number: JobId) -> None:
    """Its first task exits with 1, with what it has used."""
    attempt = h.job(number).gangs[0].live[0]
    agent = h.agent(attempt.node)
    usage = agent.tasks[attempt.record.ref].usage
    agent.end(attempt.record.ref, 1)
    agent.tasks[attempt.record.ref].usage = usage
    agent.said.clear()
    agent.tell(agent.tasks[attempt.record.ref])
    h.settle()


# --- energy and cost --------------------------------------------------------------------


def test_a_job_that_used_its_energy_is_stopped_with_grace(h: Harness) -> None:
    number = h.submit(job().energy(0.1).grace(7))
    work(h, 9)
    assert h.state_of(number) == "RUNNING"
    work(h, 3)
    assert h.state_of(number) == "TIMEOUT"
    assert reason(h, number) == "reached its energy limit of 100Wh"
    assert [a.record.state for a in h.gang(number).past] == ["TIMEOUT"]
    stops = [m for n in h.agents for m in h.sent_to(n, StopTask) if isinstance(m, StopTask)]
    assert [(m.grace_s, m.why) for m in stops] == [(7, reason(h, number))]
    (reported,) = h.events("limit_reached")
    assert (reported.job, reported.level) == (number, "warning")


def test_cost_counts_energy_and_gpu_time_at_the_sites_tariff(h: Harness) -> None:
    """A second of 8 GPUs costs 8 x 2/3600 + 0.01 x 0.5 = 0.00944 USD."""
    number = h.submit(job().gpus(8).cost(0.1))
    work(h, 10)
    assert h.state_of(number) == "RUNNING"
    work(h, 3)
    assert h.state_of(number) == "TIMEOUT"
    assert reason(h, number) == "reached its cost limit of 0.1USD"


def test_all_tries_and_indices_count_together(h: Harness) -> None:
    number = h.submit(job().array(4, 2).retries(2).energy(0.3))
    work(h, 5)
    fail_one(h, number)
    work(h, 6)
    assert h.state_of(number) == "RUNNING"
    work(h, 10)
    assert h.state_of(number) == "TIMEOUT"
    assert reason(h, number) == "reached its energy limit of 300Wh"
    assert h.gang(number, 3).attempt == 0, "what had not started ends as well"


def test_what_was_used_before_a_restart_counts(h: Harness) -> None:
    number = h.submit(job().retries(2).energy(0.1))
    work(h, 6)
    fail_one(h, number)
    h.run(2)
    work(h, 2)
    h.restart_scheduler()
    h.join()
    work(h, 1)
    assert h.state_of(number) == "RUNNING"
    work(h, 2)
    assert h.state_of(number) == "TIMEOUT"


def test_a_stop_that_a_restart_interrupts_is_carried_through(h: Harness) -> None:
    number = h.submit(job().retries(5).idle_gpu(0.1, 10, "stop"))
    work(h, 10, util=0.0)
    assert h.state_of(number) == "RUNNING"
    attempt = h.gang(number).live[0]
    task = h.agent(attempt.node).tasks[attempt.record.ref]
    task.usage = later(task.usage, 1, 0.0, 0.0)
    h.agent(attempt.node).say_beat()
    h.settle()
    h.cut_off.update(h.agents)
    h.run(2)
    assert h.gang(number).phase_name == "ending", "and the order to stop was lost"
    h.restart_scheduler()
    h.cut_off.clear()
    h.join()
    h.run(2)
    assert h.state_of(number) == "TIMEOUT"
    assert reason(h, number).startswith("stopped because its GPUs idle")


def test_a_job_that_used_up_its_limit_is_not_requeued_for_nothing(h: Harness) -> None:
    number = h.submit(job().energy(0.05))
    work(h, 8)
    assert h.state_of(number) == "TIMEOUT"
    answer = h.ask(Requeue(only(number), "again"))
    text = f"job {number} reached its energy limit of 50Wh; raise that first with `wattline update`"
    assert answer == Denied("impossible", text)


def test_a_job_that_ended_at_its_limit_goes_on_once_it_is_raised(h: Harness) -> None:
    number = h.submit(job().energy(0.05))
    work(h, 8)
    reported = h.do(Update(only(number), {"energy": "100Wh"}))
    assert (
        reported == f"job {number}: energy 50Wh → 100Wh; `wattline requeue {number}` runs it again"
    )
    h.restart_scheduler()
    h.join()
    h.do(Requeue(only(number), "again"))
    work(h, 3)
    assert h.state_of(number) == "RUNNING"
    work(h, 8)
    assert reason(h, number) == "reached its energy limit of 100Wh"


def test_a_limit_can_be_set_and_raised_while_it_runs(h: Harness) -> None:
    number = h.submit(job())
    work(h, 5)
    h.do(Update(only(number), {"energy": "100Wh"}))
    work(h, 4)
    h.do(Update(only(number), {"energy": "200Wh"}))
    work(h, 6)
    assert h.state_of(number) == "RUNNING"
    work(h, 8)
    assert h.state_of(number) == "TIMEOUT"


def waits_for_room(h: Harness, used_s: int, wanted: JobBuilder) -> JobId:
    """A job that has used some, was sent back and has no room now."""
    number = h.submit(wanted.gpus(8).nodes(2))
    work(h, used_s)
    h.do(Hold(only(number)))
    h.do(Requeue(only(number), "back"))
    h.run(2)
    h.submit(job("other").gpus(8).nodes(2))
    h.do(Release(only(number)))
    assert h.state_of(number) == "PENDING"
    return number


def starts(h: Harness, number: JobId) -> int:
    return sum(a.job == number for a in h.disk.of(AttemptRecord))


def test_a_limit_below_what_a_waiting_job_has_used_ends_it_and_nothing_starts(h: Harness) -> None:
    number = waits_for_room(h, 5, job().energy(1))
    tried = starts(h, number)
    reported = h.do(Update(only(number), {"energy": "50Wh"}))
    why = "reached its energy limit of 50Wh"
    assert reported == f"job {number}: energy 1kWh → 50Wh; it {why} and is stopped"
    assert (h.state_of(number), reason(h, number)) == ("TIMEOUT", why)
    h.end_tasks()
    h.run(3)
    assert starts(h, number) == tried
    (event,) = h.events("limit_reached")
    assert event.text == f"'work' {why}: it is stopped"


def test_a_limit_below_what_a_running_job_has_used_stops_it_at_once(h: Harness) -> None:
    number = h.submit(job())
    work(h, 5)
    h.effects.clear()
    reported = h.do(Update(only(number), {"energy": "10Wh"}))
    assert reported.endswith("it reached its energy limit of 10Wh and is stopped")
    assert len(h.sent_to("a1", StopTask)) + len(h.sent_to("a2", StopTask)) == 1
    h.run(2)
    assert h.state_of(number) == "TIMEOUT"


def test_a_dry_run_says_what_a_lowered_limit_would_end(h: Harness) -> None:
    number = h.submit(job().runtime(3600))
    work(h, 5)

    def reported(**changes: ChangeValue) -> str:
        answer = h.ask(Update(only(number), changes, is_dry_run=True))
        assert isinstance(answer, Acted)
        return answer.jobs[0].text

    would = f"job {number} would be changed"
    assert (
        reported(energy="10Wh")
        == f"{would}; it reached its energy limit of 10Wh and would be stopped"
    )
    assert (
        reported(runtime="4s")
        == f"{would}; it reached the run time limit of 4s and would be stopped"
    )
    assert reported(runtime="10m") == reported(energy="1MWh") == would
    assert h.state_of(number) == "RUNNING"
    answer = h.do(Update(only(number), {"runtime": "4s"}))
    assert answer.endswith("it reached the run time limit of 4s and is stopped")


def test_what_is_paused_has_run_for_as_long_as_it_did(h: Harness) -> None:
    """Its agent ends it at once, and does not wait until it goes on."""
    number = h.submit(job().gpus(8).runtime(3600))
    work(h, 10)
    h.do(Shed(None, fraction=0.999))
    h.run(60)
    assert h.state_of(number) == "PAUSED"
    answer = h.ask(Update(only(number), {"runtime": "4s"}, is_dry_run=True))
    assert isinstance(answer, Acted)
    assert answer.jobs[0].text.endswith("the run time limit of 4s and would be stopped")
    assert h.do(Update(only(number), {"runtime": "30s"})).endswith("→ 30s"), (
        "a pause is no run time"
    )


def test_only_those_indices_are_named_that_have_run_for_so_long(h: Harness) -> None:
    number = h.submit(job().gpus(8).array(3, 2).runtime(3600))
    work(h, 5)
    reported = h.do(Update(only(number), {"runtime": "4s"}))
    assert f"job {number}[0-1] reached the run time limit of 4s and is stopped" in reported


def test_a_try_that_ends_above_the_limit_is_not_followed_by_another(h: Harness) -> None:
    """It says what it used with its end, and there is room at once."""
    number = h.submit(job().retries(3).array(3, 1).energy(0.1))
    work(h, 5)
    tried, attempt = starts(h, number), h.gang(number).live[0]
    task = h.agent(attempt.node).tasks[attempt.record.ref]
    task.usage = later(task.usage, 1, 1.0, 0.2)
    fail_one(h, number)
    assert (h.state_of(number), starts(h, number)) == ("TIMEOUT", tried)


def test_what_a_dearer_tariff_has_used_up_ends_after_the_restart_and_starts_nothing(
    h: Harness,
) -> None:
    number = waits_for_room(h, 5, job().cost(0.2))
    tried = starts(h, number)
    dear = msgspec.structs.replace(TARIFF, usd_per_kwh=100.0)
    h.site = msgspec.structs.replace(h.site, tariff=dear)
    h.restart_scheduler()
    h.join()
    h.run(2)
    assert (h.state_of(number), starts(h, number)) == ("TIMEOUT", tried)
    assert reason(h, number) == "reached its cost limit of 0.2USD"


UNCOUNTED = (
    "limits.cost cannot be enforced: the site file has no [tariff]; "
    "restore it, or remove the limit with `wattline update --cost none`"
)


def with_tariff(h: Harness, tariff: Tariff) -> None:
    h.site = msgspec.structs.replace(h.site, tariff=tariff)
    h.restart_scheduler()
    h.join()
    h.run(3)


def test_a_cost_limit_that_lost_its_tariff_is_told_and_nothing_more_starts_under_it(
    h: Harness,
) -> None:
    runs, waits = h.submit(job().cost(0.2)), h.submit(job().cost(0.2).held())
    with_tariff(h, Tariff())
    h.do(Release(only(waits)))
    h.run(3)
    assert (h.state_of(runs), reason(h, runs)) == ("RUNNING", UNCOUNTED)
    assert (h.state_of(waits), reason(h, waits)) == ("PENDING", UNCOUNTED)
    (reported,) = h.events("cost_not_limited")
    assert reported.text == (
        f"the site file has no [tariff]: limits.cost is not enforced for jobs {runs}, {waits}; "
        "running tasks continue, no further ones start"
    )
    view = explain_job(h.cluster.state, h.job(waits), h.now)
    assert (view.refusals[0].filter, view.start_why) == ("cost", f"unknown: {UNCOUNTED}")
    h.do(Update(only(runs), {"cost": "none"}))
    h.do(Update(only(waits), {"cost": "none"}))
    h.run(3)
    assert (h.state_of(waits), reason(h, runs), reason(h, waits)) == ("RUNNING", "", "")


def test_a_cost_limit_acts_again_once_its_tariff_is_back(h: Harness) -> None:
    runs, waits = h.submit(job().cost(0.2)), h.submit(job().cost(0.2).held())
    work(h, 3)
    with_tariff(h, Tariff())
    work(h, 50)
    assert h.state_of(runs) == "RUNNING"
    with_tariff(h, TARIFF)
    h.do(Release(only(waits)))
    h.run(3)
    assert (h.state_of(runs), h.state_of(waits)) == ("TIMEOUT", "RUNNING")


def test_a_cost_limit_where_nothing_costs_is_refused() -> None:
    h = joined(site().rack("a", 1).build())
    assert "the site file has no [tariff]" in h.refuse(job().cost(5))
    h.submit(job().energy(5))


@pytest.mark.parametrize(
    "builder",
    [job().energy(-1), job().idle_gpu(0.0, 60, "stop"), job().idle_gpu(0.1, 0, "warn")],
)
def test_limits_that_mean_nothing_are_refused(h: Harness, builder: object) -> None:
    assert "must be above 0" in h.refuse(builder)  # type: ignore[arg-type]  # a builder


# --- idle GPUs --------------------------------------------------------------------------


def test_a_gang_whose_gpus_idle_is_stopped(h: Harness) -> None:
    number = h.submit(job().gpus(4).nodes(2).retries(3).idle_gpu(0.05, 60, "stop"))
    work(h, 30)
    work(h, 57, util=0.0)
    assert h.state_of(number) == "RUNNING", "5 % of the last minute were busy"
    work(h, 8, util=0.0)
    assert h.state_of(number) == "TIMEOUT", "a limit is no failure to be tried again"
    assert reason(h, number).startswith("stopped because its GPUs idle: used to ")
    assert reason(h, number).endswith("% over 1m, less than 5.0%")
    assert len(h.events("limit_reached")) == 1


def test_warn_only_tells_and_takes_it_back(h: Harness) -> None:
    number = h.submit(job().idle_gpu(0.05, 60, "warn"))
    work(h, 66, util=0.01)
    assert h.state_of(number) == "RUNNING"
    assert reason(h, number) == "its GPUs idle: used to 1.0% over 1m, less than 5.0%"
    assert len(h.events("gpus_idle")) == 1
    work(h, 10)
    assert reason(h, number) == ""
    assert len(h.events("gpus_busy")) == 1


def test_of_an_array_only_the_index_that_idles_is_stopped(h: Harness) -> None:
    number = h.submit(job().array(2).idle_gpu(0.05, 20, "stop"))
    idle: TaskRef = h.gang(number, 0).live[0].record.ref
    for _ in range(25):
        work(h, 1)
        for agent in h.agents.values():
            if idle in agent.tasks:
                task = agent.tasks[idle]
                task.usage = msgspec.structs.replace(task.usage, util_gpu_s=0.0)
    assert h.gang(number, 0).phase_name == "ended"
    assert h.gang(number, 1).phase_name == "running"


def test_utilisation_that_is_not_measured_is_not_idle(h: Harness) -> None:
    number = h.submit(job().idle_gpu(0.5, 10, "stop"))
    work(h, 30, util=None)
    assert h.state_of(number) == "RUNNING"


def test_a_pause_is_nobodys_idling(h: Harness) -> None:
    number = h.submit(job().gpus(8).idle_gpu(0.5, 20, "stop"))
    work(h, 18, util=0.0)
    h.do(Shed(None, fraction=0.999))
    h.run(5)
    assert h.state_of(number) == "PAUSED"
    h.run(60)
    h.do(Restore(None))
    h.run(20)
    assert h.state_of(number) == "RUNNING"
    work(h, 18, util=0.0)
    assert h.state_of(number) == "RUNNING", "its time resets"
    work(h, 6, util=0.0)
    assert h.state_of(number) == "TIMEOUT"


def test_a_node_that_is_not_heard_adds_nothing(h: Harness) -> None:
    number = h.submit(job().idle_gpu(0.5, 20, "stop"))
    work(h, 5, util=0.0)
    h.cut_off.update(h.agents)
    h.run(60)
    assert h.state_of(number) == "RUNNING"


def test_the_mean_is_of_a_sliding_time() -> None:
    watch = IdleWatch(())
    seen = [
        watch.mean_over(32.0, Mark(float(s), float(s), float(max(0, s - 40)))) for s in range(99)
    ]
    assert seen[:32] == [None] * 32
    assert seen[32:41] == [0.0] * 9
    assert seen[56] == pytest.approx(0.5)
    assert seen[90] == 1.0
