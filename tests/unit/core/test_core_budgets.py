"""Budgets lowered and restored: who gives, who is paused, who goes on (I4)."""

import pytest

from support.harness import Harness
from support.sites import job, site
from wattline_protocol.ids import DomainId, JobId
from wattline_protocol.messages import Lease, PauseTask, ResumeTask
from wattline_protocol.requests import Denied, Restore, Shed
from wattline_scheduler.core.effects import Save, Send
from wattline_scheduler.core.events import TimePassed
from wattline_scheduler.core.pausing import choose
from wattline_scheduler.core.records import ShedRecord

PDU = DomainId("pdu-a")


@pytest.fixture
def h() -> Harness:
    harness = Harness(site().rack("a", 2, kw=14.0).site_budget(14.0).build())
    harness.join()
    harness.run(2)
    return harness


def two_jobs(h: Harness) -> tuple[JobId, JobId]:
    """A whole node at low and one at high priority, settled."""
    low = h.submit(job("low").gpus(8).priority(25))
    high = h.submit(job("high").gpus(8).priority(75))
    h.run(20)
    return low, high


def kw(h: Harness, number: JobId) -> float:
    return h.committed_kw(h.gang(number).live[0].node)


def test_a_shed_shrinks_at_once_lowest_priority_first(h: Harness) -> None:
    low, high = two_jobs(h)
    before = kw(h, low), kw(h, high)
    h.do(Shed(None, fraction=0.2))
    assert h.cluster.state.books.headroom_mw(DomainId("site")) >= 0
    assert kw(h, low) < before[0] - 1
    assert kw(h, high) == pytest.approx(before[1], abs=0.05)
    assert h.state_of(low) == h.state_of(high) == "RUNNING"


def test_a_shed_is_on_disk_before_any_lease_of_it(h: Harness) -> None:
    two_jobs(h)
    h.effects.clear()
    h.do(Shed(None, fraction=0.2))
    saved = next(
        i
        for i, e in enumerate(h.effects)
        if isinstance(e, Save) and isinstance(e.record, ShedRecord)
    )
    leased = next(
        i for i, e in enumerate(h.effects) if isinstance(e, Send) and isinstance(e.message, Lease)
    )
    assert saved < leased


def test_the_overrun_is_shown_until_the_shrinks_are_acknowledged(h: Harness) -> None:
    two_jobs(h)
    for agent in h.agents.values():
        agent.is_slow_to_ack = True
    h.do(Shed(None, fraction=0.3))
    h.run(1)
    over = h.cluster.state.overruns[DomainId("site")]
    assert over.is_shed
    for agent in h.agents.values():
        agent.ack_now()
    h.settle()
    h.run(1)
    assert not h.cluster.state.overruns
    assert "after" in h.events("budget_met")[-1].text


def test_a_shed_that_takes_nothing_from_anybody_is_met_at_once(h: Harness) -> None:
    h.do(Shed(None, fraction=0.1))
    assert h.events("budget_met")[-1].seq > h.events("budget_shed")[-1].seq


def test_where_floors_do_not_suffice_the_lowest_priority_is_paused_whole(h: Harness) -> None:
    low, high = two_jobs(h)
    h.do(Shed(None, by_mw=8_800_000))
    h.run(2)
    assert h.state_of(low) == "PAUSED"
    assert h.state_of(high) == "RUNNING"
    paused = h.told(h.gang(low).live[0].node, PauseTask)
    assert len(paused) == 1
    assert isinstance(paused[0], PauseTask)
    assert paused[0].kill_after_s == h.site.timing.emergency_grace_s
    assert h.cluster.state.books.headroom_mw(DomainId("site")) >= 0


def test_as_few_as_suffice_are_paused(h: Harness) -> None:
    """Three small gangs and one of four GPUs at the same priority: the large one is enough."""
    small = [h.submit(job().gpus(1)) for _ in range(3)]
    large = h.submit(job().gpus(8))
    h.run(20)
    h.do(Shed(None, by_mw=9_500_000))
    h.run(2)
    assert h.state_of(large) == "PAUSED"
    assert {h.state_of(number) for number in small} == {"RUNNING"}


def test_the_smallest_gang_that_is_enough_is_chosen(h: Harness) -> None:
    h.submit(job().gpus(8))
    small = h.submit(job().gpus(1))
    chosen = choose(h.cluster.state, {DomainId("site"): 100_000})
    assert [gang.job.id for gang in chosen] == [small]
    assert len(choose(h.cluster.state, {DomainId("site"): 900_000})) == 1
    assert len(choose(h.cluster.state, {DomainId("site"): 1_150_000})) == 2


def test_nobody_else_is_paused_while_a_pause_is_under_way(h: Harness) -> None:
    numbers = [h.submit(job().gpus(4)) for _ in range(4)]
    h.run(20)
    h.cut_off.update(h.agents)
    h.ask(Shed(None, by_mw=8_700_000))
    for _ in range(14):
        h.mono_s += 0.15
        h.handle(TimePassed())
    assert [h.state_of(n) for n in numbers].count("PAUSED") == 1


def test_a_paused_gang_goes_on_when_it_fits_again(h: Harness) -> None:
    low, _ = two_jobs(h)
    h.do(Shed(None, by_mw=8_800_000))
    h.run(5)
    name = h.gang(low).live[0].node
    attempt = h.gang(low).attempt
    h.do(Restore(None))
    h.run(5)
    assert h.state_of(low) == "RUNNING"
    assert h.told(name, ResumeTask)
    assert h.gang(low).attempt == attempt, "the same attempt goes on"
    assert h.events("gang_resumed")


def test_paused_work_keeps_its_place_against_new_jobs(h: Harness) -> None:
    low, _ = two_jobs(h)
    h.do(Shed(None, by_mw=8_800_000))
    h.run(5)
    other = h.submit(job().gpus(1).priority(100))
    assert h.state_of(other) == "PENDING"
    assert h.state_of(low) == "PAUSED"


def test_a_task_killed_by_the_emergency_is_tried_again(h: Harness) -> None:
    low, _ = two_jobs(h)
    h.do(Shed(None, by_mw=8_800_000))
    h.run(5)
    attempt = h.gang(low).live[0]
    h.agent(attempt.node).end(attempt.record.ref, kind="emergency")
    h.settle()
    assert h.state_of(low) == "PENDING"
    assert h.gang(low).failures == 0


def test_a_pause_survives_a_restart_of_the_scheduler(h: Harness) -> None:
    low, _ = two_jobs(h)
    h.do(Shed(None, by_mw=8_800_000))
    h.run(5)
    h.restart_scheduler()
    h.join()
    h.run(3)
    assert h.state_of(low) == "PAUSED"
    assert h.cluster.state.domains.budget_mw(DomainId("site")) == 5_200_000
    h.do(Restore(None))
    h.run(8)
    assert h.state_of(low) == "RUNNING"


def test_a_shed_for_a_time_ends_by_itself(h: Harness) -> None:
    h.do(Shed(PDU, fraction=0.5, for_s=10))
    assert h.cluster.state.domains.budget_mw(PDU) == 7_000_000
    h.run(9)
    assert h.cluster.state.domains.budget_mw(PDU) == 7_000_000
    h.run(2)
    assert h.cluster.state.domains.budget_mw(PDU) == 14_000_000
    assert "its time is over" in h.events("budget_restored")[-1].text


def test_what_is_left_of_its_time_survives_a_restart(h: Harness) -> None:
    h.do(Shed(PDU, fraction=0.5, for_s=10))
    h.run(6)
    h.restart_scheduler()
    h.run(2)
    assert h.cluster.state.domains.budget_mw(PDU) == 7_000_000
    h.run(3)
    assert h.cluster.state.domains.budget_mw(PDU) == 14_000_000


def test_a_shed_that_ended_while_the_scheduler_was_away_is_over(h: Harness) -> None:
    h.do(Shed(PDU, fraction=0.5, for_s=5))
    h.mono_s += 60
    h.restart_scheduler()
    h.tick()
    assert PDU not in h.cluster.state.sheds


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (Shed(DomainId("pdu-z"), fraction=0.1), "no domain 'pdu-z'"),
        (Shed(None), "either a share"),
        (Shed(None, fraction=0.1, by_mw=5), "either a share"),
        (Shed(None, fraction=1.5), "between 0 and 1"),
        (Shed(None, by_mw=10**12), "cannot be shed"),
        (Shed(None, fraction=0.1, for_s=-1), "no duration"),
        (Restore(None), "not lowered"),
        (Restore(DomainId("x")), "no domain 'x'"),
    ],
)
def test_a_bad_request_says_what_would_be_right(
    h: Harness, request_: Shed | Restore, words: str
) -> None:
    answer = h.ask(request_)
    assert isinstance(answer, Denied)
    assert words in answer.reason


def test_who_why_and_how_much_are_in_the_audit_log(h: Harness) -> None:
    h.do(Shed(None, fraction=0.25, reason="grid event"), user="olga")
    event = h.events("budget_shed")[-1]
    assert event.who == "olga"
    assert "25%" in event.text
    assert "grid event" in event.text
