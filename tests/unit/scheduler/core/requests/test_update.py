"""Update: what may change when, and that it is in force at once."""

from datetime import UTC, datetime

import msgspec
import pytest

from support.core.harness import Harness, joined
from support.core.parts import what_if
from support.core.sites import job, site
from wattline_protocol.ids import JobId, NodeId, UserName
from wattline_protocol.job.change import ChangeValue
from wattline_protocol.job.selection import Selection, only
from wattline_protocol.site.model import Queue, Quota
from wattline_protocol.views.site_views import ExplainView
from wattline_protocol.wire.agent_messages import LimitTask, StopTask
from wattline_protocol.wire.client_messages import (
    Acted,
    Cancel,
    Denied,
    Hold,
    Release,
    Requeue,
    Shed,
    Submit,
    Update,
)
from wattline_scheduler.views.jobs_view import job_in_full


@pytest.fixture
def h() -> Harness:
    return joined(site().rack("a", 2, kw=14.0).site_budget(14.0).build())


def update(h: Harness, number: JobId, **changes: ChangeValue) -> str:
    return h.do(Update(only(number), changes))


def refusal(h: Harness, number: JobId, **changes: ChangeValue) -> Denied:
    answer = h.ask(Update(only(number), changes))
    assert isinstance(answer, Denied), answer
    return answer


def test_what_was_changed_is_told_and_kept(h: Harness) -> None:
    number = h.submit(job().gpus(8).priority(25).held())
    reported = update(h, number, priority="high", queue="urgent")
    assert reported == f"job {number}: queue default → urgent, priority 25 → 75"
    h.restart_scheduler()
    spec = h.job(number).spec
    assert (spec.queue, spec.priority) == ("urgent", 75)


def test_the_order_of_the_queue_follows_at_once(h: Harness) -> None:
    h.submit(job().gpus(8).nodes(2))
    numbers = [h.submit(job().gpus(8)) for _ in range(3)]
    update(h, numbers[2], priority=90)
    update(h, numbers[0], priority=10)
    queue = [waiting.job for waiting in h.cluster.state.work.waiting()]
    assert queue == [numbers[2], numbers[1], numbers[0]]


def test_running_work_gets_the_watts_of_its_new_priority_at_once(h: Harness) -> None:
    one, other = h.submit(job().gpus(8)), h.submit(job().gpus(8))
    h.run(20)
    h.do(Shed(None, fraction=0.2))
    h.run(2)

    def kw(number: JobId) -> float:
        return h.committed_kw(h.gang(number).live[0].node)

    assert kw(one) == pytest.approx(kw(other), abs=0.1)
    update(h, one, priority="critical")
    assert kw(one) > kw(other) + 1
    update(h, one, priority="low")
    h.run(2)
    assert kw(one) < kw(other) - 1


def test_what_the_site_no_longer_has_room_for_may_still_be_changed_otherwise(h: Harness) -> None:
    """What runs goes on where the site file became stricter: its watts and limits must follow."""
    runs = h.submit(job().queue("night").gpus(8))
    waits = h.submit(job().queue("night").gpus(8).held())
    h.site = msgspec.structs.replace(
        h.site,
        queues=(Queue("night", Quota(gpus=4)), Queue("day")),
        timing=msgspec.structs.replace(h.site.timing, max_grace_s=10.0),
    )
    h.restart_scheduler()
    h.join()
    h.run(2)
    assert update(h, runs, priority="high") == f"job {runs}: priority 50 → 75"
    assert update(h, runs, runtime="2h") == f"job {runs}: runtime none → 2h"
    assert update(h, runs, retries=2) == f"job {runs}: retries none → 2"
    denied = refusal(h, waits, gpus_per_node=6)
    never = "requests 6 GPUs, the quota of queue night is 4 GPUs at a time"
    assert denied.reason == f"job {waits} could never start: {never}"
    assert update(h, waits, gpus_per_node=4)


def test_a_deadline_that_running_work_cannot_meet_is_refused_in_true_words(h: Harness) -> None:
    runs = h.submit(job().gpus(8).runtime(7_200))
    soon = datetime.fromtimestamp(h.now.unix_s + 3_600, UTC)
    denied = refusal(h, runs, deadline=soon.strftime("%Y-%m-%dT%H:%M"))
    assert denied.reason.startswith(f"job {runs} could not start again: cannot end by its")


def test_a_change_is_in_the_audit_log(h: Harness) -> None:
    number = h.submit(job("sweep").gpus(8).retries(0))
    update(h, number, retries=2, account="vision")
    event = h.events("job_updated")[0]
    assert event.text == "'sweep': account none → vision, retries none → 2"
    assert (event.actor, event.job) == ("ops", number)


def test_a_stop_uses_the_new_grace(h: Harness) -> None:
    number = h.submit(job().gpus(1).grace(60))
    update(h, number, grace="5s")
    h.do(Requeue(only(number), "t"))
    stops = [m for name in h.agents for m in h.sent_to(name, StopTask)]
    assert [m.grace_s for m in stops if isinstance(m, StopTask)] == [5.0]


def test_a_shorter_grace_shortens_a_stop_that_has_begun(h: Harness) -> None:
    number = h.submit(job().gpus(1).grace(60))
    h.cut_off |= {NodeId(name) for name in h.agents}
    h.do(Cancel(only(number)))
    update(h, number, grace="90s")
    update(h, number, grace="0s")
    stops = [m for name in h.agents for m in h.sent_to(name, StopTask)]
    assert [m.grace_s for m in stops if isinstance(m, StopTask)] == [60.0, 0.0]
    assert len({m.seq for m in stops if isinstance(m, StopTask)}) == 2, "the first is replaced"


def limits(h: Harness, number: JobId) -> list[float]:
    return [
        task.order.runtime_limit_s
        for agent in h.agents.values()
        for ref, task in agent.tasks.items()
        if ref.job == number and task.phase != "ended"
    ]


def test_running_work_gets_its_new_run_time_limit_at_once(h: Harness) -> None:
    number = h.submit(job().gpus(4).nodes(2).runtime(3_600))
    assert update(h, number, time="2h") == f"job {number}: runtime 1h → 2h"
    assert limits(h, number) == [7_200.0, 7_200.0]
    update(h, number, time="none")
    assert limits(h, number) == [0.0, 0.0]
    sent = len([m for name in h.agents for m in h.sent_to(name, LimitTask)])
    h.run(5)
    assert len([m for name in h.agents for m in h.sent_to(name, LimitTask)]) == sent == 4


def test_a_limit_that_the_agent_did_not_hear_is_sent_again(h: Harness) -> None:
    number = h.submit(job().gpus(1).runtime(3_600))
    h.cut_off.update(h.agents)
    h.ask(Update(only(number), {"time": "2h"}))
    h.restart_scheduler()
    h.cut_off.clear()
    h.join()
    h.run(3)
    assert h.state_of(number) == "RUNNING"
    assert limits(h, number) == [7_200.0]


def test_a_task_that_is_being_stopped_gets_no_new_limit(h: Harness) -> None:
    number = h.submit(job().gpus(1).runtime(3_600))
    h.cut_off.update(h.agents)
    h.ask(Requeue(only(number), "t"))
    h.ask(Update(only(number), {"time": "2h"}))
    assert not [m for name in h.agents for m in h.sent_to(name, LimitTask)]


def test_what_running_work_holds_changes_only_while_it_waits(h: Harness) -> None:
    number = h.submit(job().gpus(8))
    assert refusal(h, number, gpus=4) == Denied(
        "conflict",
        f"job {number} runs; --gpus can change only while it does not run: "
        "hold it, requeue it, update it, release it",
    )
    h.do(Hold(only(number)))
    h.do(Requeue(only(number), "t"))
    assert update(h, number, gpus=4) == f"job {number}: gpus_per_node 8 → 4"
    h.do(Release(only(number)))
    assert len(h.gang(number).live[0].record.gpus) == 4


def test_nodes_change_only_before_the_first_try(h: Harness) -> None:
    tried, fresh = h.submit(job().gpus(8)), h.submit(job().gpus(8).held())
    h.do(Hold(only(tried)))
    h.do(Requeue(only(tried), "t"))
    denied = refusal(h, tried, nodes=2)
    text = f"job {tried} was started with its nodes; to change --nodes submit it again"
    assert denied == Denied("conflict", text)
    update(h, fresh, nodes=2)
    h.do(Release(only(fresh)))
    assert len(h.gang(fresh).live) == 2


def test_what_could_never_start_is_refused_with_what_would_fit(h: Harness) -> None:
    number = h.submit(job().gpus(8).held())
    denied = refusal(h, number, gpus=9)
    assert denied.kind == "impossible"
    assert denied.reason == (
        f"job {number} could never start: requests 9 GPUs per node; no node has more than 8"
    )
    assert h.job(number).spec.resources.gpus_per_node == 8


def test_a_value_that_makes_no_sense_is_refused_with_its_flag(h: Harness) -> None:
    number = h.submit(job().held())
    denied = refusal(h, number, priority="hgih")
    assert denied.kind == "bad_request"
    assert denied.reason.startswith(
        '--priority: priority = "hgih": expected low, normal, high, critical'
    )


def test_a_completed_job_stays_as_it_was(h: Harness) -> None:
    number = h.submit(job())
    h.end_tasks()
    text = f"job {number} has already ended: COMPLETED"
    assert refusal(h, number, priority="low") == Denied("conflict", text)


def test_a_failed_job_changes_before_it_is_requeued_but_not_who_paid(h: Harness) -> None:
    number = h.submit(job().gpus(8))
    h.end_tasks(1)
    assert h.state_of(number) == "FAILED"
    denied = refusal(h, number, account="vision")
    said = f"job {number} has ended and its use is on record; requeue it, then --account"
    assert denied == Denied("conflict", said)
    update(h, number, gpus=4, priority="high")
    h.restart_scheduler()
    h.join()
    h.do(Requeue(only(number), "t"))
    h.run(1)
    assert h.job(number).spec.priority == 75
    assert len(h.gang(number).live[0].record.gpus) == 4


def test_an_index_has_no_specification_of_its_own(h: Harness) -> None:
    number = h.submit(job().array(3).held())
    answer = h.ask(Update(only(number, 1), {"priority": "low"}))
    assert answer == Denied(
        "bad_request",
        f"update changes whole jobs: all indices of job {number} share one specification",
    )


def test_states_are_those_of_whole_jobs(h: Harness) -> None:
    array = h.submit(job().gpus(8).array(4))
    held = h.submit(job().held())
    changes: dict[str, ChangeValue] = {"priority": "low"}
    answer = h.ask(Update(Selection(states=("RUNNING",)), changes))
    assert isinstance(answer, Acted)
    assert [(one.job, one.refused) for one in answer.jobs] == [(array, "")]
    assert h.job(held).spec.priority == 50


def test_the_same_again_says_so_and_a_dry_run_changes_nothing(h: Harness) -> None:
    number = h.submit(job().held())
    answer = h.ask(Update(only(number), {"priority": "low"}, is_dry_run=True))
    assert isinstance(answer, Acted)
    assert answer.jobs[0].text == f"job {number} would be changed"
    assert h.job(number).spec.priority == 50
    assert update(h, number, priority="normal") == f"job {number} has these values already"


def test_an_array_is_throttled_while_it_runs(h: Harness) -> None:
    number = h.submit(job().gpus(2).array(6, 3))
    h.run(1)
    assert h.job(number).live_count == 3
    update(h, number, at_a_time=1)
    h.restart_scheduler()
    h.join()
    h.run(1)
    assert h.job(number).live_count == 3, "nothing is stopped for it"
    for left in (2, 1, 1):
        attempt = next(a for gang in h.job(number).gangs for a in gang.live)
        h.agent(attempt.node).end(attempt.record.ref, 0)
        h.settle()
        assert h.job(number).live_count == left
    update(h, number, at_a_time="none")
    h.run(1)
    assert h.job(number).live_count == 3


def test_no_job_takes_longer_to_stop_than_the_site_allows() -> None:
    """Who sends it away waits for that."""
    h = Harness(site().rack("a", 1).times(max_grace_s=600.0).build())
    h.join()
    said = "recovery.grace is 10m1s, the site's maximum is 10m (max_grace)"
    denied = h.ask(Submit(job().grace(601.0).build(), "long"))
    assert denied == Denied("bad_request", said)
    number = h.submit(job().grace(600.0))
    assert refusal(h, number, grace="10m1s") == Denied("bad_request", said)


def test_what_was_accepted_with_more_grace_than_the_site_allows_now_has_what_it_allows() -> None:
    h = joined(site().rack("a", 1).times(max_grace_s=7_200.0, protected_run_s=0.0).build())
    number = h.submit(job().gpus(8).grace(7_000.0).priority(10))
    h.site = site().rack("a", 1).times(max_grace_s=60.0, protected_run_s=0.0).build()
    h.restart_scheduler()
    h.join()
    h.run(2)
    state = h.cluster.state
    view = job_in_full(h.job(number), h.site.tariff, state.work.runtime_bounds, h.now)
    assert (view.grace_s, h.job(number).spec.recovery.grace_s) == (60.0, 7_000.0)
    ahead = what_if(state, UserName("ada"), job().gpus(8).priority(90).build(), {}, h.now)
    assert isinstance(ahead, ExplainView)
    assert ahead.start_unix_s == pytest.approx(h.now.unix_s + 60.0)
    h.submit(job().gpus(8).priority(90))
    (stop,) = [m for m in h.sent_to("a1", StopTask) if isinstance(m, StopTask)]
    assert stop.grace_s == 60.0
