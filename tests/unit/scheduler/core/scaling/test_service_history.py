"""Loads are kept by the minute and restored; a burning error budget is one problem."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.core.rolling import RollingHarness, echo, gateway_site
from support.core.sites import job
from support.store.stores import NOW, settle
from wattline_protocol.ids import UserName
from wattline_protocol.job.selection import only
from wattline_protocol.job.spec import Slo
from wattline_protocol.views.capacity_views import CapacityView, GetCapacity
from wattline_protocol.wire.client_messages import Cancel, Denied
from wattline_protocol.wire.rollouts import BUCKETS_S, ReportTraffic, ServiceTraffic
from wattline_scheduler.core.cluster import Cluster
from wattline_scheduler.core.model.events import ServiceHistoryRead
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.scaling import measured_loads, service_history
from wattline_scheduler.core.scaling.service_history import forget_ended
from wattline_scheduler.power.scaling.load_history import HOUR_S, HourLoad
from wattline_scheduler.power.scaling.work_rate import KNOWN_WINDOWS
from wattline_scheduler.records import Saved
from wattline_scheduler.service_rollup import ServiceHour, ServiceRollup
from wattline_scheduler.shell.service_rollups import ServiceRollups
from wattline_scheduler.store.rollups import SERVICE_KEEP_S, SERVICE_RECENT_S
from wattline_scheduler.store.store import Store
from wattline_scheduler.views.capacity_view import capacity_view
from wattline_scheduler.views.slo_view import slo_view

TIMES = (0, 0, 0, 0, 100) + (0,) * (len(BUCKETS_S) - 4)
"""Of 4 ms."""

FAILING = ServiceTraffic("echo", 100, failed=100)
GOOD = ServiceTraffic("echo", 100, answered=100, work=100, times=TIMES)


SERVICE = job("echo").gpus(1).service(1, Slo(0.2)).grace(1.0)


class Served(RollingHarness):
    """A service with an SLO, whose gateway reports once a second."""

    def __init__(self) -> None:
        super().__init__(gateway_site("gw").build())
        self.reporting.clear()
        self.join()
        self.run(1)
        self.number = self.submit(SERVICE)
        self.run(4)

    def serve(self, load: ServiceTraffic, seconds: int) -> None:
        for _ in range(seconds):
            self.ask(ReportTraffic((), (), services=(load,)), user="gw", role="gateway")
            self.run(1.0)

    def alerts(self) -> list[str]:
        kinds = [event.kind for event in self.cluster.state.journal.events]
        return [kind for kind in kinds if kind.startswith("slo_")]


def test_a_burning_error_budget_is_one_event_and_its_end_another() -> None:
    h = Served()
    h.serve(FAILING, 130)
    assert h.alerts() == ["slo_burning"]
    (problem,) = [
        p for (kind, _), p in h.cluster.state.problems.open.items() if kind == "slo_burning"
    ]
    assert "100 % of" in problem.record.evidence
    h.ask(Cancel(only(h.number)))
    h.run(70)
    assert h.alerts() == ["slo_burning", "slo_burning_over"]


@pytest.mark.parametrize("is_waking", [True, False])
def test_what_the_fallback_answers_for_a_sleeping_service_burns_no_budget(is_waking: bool) -> None:
    h = Served()
    h.serve(GOOD, 2)
    h.cluster.state.scaling[h.number].is_waking = is_waking
    h.serve(ServiceTraffic("echo", 100, failed=100), 1)
    h.serve(ServiceTraffic("echo", covered=90, times=TIMES), 1)
    [minutes] = h.cluster.state.service_minutes.values()
    failed = sum(one.failed for one in minutes.recent)
    answered = sum(one.answered for one in minutes.recent)
    assert (failed, answered) == ((10, 290) if is_waking else (100, 200))


def test_its_view_says_what_burns_and_what_is_not_known() -> None:
    h = Served()
    nothing = slo_view(h.cluster.state, SERVICE.build(), h.now)
    assert nothing is not None
    assert (nothing.burn_1h, nothing.measured_p95_ms, nothing.known_h) == (None, None, 0.0)
    h.serve(GOOD, 3)
    h.serve(ServiceTraffic("echo", 100, failed=1, answered=99, work=99, times=TIMES), 1)
    view = slo_view(h.cluster.state, SERVICE.build(), h.now)
    assert view is not None
    assert (view.p95_ms, view.errors) == (200.0, 0.001)
    assert view.burn_1h == view.burn_6h == pytest.approx(2.5)
    assert view.measured_errors == 0.0025
    assert slo_view(h.cluster.state, echo(1).build(), h.now) is None


def test_minutes_are_saved_and_restored(tmp_path: Path) -> None:
    h = Served()
    rollups = ServiceRollups(h.cluster.state)
    rollups.read(h.now)
    h.serve(GOOD, 61)
    ended = rollups.read(h.now)
    assert ended
    rest = rollups.take()
    store, _ = Store.open(tmp_path, now_unix_s=NOW)
    store.commit([*ended, *rest])
    store.close()
    store, saved = Store.open(tmp_path, now_unix_s=NOW)
    assert sum(row.answered for row in saved.service_minutes) == 6_100
    assert [(one.service, one.owner, round(one.busiest)) for one in saved.service_hours] == [
        ("echo", "ada", 100)
    ]
    store.close()
    restored = msgspec.structs.replace(
        h.disk.load(), service_minutes=saved.service_minutes, service_hours=saved.service_hours
    )
    h.cluster = Cluster(h.site, restored, h.now)
    minutes = h.cluster.state.service_minutes["echo"]
    assert sum(one.answered for one in minutes.recent) == 6_100
    assert [h.busiest for h in minutes.history.hours.values()] == [pytest.approx(100.0, rel=0.05)]
    h.serve(GOOD, 4)
    assert sum(one.answered for one in minutes.recent) > 6_100


def test_a_service_that_is_submitted_again_later_finds_what_is_on_record(tmp_path: Path) -> None:
    h, ada, eve = Served(), UserName("ada"), UserName("eve")
    h.serve(GOOD, 61)
    h.ask(Cancel(only(h.number)))
    h.run(5)
    store, _ = Store.open(tmp_path, now_unix_s=NOW)
    store.commit([*ServiceRollups(h.cluster.state).take(), ServiceRollup("other", ada, 0, 60.0)])
    h.restart_scheduler()
    h.join()
    h.submit(SERVICE)
    h.serve(GOOD, 2)
    state = h.cluster.state
    assert list(state.histories_wanted) == [("echo", ada)]
    minutes = state.service_minutes["echo"]
    assert not minutes.history.hours
    h.handle(ServiceHistoryRead("echo", ada, *store.service_history("echo", ada)))
    store.close()
    assert not state.histories_wanted
    assert [one.busiest for one in minutes.history.hours.values()] == [pytest.approx(100.0, 0.05)]
    assert sum(one.answered for one in minutes.recent) > 6_000
    others = ServiceHour("echo", eve, 9, 9e9, 1.0, 1.0)
    h.handle(ServiceHistoryRead("echo", eve, [others], []))
    assert 9 not in minutes.history.hours


def test_a_service_that_never_ran_has_no_minutes_before_its_first_request() -> None:
    h = Served()
    waiting = h.submit(job("waiting").gpus(1).service(1, Slo(0.2)).held())
    h.serve(GOOD, 3)
    minutes = h.cluster.state.service_minutes
    assert minutes["echo"].recent
    assert not minutes["waiting"].recent
    h.serve(ServiceTraffic("waiting", 1, failed=1), 3)
    assert sum(one.requests for one in minutes["waiting"].recent) > 0
    assert not h.job(waiting).has_run


def test_the_history_of_another_owner_is_not_taken_over() -> None:
    h = Served()
    row = ServiceRollup("echo", UserName("eve"), 60, 60.0, answered=7)
    peak = ServiceHour("echo", UserName("eve"), 1, 9e9, 9e9, 60.0)
    saved: Saved = msgspec.structs.replace(
        h.disk.load(), service_minutes=(row,), service_hours=(peak,)
    )
    minutes = Cluster(h.site, saved, h.now).state.service_minutes["echo"]
    assert (list(minutes.recent), minutes.history.hours) == ([], {})


def test_a_restart_loads_hours_and_five_weeks_are_kept(tmp_path: Path) -> None:
    store, _ = Store.open(tmp_path, now_unix_s=NOW)
    now = int(NOW)
    starts = (now, now - SERVICE_RECENT_S - 60, now - SERVICE_KEEP_S - 60)
    rows = [ServiceRollup("svc", UserName("ada"), at, 60.0, 600.0) for at in starts]
    partial = ServiceRollup("svc", UserName("ada"), now - 7_200, 3.0, 9_000.0)
    store.commit([*rows, partial, msgspec.structs.replace(rows[0], answered=5)])
    store.tidy(settle(store, NOW))
    store.close()
    store, saved = Store.open(tmp_path, now_unix_s=NOW)
    assert [(row.start_unix_s, row.answered) for row in saved.service_minutes] == [
        (now - 7_200, 0),
        (now, 5),
    ]
    assert [hour.busiest for hour in saved.service_hours] == [10.0, 10.0]
    store.close()


def test_without_gateways_the_load_is_kept_as_not_known() -> None:
    h = Served()
    h.run(3)
    minutes = h.cluster.state.service_minutes["echo"]
    assert sum(one.seconds for one in minutes.recent) == 0.0


def test_a_plan_of_its_capacity_needs_a_measured_replica_and_hours() -> None:
    h = Served()

    def ask(**more: Any) -> CapacityView | Denied:
        return capacity_view(h.cluster.state, GetCapacity("echo", **more), h.now)

    h.serve(GOOD, 2)
    denied = ask()
    assert isinstance(denied, Denied)
    assert "not known yet" in denied.reason
    scaler = h.cluster.state.scaling[h.number].scaler
    assert scaler is not None
    for window in range(KNOWN_WINDOWS):
        scaler.rate.learn(50.0 + window, 0.05, 1.0, h.now.mono_s)
    denied = ask()
    assert isinstance(denied, Denied)
    assert "no full hour" in denied.reason
    before = int(h.now.unix_s) // HOUR_S - 1
    hour = HourLoad(100.0, 3_600.0 * 40.0, 3_600.0)
    h.cluster.state.service_minutes["echo"].history.hours[before] = hour
    found = ask(growth=2.0)
    assert isinstance(found, CapacityView)
    assert [one.growth for one in found.plans] == [2.0, 4.0]
    assert found.known_hours == 1
    assert found.plans[0].hours[0].busiest_per_s == 200.0
    denied = ask(slo=Slo(0.001))
    assert isinstance(denied, Denied)
    assert "a request alone" in denied.reason
    plain = h.submit(job("plain").gpus(1).service(1))
    for request in (GetCapacity("plain"), GetCapacity("plain", slo=Slo(0.2))):
        denied = capacity_view(h.cluster.state, request, h.now)
        assert isinstance(denied, Denied)
        assert f"`wattline update {plain} --slo p95=200ms`" in denied.reason
    h.submit(job("waiting").gpus(1).service(1, Slo(0.2)).held())
    denied = capacity_view(h.cluster.state, GetCapacity("waiting"), h.now)
    assert isinstance(denied, Denied)
    assert "no replica of waiting has run yet" in denied.reason
    unknown = capacity_view(h.cluster.state, GetCapacity("ehco"), h.now)
    assert isinstance(unknown, Denied)
    assert "echo" in unknown.reason


def test_services_that_ended_are_forgotten_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for each that begins: of 4,000 services that is a look at 4,000 others each."""
    h, looks = Served(), list[int]()

    def counted(state: State) -> None:
        looks.append(len(state.service_minutes))
        forget_ended(state)

    monkeypatch.setattr(measured_loads, "forget_ended", counted)
    monkeypatch.setattr(service_history, "MAX_ENDED", 2)
    others = [h.submit(job(f"s{number}").gpus(8).service(1, Slo(0.2))) for number in range(20)]
    h.serve(GOOD, 3)
    assert max(looks) == 21
    assert len(looks) <= 5
    for number in others:
        h.ask(Cancel(only(number)))
    h.serve(GOOD, 2)
    assert len(h.cluster.state.service_minutes) == 3
