"""Budgets lowered and restored: who gives, who is paused, who goes on (I4)."""

from dataclasses import replace

import msgspec
import pytest

from support.core.harness import Harness, joined
from support.core.sites import job, site
from wattline_protocol.ids import DomainId, JobId
from wattline_protocol.wire.agent_messages import Lease, PauseTask, ResumeTask
from wattline_protocol.wire.client_messages import Denied, Restore, Shed
from wattline_scheduler.core.emergency.pausing import FLOORS, to_pause
from wattline_scheduler.core.leases.budget_limits import put_limit, withdraw_limit
from wattline_scheduler.core.model.effects import Save, Send
from wattline_scheduler.core.model.events import TimePassed
from wattline_scheduler.core.model.jobs.job import Running, Starting
from wattline_scheduler.power.topology.budgets import Limit
from wattline_scheduler.records import LimitRecord

PDU = DomainId("pdu-a")
SITE_ROW = 0


@pytest.fixture
def h() -> Harness:
    return joined(site().rack("a", 2, kw=14.0).site_budget(14.0).build())


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
        if isinstance(e, Save) and isinstance(e.record, LimitRecord)
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
    paused = h.sent_to(h.gang(low).live[0].node, PauseTask)
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
    state = h.cluster.state
    running = state.work.gangs_in(Running, Starting)
    chosen = to_pause(state, {SITE_ROW: 100_000}, running)
    assert [gang.job.id for gang in chosen] == [small]
    assert len(to_pause(state, {SITE_ROW: 900_000}, running)) == 1
    assert len(to_pause(state, {SITE_ROW: 1_150_000}, running)) == 2


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
    assert h.sent_to(name, ResumeTask)
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
    assert "its time has ended" in h.events("budget_restored")[-1].text


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
    assert not h.cluster.state.limits


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (Shed(DomainId("pdu-z"), fraction=0.1), "no domain 'pdu-z'; the nearest is pdu-a"),
        (Shed(None), "either a share"),
        (Shed(None, fraction=0.1, by_mw=5), "either a share"),
        (Shed(None, fraction=1.5), "between 0 and 1"),
        (Shed(None, by_mw=10**12), "cannot shed"),
        (Shed(None, fraction=0.1, for_s=-1), "duration must be between 0 and 31622400 s, not -1 s"),
        (Restore(None), "no shed of site"),
        (Restore(DomainId("x")), "no domain 'x'; the site has "),
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
    assert event.actor == "olga"
    assert "25%" in event.text
    assert "grid event" in event.text


# --- ramps, controllers, restarts -----------------------------------------------------------


def budget_mw(h: Harness, domain: str = "site") -> int:
    return h.cluster.state.domains.budget_mw(DomainId(domain))


def test_a_ramped_shed_is_followed_without_ever_being_over_budget(h: Harness) -> None:
    two_jobs(h)
    h.do(Shed(None, fraction=0.3, ramp_s=60))
    began_mw, began_s = budget_mw(h), h.mono_s
    seen = []
    while h.mono_s < began_s + 70:
        h.run(1)
        line_mw = began_mw * (1 - 0.3 * min(1.0, (h.mono_s - began_s) / 60))
        assert budget_mw(h) == pytest.approx(line_mw, abs=began_mw * 0.3 / 60)
        assert not h.cluster.state.overruns
        seen.append(h.cluster.state.books.committed_in(DomainId("site")))
    assert not h.events("over_budget"), "a ramp that is followed is no alarm"
    assert seen[-1] < seen[0] - 2_000_000
    assert budget_mw(h) == 9_800_000


def test_a_ramp_that_floors_cannot_follow_is_met_by_a_pause_that_begins_in_time(h: Harness) -> None:
    """What these jobs must keep is no more than their floors: nobody is paused for a keep."""
    low, high = (
        h.submit(job().gpus(8).watts_per_gpu(300).priority(priority)) for priority in (25, 75)
    )
    h.run(20)
    floors_mw = sum(load.floor_mw for load in h.cluster.state.fleet.loads.values())
    falls_mw = budget_mw(h) * 0.65 / 60
    h.do(Shed(None, fraction=0.65, ramp_s=60))
    while h.state_of(low) == "RUNNING":
        h.run(0.5)
    spare_mw = h.cluster.state.domains.usable_mw(DomainId("site")) - floors_mw
    assert 4 * falls_mw < spare_mw < 8 * falls_mw, "a second of notice, three at idle"
    assert h.gang(low).reason == FLOORS
    h.run(30)
    assert not h.events("over_budget")
    assert (h.state_of(low), h.state_of(high)) == ("PAUSED", "RUNNING")


def test_a_ramp_that_is_not_followed_is_seen(h: Harness) -> None:
    two_jobs(h)
    for agent in h.agents.values():
        agent.is_slow_to_ack = True
    h.do(Shed(None, fraction=0.5, ramp_s=30))
    h.run(20)
    over = h.cluster.state.overruns[DomainId("site")]
    assert "ramp" in over.cause
    assert len(h.events("over_budget")) == 1, "said once"
    for agent in h.agents.values():
        agent.ack_now()
    h.settle()


def test_a_ramp_goes_on_after_a_restart(h: Harness) -> None:
    h.do(Shed(None, fraction=0.5, ramp_s=100, for_s=200, release_s=100))
    h.run(30)
    h.restart_scheduler()
    h.join()
    h.run(20)
    assert budget_mw(h) == pytest.approx(14_000_000 * 0.75, rel=0.01)
    h.run(200)
    assert budget_mw(h) == pytest.approx(14_000_000 * 0.75, rel=0.01), "half way up again"
    assert h.events("budget_rising")
    h.restart_scheduler()
    h.join()
    h.run(55)
    assert budget_mw(h) == 14_000_000
    assert not h.cluster.state.limits
    assert len(h.events("budget_restored")) == len(h.events("budget_rising")) == 1


def test_a_restore_may_be_ramped(h: Harness) -> None:
    h.do(Shed(None, fraction=0.5))
    h.do(Restore(None, ramp_s=10))
    assert budget_mw(h) == 7_000_000
    h.run(5)
    assert budget_mw(h) == pytest.approx(10_500_000, rel=0.03)
    h.run(6)
    assert budget_mw(h) == 14_000_000


def test_a_restore_goes_on_from_where_the_budget_is_rising_already(h: Harness) -> None:
    h.do(Shed(None, fraction=0.5, for_s=10, release_s=100))
    h.run(60)
    risen_mw = budget_mw(h)
    assert risen_mw == pytest.approx(10_500_000, rel=0.02)
    h.do(Restore(None, ramp_s=10))
    assert budget_mw(h) == risen_mw
    h.run(5)
    assert budget_mw(h) == pytest.approx((risen_mw + 14_000_000) / 2, rel=0.02)
    h.run(6)
    assert budget_mw(h) == 14_000_000


def test_a_restore_in_the_middle_of_a_ramp_stops_its_fall(h: Harness) -> None:
    h.do(Shed(None, fraction=0.5, ramp_s=100))
    h.run(50)
    fallen_mw = budget_mw(h)
    h.do(Restore(None, ramp_s=100))
    h.restart_scheduler()
    h.join()
    assert fallen_mw <= budget_mw(h) <= fallen_mw + 100_000


def test_a_new_shed_replaces_a_restore_under_way(h: Harness) -> None:
    h.do(Shed(None, fraction=0.5))
    h.do(Restore(None, ramp_s=100))
    h.run(50)
    h.do(Shed(None, fraction=0.5))
    h.run(100)
    assert budget_mw(h) == 7_000_000


def cooling(h: Harness, value_mw: int, ramp_s: float = 0.0) -> Limit:
    start = h.now.mono_s
    return Limit(PDU, "cooling", "cooling", value_mw, start, ramp_s=ramp_s, why="inlet 29 °C")


def test_a_controller_may_change_its_limit_every_second(h: Harness) -> None:
    two_jobs(h)
    for second in range(30):
        limit = cooling(h, 14_000_000 - 150_000 * second, ramp_s=1.0)
        put_limit(h.cluster.state, limit, h.now)
        h.run(1)
        assert not h.cluster.state.overruns
    assert budget_mw(h, "pdu-a") == pytest.approx(14_000_000 - 150_000 * 29, abs=150_000)
    assert withdraw_limit(h.cluster.state, PDU, "cooling", h.now)
    assert budget_mw(h, "pdu-a") == 14_000_000
    assert not withdraw_limit(h.cluster.state, PDU, "cooling", h.now)


def test_a_controllers_limit_holds_after_a_restart_until_it_speaks_again() -> None:
    h = Harness(site().rack("a", 2, kw=14.0).metered("a").build())
    put_limit(h.cluster.state, cooling(h, 9_999_000), h.now)
    h.tick()
    h.restart_scheduler()
    assert 9_800_000 <= budget_mw(h, "pdu-a") <= 9_999_000, "never above what was known"
    put_limit(h.cluster.state, cooling(h, 12_000_000), h.now)
    assert budget_mw(h, "pdu-a") == 12_000_000


def test_the_limit_of_a_controller_that_left_the_site_file_ends_at_the_restart(h: Harness) -> None:
    put_limit(h.cluster.state, cooling(h, 9_999_000), h.now)
    h.tick()
    h.restart_scheduler()
    assert budget_mw(h, "pdu-a") == 14_000_000


def test_the_disk_hears_of_a_controller_in_steps_only(h: Harness) -> None:
    h.effects.clear()
    for small in range(100):
        put_limit(h.cluster.state, cooling(h, 10_000_000 - small * 1_000), h.now)
    h.tick()
    saves = [e for e in h.effects if isinstance(e, Save) and isinstance(e.record, LimitRecord)]
    assert len(saves) <= 3


def test_only_controllers_put_limits_without_a_record_of_who(h: Harness) -> None:
    with pytest.raises(ValueError, match="requests with an end"):
        put_limit(h.cluster.state, replace(cooling(h, 1), source="operator"), h.now)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (Shed(None, fraction=0.1, ramp_s=-1), "ramp must be between 0 and 86400 s, not -1 s"),
        (
            Shed(None, fraction=0.1, release_s=123456789.0),
            "ramp must be between 0 and 86400 s, not 123456789 s",
        ),
        (Shed(None, fraction=0.1, ramp_s=60, for_s=30), "is longer than the shed"),
        (Restore(None, ramp_s=float("nan")), "ramp must be between 0 and 86400 s"),
        (Shed(None, by_mw=-1), "cannot shed"),
        (Shed(None, fraction=0.1, by_mw=-1), "specify either"),
    ],
)
def test_a_bad_shed_says_what_would_be_right(
    h: Harness, request_: Shed | Restore, words: str
) -> None:
    answer = h.ask(request_)
    assert isinstance(answer, Denied)
    assert words in answer.reason


def test_restore_without_a_shed_names_what_limits_the_domain(h: Harness) -> None:
    put_limit(h.cluster.state, cooling(h, 9_000_000), h.now)
    answer = h.ask(Restore(PDU))
    assert isinstance(answer, Denied)
    assert "its cooling is in force" in answer.reason


def test_a_ramp_below_what_jobs_must_keep_pauses_in_time(h: Harness) -> None:
    low, high = two_jobs(h)
    h.do(Shed(None, by_mw=8_800_000, ramp_s=120))
    while budget_mw(h) > 5_200_000:
        h.run(0.5)
        assert not h.cluster.state.overruns
    assert h.state_of(low) == "PAUSED"
    assert h.state_of(high) == "RUNNING"
    assert not h.events("over_budget")


def test_a_limit_of_a_domain_that_is_gone_is_over_at_a_restart(h: Harness) -> None:
    h.do(Shed(PDU, fraction=0.5))
    others = tuple(d for d in h.site.domains if d.id != PDU)
    nodes = tuple(msgspec.structs.replace(n, inputs=(DomainId("site"),)) for n in h.site.nodes)
    h.site = msgspec.structs.replace(h.site, domains=others, nodes=nodes)
    h.restart_scheduler()
    h.tick()
    assert not h.cluster.state.limits
    assert "no such domain" in h.events("limit_dropped")[-1].text
    h.restart_scheduler()
    h.tick()
    assert len(h.events("limit_dropped")) == 1
