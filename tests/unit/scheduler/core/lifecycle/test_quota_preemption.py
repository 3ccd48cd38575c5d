"""Work of lower priority makes room in a quota, from the notice to the start of who waited."""

import msgspec
import pytest

from support.core.harness import Harness, joined
from support.core.parts import explain_job, what_if
from support.core.preempting import fill, is_slow_to_stop, work
from support.core.sites import JobBuilder, job, site
from wattline_protocol.ids import JobId, UserName
from wattline_protocol.job.selection import only
from wattline_protocol.job.spec import PRIORITIES
from wattline_protocol.site.model import Account, Queue, Quota
from wattline_protocol.views.site_views import ExplainView
from wattline_protocol.wire.agent_messages import TaskUsage
from wattline_protocol.wire.client_messages import Update
from wattline_scheduler.core.lifecycle.job_state import reason_of
from wattline_scheduler.core.model.usage.usage import MJ_PER_KWH

NIGHT = Queue("night", Quota(gpus=8))


def started(nodes: int, *queues: Queue, accounts: tuple[Account, ...] = ()) -> Harness:
    plain = site().rack("a", nodes, kw=60.0).site_budget(60.0).build()
    queues = (*(queues or (NIGHT,)), Queue("day"))
    return joined(msgspec.structs.replace(plain, queues=queues, accounts=accounts))


def low(gpus: int, queue: str = "night") -> JobBuilder:
    return job().queue(queue).gpus(gpus).priority(PRIORITIES["low"])


def high(gpus: int, queue: str = "night") -> JobBuilder:
    return job().queue(queue).gpus(gpus).priority(PRIORITIES["high"])


def seen(h: Harness, number: JobId) -> ExplainView:
    return explain_job(h.cluster.state, h.job(number), h.now)


def reported(h: Harness, number: JobId) -> str:
    return reason_of(h.job(number), h.state_of(number))


def test_who_counts_in_the_quota_makes_room_and_no_other() -> None:
    h = started(2)
    other, first = fill(h, low(4, "day"), run_s=70.0), fill(h, low(4), run_s=900.0)
    second = fill(h, low(4))
    urgent = h.submit(high(4))
    assert [h.state_of(n) for n in (other, first, second, urgent)] == [
        "RUNNING",
        "RUNNING",
        "PENDING",
        "RUNNING",
    ]
    gang = h.gang(second)
    assert (gang.failures, gang.losses, gang.past[0].record.state) == (0, 0, "PREEMPTED")
    (event,) = h.events("gang_preempted")
    assert event.text == (
        f"'work' is preempted by job {urgent} ('work') of higher priority "
        "in the quota of queue night: it is requeued"
    )
    h.end_tasks()
    assert (h.state_of(second), h.gang(second).attempt) == ("RUNNING", 2)


def test_only_as_many_go_as_are_needed_in_all_quotas_at_once() -> None:
    accounts = (Account("lab", quota=Quota(gpus=6)), Account("vision", "lab"))
    h = started(2, accounts=accounts)
    kept = fill(h, low(2, "day").account("vision"), run_s=900.0)
    goes = fill(h, low(2, "day").account("lab"))
    night = [fill(h, low(2), run_s=100.0 + 10 * more) for more in range(4)]
    urgent = h.submit(high(4).account("lab"))
    h.run(2)
    assert [n for n in (kept, goes, *night) if h.state_of(n) == "PENDING"] == [goes, *night[:2]]
    assert h.state_of(urgent) == "RUNNING"


def test_while_it_goes_nobody_takes_what_it_makes_free_and_nobody_else_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    h = started(2)
    goes, stays = fill(h, low(6)), fill(h, low(2), run_s=900.0)
    is_slow_to_stop(h, monkeypatch)
    urgent = h.submit(high(6))
    assert h.gang(goes).phase_name == "ending"
    assert (
        reported(h, urgent) == "waits for work of lower priority to end in the quota of queue night"
    )
    behind = h.submit(low(1))
    h.run(5)
    assert len(h.events("gang_preempted")) == 1
    (attempt,) = h.gang(goes).live
    h.agent(attempt.node).end(attempt.record.ref, 0)
    h.settle()
    assert [h.state_of(n) for n in (urgent, stays, behind)] == ["RUNNING", "RUNNING", "PENDING"]
    assert "quota of queue night reached" in reported(h, behind)


def test_young_work_is_protected_in_its_quota_too() -> None:
    h = started(1)
    victim = h.submit(low(8))
    urgent = h.submit(high(2))
    work(h, victim, 50.0)
    assert (h.state_of(victim), h.state_of(urgent)) == ("RUNNING", "PENDING")
    work(h, victim, 60.0)
    h.submit(job().gpus(0))  # something that makes the scheduler plan
    assert (h.state_of(victim), h.state_of(urgent)) == ("PENDING", "RUNNING")


def test_nobody_goes_from_a_node_that_nobody_hears() -> None:
    h = started(2)
    victim = fill(h, low(8))
    node = h.gang(victim).live[0].node
    h.cut_off.add(node)
    h.run(15)
    urgent = h.submit(high(2))
    assert h.node(node).state == "silent"
    assert (h.state_of(urgent), h.events("gang_preempted")) == ("PENDING", [])
    h.cut_off.discard(node)
    h.agent(node).say_hello()
    h.settle()
    h.run(2)
    assert (h.state_of(urgent), len(h.events("gang_preempted"))) == ("RUNNING", 1)


def test_nobody_goes_where_there_would_be_no_nodes() -> None:
    h = started(1)
    fill(h, low(4))
    fill(h, high(4, "day"))
    urgent = h.submit(high(8))
    h.run(5)
    assert (h.state_of(urgent), h.events("gang_preempted")) == ("PENDING", [])


def test_work_of_the_quota_and_work_on_its_nodes_go_together() -> None:
    h = started(1)
    in_quota, on_node = fill(h, low(4)), fill(h, low(4, "day"))
    urgent = h.submit(high(8))
    assert [h.state_of(n) for n in (in_quota, on_node, urgent)] == ["PENDING", "PENDING", "RUNNING"]
    texts = {event.job: event.text for event in h.events("gang_preempted")}
    assert "in the quota of queue night" in texts[in_quota]
    assert "quota" not in texts[on_node]


def test_who_was_moved_to_another_queue_does_not_count_any_more() -> None:
    """The books know who holds a quota now."""
    h = started(2, NIGHT, Queue("dusk", Quota(gpus=8)))
    moved, stays = fill(h, low(4)), fill(h, low(4), run_s=900.0)
    h.do(Update(only(moved), {"queue": "dusk"}))
    full = h.submit(low(4))
    work(h, full, 2000.0)
    urgent = h.submit(high(4))
    assert [h.state_of(n) for n in (moved, stays, full, urgent)] == [
        "RUNNING",
        "PENDING",
        "RUNNING",
        "RUNNING",
    ]


# --- explain ----------------------------------------------------------------------------------


def test_it_is_told_when_young_work_of_the_quota_will_have_made_way() -> None:
    h = started(2)
    young = fill(h, low(8).grace(10), run_s=20.0)
    urgent = h.submit(high(4))
    view = seen(h, urgent)
    assert view.start_unix_s == pytest.approx(h.now.unix_s + 39 + 10)
    assert view.start_why == (
        f"after job {young} of lower priority has been preempted; it is protected for another 39s"
    )
    assert view.remedies[0].text == (
        f"if job {young} (priority 25) of lower priority were preempted it would start now"
    )


def test_whom_it_would_send_away_counts_in_its_quota() -> None:
    h = started(2)
    in_quota = fill(h, low(8), run_s=900.0)
    fill(h, low(4, "day"))
    view = what_if(h.cluster.state, UserName("ada"), high(4).build(), {}, h.now)
    assert isinstance(view, ExplainView)
    assert view.remedies[0].text.startswith(f"if job {in_quota} (priority")


@pytest.mark.parametrize(("gpus", "nodes"), [(8, 1), (12, 1), (10, 2)])
def test_nothing_helps_where_the_day_s_energy_is_used_up(gpus: int, nodes: int) -> None:
    """Whether the queue has enough GPUs left, or some, or nodes lack them as well."""
    lab = Account("lab", quota=Quota(energy_per_day_wh=1000.0))
    h = started(nodes, Queue("night", Quota(gpus=gpus)), accounts=(lab,))
    victim = fill(h, low(8).account("lab"), run_s=900.0)
    (attempt,) = h.gang(victim).live
    agent, ref = h.agent(attempt.node), attempt.record.ref
    agent.tasks[ref].usage = TaskUsage(run_s=900.0, node_energy_mj=2 * MJ_PER_KWH)
    agent.say_beat()
    h.settle()
    h.run(2)
    urgent = h.submit(high(4).account("lab"))
    h.run(2)
    assert (h.state_of(urgent), h.events("gang_preempted")) == ("PENDING", [])
    view = seen(h, urgent)
    assert (view.remedies, view.start_unix_s) == ((), None)
    h.end_tasks()
    view = seen(h, urgent)
    assert view.start_why == "when its quota resets"
