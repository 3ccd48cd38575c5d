"""What the scaler of a service decides is applied: watts at once, replicas with their reason."""

import msgspec
import pytest

from support.core.harness import BEAT_S
from support.core.rolling import gateway_site
from support.core.scaling import CAPACITY, NAME, ScalingHarness, running, scaled
from support.core.sites import job
from wattline_protocol.ids import DomainId, JobId, UserName
from wattline_protocol.job.selection import only
from wattline_protocol.views.service_views import ServiceView
from wattline_protocol.wire.agent_messages import PauseTask, StopTask
from wattline_protocol.wire.client_messages import (
    Cancel,
    Denied,
    Done,
    Requeue,
    Shed,
    Submit,
    Submitted,
    Update,
)
from wattline_protocol.wire.rollouts import LEAST_RISE_S, MAX_REQUESTS, LoadRise, ReportRises
from wattline_scheduler.core.model.events import MembersSeen
from wattline_scheduler.core.model.jobs.job import LIVE
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.power.scaling.scaler import Scaler, Wanted
from wattline_scheduler.records import MemberRecord
from wattline_scheduler.views.services_view import service_view


def live(h: ScalingHarness, number: JobId) -> list[int]:
    return [gang.number for gang in h.job(number).gangs if gang.phase_name in LIVE]


def view(h: ScalingHarness, number: JobId) -> ServiceView:

    return service_view(
        h.cluster.state, [h.job(number)], Asker(UserName("ada"), "submitter"), h.now
    )


def test_a_low_load_lowers_caps_and_a_high_one_raises_them_within_two_seconds() -> None:
    h, number = running(scaled(1, 1), 0.3 * CAPACITY)
    low_mw = h.cap_mw(number, 0)
    assert low_mw < 400_000
    assert 28 < (view(h, number).requests_per_s or 0.0) <= h.rate
    h.rate = 0.8 * CAPACITY
    h.run(3)  # one to see it, one to decide, and the lease
    assert h.cap_mw(number, 0) > low_mw * 1.3
    shown = view(h, number).watts
    assert shown is not None
    assert (shown.floor, shown.wanted) == (200.0, h.gang(number).wanted_cap_mw / 1000)


def test_replicas_on_different_gpus_get_caps_within_the_range_of_their_own() -> None:
    h, number = running(scaled(2, 2).gpus(5), 1.4 * CAPACITY, nodes=2)
    node = h.node(h.gang(number, 1).live[0].node)
    for at, gpu in node.gpus.items():
        node.gpus[at] = msgspec.structs.replace(gpu, cap_min_mw=100_000, cap_max_mw=400_000)
    h.run(10)
    caps_mw = [h.gang(number, one).wanted_cap_mw for one in (0, 1)]
    assert caps_mw[0] != caps_mw[1] <= 400_000
    h.rate = 0.1 * CAPACITY
    h.run(60)
    caps_mw = [h.gang(number, one).wanted_cap_mw for one in (0, 1)]
    assert caps_mw[0] == 200_000 > caps_mw[1]


def test_more_load_than_the_watts_can_serve_starts_replicas_and_says_why() -> None:
    h, number = running(scaled(1, 4), 0.4 * CAPACITY)
    h.rate = 1.6 * CAPACITY
    h.run(40)
    [event, *_] = h.events("service_scaled")
    assert event.text.startswith("service echo scaled 1 → 2: load 40/s needs 0.")
    assert event.text.endswith("of what 1 replica does, above 0.72")
    count = len(live(h, number))
    assert 2 <= count <= 4
    replicas = view(h, number).replicas
    assert (replicas.min, replicas.max, replicas.want) == (1, 4, count)
    assert "needs" in replicas.why


def test_as_many_replicas_start_as_limits_of_open_jobs_allow() -> None:
    h, number = running(scaled(1, 6), 0.4 * CAPACITY)
    had, state = len(live(h, number)), h.cluster.state
    h.rate = 6.0 * CAPACITY
    for allowed in (had, had + 1):
        state.site = msgspec.structs.replace(state.site, open_jobs_per_user=allowed)
        h.run(40)
        assert len(live(h, number)) == allowed
        assert "open_jobs_per_user" in view(h, number).replicas.why


def test_replicas_are_drained_after_the_cool_down_and_not_before() -> None:
    h, number = running(scaled(1, 4), 1.2 * CAPACITY)
    h.run(60, BEAT_S)
    many = live(h, number)
    assert len(many) > 1
    h.rate = 0.1 * CAPACITY
    h.run(200, BEAT_S)
    assert live(h, number) == many
    h.run(150, BEAT_S)
    assert live(h, number) == [0]
    reported = [
        m for node in h.agents for m in h.sent_to(node, StopTask) if isinstance(m, StopTask)
    ]
    assert {m.grace_s for m in reported} == {h.job(number).grace_s}


def test_silence_of_the_gateway_keeps_watts_and_replicas() -> None:
    h, number = running(scaled(1, 4), 1.2 * CAPACITY)
    h.run(60, BEAT_S)
    many, cap_mw = live(h, number), h.gang(number).wanted_cap_mw
    h.scaling(number).ready_s = 1.0
    h.is_reporting = False
    h.run(400, BEAT_S)
    assert (live(h, number), h.gang(number).wanted_cap_mw) == (many, cap_mw)
    h.is_reporting = True
    h.run(10)
    assert live(h, number) == many
    assert h.scaling(number).ready_s == 1.0, "the silence is no time of a load"


OTHER = MemberRecord("other", "gateway", "O" * 40)
MEMBERS = MemberRecord("gw", "gateway", "G" * 40), OTHER


def with_a_gone_gateway(*, has_reported: bool) -> tuple[ScalingHarness, JobId]:
    h, number = running(scaled(1, 4, idle_to_zero_s=60.0, fallback=("static:null",)), CAPACITY)
    h.handle(MembersSeen(MEMBERS))
    h.blind = ("other",) if has_reported else ()
    h.run(5)
    h.blind, h.rate = (), 0.0
    h.run(70, BEAT_S)
    return h, number


def test_nothing_stops_while_an_enrolled_gateway_is_gone_until_it_reports_again() -> None:
    h, number = with_a_gone_gateway(has_reported=True)
    many = live(h, number)
    h.run(400, BEAT_S)
    assert live(h, number) == many
    assert "no replica stops while gateway other does not report" in view(h, number).replicas.why
    [event] = h.events("gateway_gone")
    assert event.text == "gateway other has not reported for 1m and may still serve"
    h.restart_scheduler()
    h.join()
    h.run(400, BEAT_S)
    assert live(h, number) == many, "it is expected after a restart as well"
    h.blind = ("other",)
    h.run(90, BEAT_S)
    assert live(h, number) == []
    assert h.events("gateway_back")


def test_a_gateway_that_is_removed_or_never_reported_is_not_waited_for() -> None:
    h, number = with_a_gone_gateway(has_reported=False)
    assert live(h, number) == []
    h, number = with_a_gone_gateway(has_reported=True)
    h.run(90, BEAT_S)
    assert live(h, number)
    h.handle(MembersSeen(MEMBERS[:1]))
    h.run(90, BEAT_S)
    assert live(h, number) == []
    assert h.events("gateway_back")


def test_a_restart_keeps_the_number_and_gives_full_watts_until_the_rate_is_learned() -> None:
    h, number = running(scaled(1, 4), 1.2 * CAPACITY)
    h.run(60, BEAT_S)
    many = live(h, number)
    assert len(many) > 1
    h.restart_scheduler()
    h.join()
    h.run(10)
    assert live(h, number) == many
    assert h.cap_mw(number, 0) >= 690_000


def test_a_replica_that_never_gets_ready_does_not_count_and_does_not_block() -> None:
    h, number = running(scaled(1, 4), 0.4 * CAPACITY)
    h.stuck = frozenset({1})
    h.rate = 0.9 * CAPACITY
    h.run(40)
    assert 1 in live(h, number)
    h.rate = 1.05 * CAPACITY
    h.scaling(number).ready_s = 1.0
    h.run(120, BEAT_S)
    assert {0, 1, 2} <= set(live(h, number))
    assert {0, 2} <= set(h.ready(number))


@pytest.mark.parametrize("was_ready", [False, True])
def test_a_failing_replica_is_replaced_only_if_one_of_its_service_was_ever_ready(
    was_ready: bool,
) -> None:
    h = ScalingHarness(gateway_site("gw", nodes=1).site_budget(1_000.0).build())
    h.stuck = frozenset(range(4))
    h.join()
    h.run(4)
    number = h.submit(scaled(1, 4))
    h.run(4)
    h.scaling(number).was_ready = was_ready
    for _ in range(4):
        h.end_tasks(code=2)
        h.run(4)
    assert h.gang(number).failures > 1
    assert (h.job(number).gang_count > 1) == was_ready


def test_a_gateway_that_reaches_no_workers_has_no_replica_replaced() -> None:
    h, number = running(scaled(1, 4), 0.4 * CAPACITY)
    had = live(h, number)
    h.scaling(number).ready_s = 1.0
    h.blind = ("blind",)
    h.run(120, BEAT_S)
    assert live(h, number) == had


def test_a_fixed_number_gets_watts_alone_and_one_without_slo_nothing() -> None:
    h, number = running(scaled(2, 2), 0.2 * CAPACITY)
    assert live(h, number) == [0, 1]
    assert h.cap_mw(number, 0) < 500_000
    plain, other = running(job(NAME).gpus(1).service(2), 0.2 * CAPACITY)
    assert plain.gang(other).wanted_cap_mw == 0
    assert not plain.cluster.state.scaling
    h.do(Update(only(number), {"slo": "none"}))
    h.run(5)
    assert h.gang(number).wanted_cap_mw == 0


def test_an_idle_service_sleeps_and_a_request_wakes_it() -> None:
    builder = scaled(1, 2, fallback=("static:null",), idle_to_zero_s=60.0)
    h, number = running(builder, 0.2 * CAPACITY)
    h.rate = 0.0
    h.run(90, BEAT_S)
    assert live(h, number) == []
    assert h.state_of(number) == "PENDING"
    assert view(h, number).replicas.want == 0
    assert h.scaling(number).is_waking
    h.restart_scheduler()
    h.join()
    h.run(10)
    assert live(h, number) == []
    h.rate = 5.0
    h.run(5)
    assert live(h, number) == [0]
    h.run(5)
    assert not h.scaling(number).is_waking, "a replica is ready"


def test_a_stream_in_progress_and_work_of_a_batch_are_no_idle_service() -> None:
    builder = scaled(1, 2, fallback=("static:null",), idle_to_zero_s=60.0)
    h, number = running(builder, 0.2 * CAPACITY)
    h.rate, h.in_flight = 0.0, 1
    h.run(90, BEAT_S)
    assert live(h, number)
    h.in_flight, h.batch_work = 0, 1
    h.run(90, BEAT_S)
    assert live(h, number)
    h.batch_work = 0
    h.run(90, BEAT_S)
    assert live(h, number) == []


def test_in_a_shed_the_service_keeps_what_its_slo_needs_and_training_gives_way() -> None:
    h, number = running(scaled(2, 2).priority(75), 1.7 * CAPACITY)
    batch = h.submit(job("train").gpus(6).priority(25))
    h.run(10)
    wanted_mw = h.gang(number).wanted_cap_mw
    assert wanted_mw > 300_000
    h.do(Shed(DomainId("site"), by_mw=996_400_000, reason="test"))
    h.run(10)
    assert h.cap_mw(number, 0) >= h.gang(number).wanted_cap_mw * 0.97
    [train] = h.gang(batch).live
    caps = h.agents[train.node].caps_mw
    assert max(caps[at] for at in train.record.gpus) < 350_000


def test_a_replica_that_must_go_is_drained_and_not_frozen() -> None:
    h, number = running(scaled(2, 2).priority(25), 1.2 * CAPACITY)
    h.do(Shed(DomainId("site"), by_mw=998_600_000, reason="test"))
    h.run(10)
    paused = [m for node in h.agents for m in h.sent_to(node, PauseTask)]
    assert not paused
    assert len(live(h, number)) < 2


def test_an_slo_that_one_request_alone_misses_is_reported_with_its_figure() -> None:
    h, number = running(scaled(1, 2, p95_s=0.001), 0.4 * CAPACITY)
    assert h.gang(number).wanted_cap_mw < 500_000
    [event] = h.events("slo_unreachable")
    assert event.text.startswith("service echo: p95=0.001s cannot be kept: requests alone, ")
    answer = h.ask(Update(only(number), {"slo": "p95=10ms"}))
    assert isinstance(answer, Denied)
    assert "p95=0.01s cannot be kept" in answer.reason
    answer = h.ask(Submit(scaled(1, 2, p95_s=0.01).build(), "next"), user="ada", role="submitter")
    assert isinstance(answer, Denied)
    assert "p95=0.01s cannot be kept: requests alone, without caps, take 0.0" in answer.reason
    assert f"(job {number}, which serves); a faster revision" in answer.reason
    h.do(Update(only(number), {"slo": "p95=2s"}))


def test_an_slo_without_a_measured_rate_is_accepted_with_a_warning() -> None:
    h = ScalingHarness(gateway_site("gw").build())
    h.join()
    request = Submit(scaled(1, 2, p95_s=0.001).build(), "first")
    first = h.ask(request, user="ada", role="submitter")
    assert isinstance(first, Submitted)
    assert first.warning.startswith("it is not measured yet how long requests of echo take.")
    assert "p95=0.001s" in first.warning
    assert h.ask(request, user="ada", role="submitter") == first, "the answer may have been lost"
    h.rate = 0.4 * CAPACITY
    h.run(60, BEAT_S)
    assert h.ask(request, user="ada", role="submitter") == Submitted(first.job)
    plain = Submit(job("plain").gpus(1).service(1).build(), "second")
    second = h.ask(plain, user="ada", role="submitter")
    assert second == Submitted(JobId(first.job + 1))


def test_a_service_that_ended_asleep_is_requeued_with_its_least_number() -> None:
    builder = scaled(2, 3, fallback=("static:null",), idle_to_zero_s=60.0)
    h, number = running(builder, 0.0)
    h.run(90, BEAT_S)
    assert (live(h, number), h.job(number).record.replicas) == ([], 0)
    h.do(Cancel(only(number)))
    assert h.state_of(number) == "CANCELLED"
    h.do(Requeue(only(number), "again"))
    h.run(3)
    assert live(h, number) == [0, 1]


def test_a_burst_gets_watts_then_gpus_of_training_which_is_preempted_with_grace() -> None:
    h, number = running(scaled(1, 3).priority(75), 0.5 * CAPACITY)
    count = len(live(h, number))
    train = h.submit(job("train").gpus(8 - count).priority(25).grace(5.0))
    h.run(5)
    assert h.state_of(train) == "RUNNING"
    cap_mw = h.cap_mw(number, 0)
    h.rate = 1.5 * CAPACITY
    h.run(3)
    assert h.cap_mw(number, 0) > 1.5 * cap_mw
    assert len(live(h, number)) == count
    h.run(60)
    assert len(live(h, number)) > count
    assert h.gang(train).reason == f"preempted by job {number} ('echo') of higher priority"
    reported = [
        m for node in h.agents for m in h.sent_to(node, StopTask) if isinstance(m, StopTask)
    ]
    assert {m.grace_s for m in reported if m.ref.job == train} == {5.0}


def rise(h: ScalingHarness, per_s: float, gateway: str = "gw", process: int = 0) -> object:
    report = ReportRises((LoadRise(NAME, per_s), LoadRise("unknown", per_s)), process)
    return h.ask(report, user=gateway, role="gateway")


def test_a_rise_raises_caps_at_once_and_several_gateways_and_processes_add_up() -> None:
    h, number = running(scaled(1, 1), 0.3 * CAPACITY)
    low_mw = h.cap_mw(number, 0)
    assert rise(h, 0.2 * CAPACITY) == Done("")
    wanted_mw = h.gang(number).wanted_cap_mw
    assert wanted_mw > 1.1 * low_mw
    h.settle()
    assert h.cap_mw(number, 0) == wanted_mw, "no tick has passed"
    rise(h, 0.2 * CAPACITY)
    assert h.gang(number).wanted_cap_mw == wanted_mw, "the same rise"
    rise(h, 0.2 * CAPACITY, process=1)
    both_mw = h.gang(number).wanted_cap_mw
    assert both_mw > 1.05 * wanted_mw
    h.run(2)
    rise(h, 0.2 * CAPACITY, gateway="other")
    assert h.gang(number).wanted_cap_mw < 1.05 * both_mw, "those before are over"
    h.run(10)
    assert h.cap_mw(number, 0) == pytest.approx(low_mw, rel=0.05)


def test_one_report_raises_a_service_once_and_reports_that_follow_at_once_are_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    h, _ = running(scaled(1, 1), 0.3 * CAPACITY)
    raised: list[float] = []

    def raise_watts(self: Scaler, more: float, ready: int) -> Wanted:
        raised.append(more)
        return Wanted(0, {}, 1, "")

    monkeypatch.setattr(Scaler, "rise", raise_watts)
    report = ReportRises((LoadRise(NAME, 1.0),) * 20)
    each = h.cluster.state.load_clock.mean_work[NAME].each
    for _ in range(3):
        h.ask(report, user="gw", role="gateway")
    assert raised == [pytest.approx(20.0 * each)]
    h.run(0.5)
    h.ask(report, user="gw", role="gateway")
    assert len(raised) == 2, "twice a second"


def test_rises_that_are_none_move_watts_of_their_service_alone_and_no_budget() -> None:
    """The invariants of the books are checked after each."""
    h, number = running(scaled(1, 4), 0.3 * CAPACITY, kw=5.0)
    other = h.submit(job("other").gpus(4))
    h.run(10)
    before, before_mw = live(h, number), h.cap_mw(number, 0)
    for _ in range(20):
        rise(h, MAX_REQUESTS / LEAST_RISE_S)
        h.run(0.5)
    gpu = next(iter(h.node(h.gang(number).live[0].node).gpus.values()))
    assert 1.2 * before_mw < h.gang(number).wanted_cap_mw <= gpu.cap_max_mw
    assert live(h, number) == before, "replicas follow the seconds"
    assert h.gang(other).phase_name == "running"
