"""Accounting: sums over what is on disk and what is not there yet, each counted once."""

from pathlib import Path

import msgspec
import pytest

from support.core import records
from support.core.sites import site
from wattline_protocol.ids import DomainId, NodeId, UnixTime, UserName
from wattline_protocol.site.model import Site, Tariff
from wattline_protocol.views.report_views import ReportView
from wattline_scheduler.records import AttemptRecord, JobRecord
from wattline_scheduler.report import ReportOrder, Step, build_report
from wattline_scheduler.store.errors import StoreError
from wattline_scheduler.store.rollups import DomainRollup, NodeRollup
from wattline_scheduler.store.store import Store
from wattline_scheduler.store.tables import Storable

T0 = records.T0
KWH_MJ = 3_600_000_000


def a_site() -> Site:
    tariff = Tariff(usd_per_kwh=0.5, usd_per_gpu_hour=1.0)
    return msgspec.structs.replace(site().rack("a", 1).build(), tariff=tariff)


def report(
    directory: Path,
    saved: list[Storable],
    *,
    since: float = 0.0,
    until: float = T0 + 10_000,
    live: tuple[tuple[JobRecord, AttemptRecord], ...] = (),
    steps: tuple[Step, ...] = (),
) -> ReportView:
    store, _ = Store.open(directory, now_unix_s=T0)
    store.commit(saved)
    span = (UnixTime(since), UnixTime(until))
    made = build_report(ReportOrder(store.path, a_site(), *span, False, live, steps))
    store.close()
    return made


def ended(number: int, *, run_s: float = 100.0, **changes: object) -> list[Storable]:
    """A job of 4 GPUs that ran for `run_s`, with all its records."""
    return [
        records.job(number, ended_after_s=run_s, **changes),
        records.gang(number, attempt=1, is_ended=True),
        records.attempt(number, run_s=run_s),
    ]


def running(number: int, *, run_s: float) -> tuple[JobRecord, AttemptRecord]:
    attempt = msgspec.structs.replace(
        records.attempt(number, run_s=run_s), ended_unix_s=None, exit=None, state="RUNNING"
    )
    return records.job(number), attempt


def node_step(start: float, energy_mj: int) -> NodeRollup:
    return NodeRollup(NodeId("a1"), UnixTime(start), "beats", 10.0, energy_mj, 0, 0, 0)


def domain_step(start: float, leased_mw: int, measured_mw: int) -> DomainRollup:
    peaks = (leased_mw + 5, leased_mw, measured_mw)
    return DomainRollup(DomainId("site"), int(start), 10.0, 9, *peaks, 0)


def test_an_empty_site_has_an_empty_report(tmp_path: Path) -> None:
    made = report(tmp_path, [])
    assert (made.jobs, made.gpu_hours, made.site_energy_kwh) == ((), 0.0, 0.0)
    assert [peak.id for peak in made.domains] == ["site", "pdu-a", "room"]
    assert made.domains[0].peak_committed_w == 0.0
    assert made.accounts == made.queues == ()


def test_jobs_accounts_and_queues_add_up(tmp_path: Path) -> None:
    saved = [
        *ended(1),
        *ended(2, queue="night", account="vision"),
        *ended(3, queue="night"),
        node_step(T0, KWH_MJ),
    ]
    made = report(tmp_path, saved)
    assert [job.id for job in made.jobs] == [1, 2, 3]
    assert made.gpu_hours == pytest.approx(3 * 400 / 3600)
    assert made.cap_bound_gpu_s == pytest.approx(3 * 40)
    assert made.site_energy_kwh == pytest.approx(1.0)
    booked_kwh = 3 * 250_000_000 / KWH_MJ
    assert made.idle_energy_kwh == pytest.approx(1.0 - booked_kwh)
    night = next(one for one in made.queues if one.name == "night")
    assert night.jobs == 2
    assert night.utilisation == pytest.approx(0.8)
    assert night.cost_usd == pytest.approx(night.energy_kwh * 0.5 + night.gpu_hours)
    assert sum(one.gpu_hours for one in made.accounts) == pytest.approx(made.gpu_hours)
    assert [(one.name, one.jobs) for one in made.accounts] == [("ada", 2), ("vision", 1)]


def test_all_jobs_are_counted_where_not_all_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wattline_scheduler.report.MAX_LISTED", 2)
    made = report(tmp_path, [*ended(1), *ended(2), *ended(3, account="vision"), *ended(4)])
    assert [view.id for view in made.jobs] == [3, 4]
    assert made.jobs_total == 4
    assert [(one.name, one.jobs) for one in made.accounts] == [("ada", 3), ("vision", 1)]


def test_only_the_part_in_the_range_counts(tmp_path: Path) -> None:
    # Runs from T0+1 to T0+101; a quarter of it lies in the range.
    made = report(tmp_path, ended(1), since=T0 + 26, until=T0 + 51)
    assert made.gpu_hours == pytest.approx(0.25 * 400 / 3600)
    outside = report(tmp_path, [], since=T0 + 500)
    assert (outside.gpu_hours, outside.jobs) == (0.0, ())


def test_running_attempts_count_with_their_newest_usage(tmp_path: Path) -> None:
    job, attempt = running(1, run_s=50.0)
    on_disk = msgspec.structs.replace(attempt, usage=records.usage(0.0))
    live = ((job, attempt),)
    made = report(tmp_path, [job, records.gang(1, attempt=1), on_disk], live=live)
    assert made.gpu_hours == pytest.approx(200 / 3600)
    assert made.jobs[0].gpu_hours == pytest.approx(200 / 3600)
    assert [(one.name, one.jobs) for one in made.queues] == [("default", 1)]


def test_an_attempt_that_ended_meanwhile_counts_once(tmp_path: Path) -> None:
    made = report(tmp_path, ended(1), live=(running(1, run_s=99.0),))
    assert made.gpu_hours == pytest.approx(400 / 3600)


def test_waiting_jobs_are_listed_and_count_nothing(tmp_path: Path) -> None:
    made = report(tmp_path, [records.job(1), records.gang(1)])
    assert [job.state for job in made.jobs] == ["PENDING"]
    assert [(one.name, one.jobs, one.gpu_hours) for one in made.accounts] == [("ada", 1, 0.0)]


def test_peaks_come_from_disk_and_from_the_step_in_progress(tmp_path: Path) -> None:
    saved: list[Storable] = [
        domain_step(T0, 7_000_000, 5_000_000),
        domain_step(T0 + 10, 8_000_000, 4_000_000),
    ]
    steps = (domain_step(T0 + 20, 6_000_000, 6_500_000), node_step(T0 + 20, KWH_MJ))
    made = report(tmp_path, saved, steps=steps)
    assert made.domains[0].peak_committed_w == 8_000.0
    assert made.domains[0].peak_measured_w == 6_500.0
    assert made.site_energy_kwh == pytest.approx(1.0)
    early = report(tmp_path, [], until=T0 + 10)
    assert early.domains[0].peak_committed_w == 7_000.0


def test_a_missing_store_is_an_error_of_the_store(tmp_path: Path) -> None:
    order = ReportOrder(tmp_path / "no.db", a_site(), UnixTime(0.0), UnixTime(1.0), False)
    with pytest.raises(StoreError, match=r"no\.db"):
        build_report(order)


def test_the_owner_pays_where_no_account_is_named(tmp_path: Path) -> None:
    made = report(tmp_path, ended(1))
    assert made.jobs[0].account == UserName("ada")
