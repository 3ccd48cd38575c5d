"""Accounting report over all records in a time range: jobs, usage, cost.

Reads the database through its own connection, beside the writer, so that a long report blocks
nothing. Data not on disk yet (usage of running attempts, the step in progress) is passed in. An
attempt that lies only partly in the range counts with that part of its run time.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
from sqlite_utils import Database

from wattline_protocol.ids import UnixTime
from wattline_protocol.site.model import Domain, Site, Tariff
from wattline_protocol.views.report_views import DomainPeak, GroupTotals, ReportView
from wattline_protocol.views.site_views import JobView
from wattline_protocol.wire.agent_messages import TaskUsage
from wattline_protocol.wire.client_messages import MAX_LISTED
from wattline_scheduler.core.model.usage.usage import (
    MJ_PER_KWH,
    add_usage,
    cost_usd,
    energy_kwh,
    gpu_hours,
)
from wattline_scheduler.records import AttemptRecord, GangRecord, JobRecord
from wattline_scheduler.store.errors import store_error
from wattline_scheduler.store.file import open_reader
from wattline_scheduler.store.load import load_job
from wattline_scheduler.store.rollups import DomainRollup, NodeRollup
from wattline_scheduler.views.jobs_view import counts_on_record, job_view
from wattline_scheduler.views.verdict_view import utilisation

MW = 1000

Step = DomainRollup | NodeRollup
GroupColumn = Literal["account", "queue"]


class ReportOrder(msgspec.Struct, frozen=True):
    """Range of the report, and the scheduler's data that is not on disk yet."""

    path: Path
    site: Site
    since_unix_s: UnixTime
    until_unix_s: UnixTime
    simulated: bool
    live: tuple[tuple[JobRecord, AttemptRecord], ...] = ()
    """Running attempts with their newest usage; the disk has only their starts."""
    steps: tuple[Step, ...] = ()
    """Roll-up steps in progress."""


def build_report(order: ReportOrder) -> ReportView:
    """Builds the whole report. Raises StoreError."""
    db = open_reader(order.path)
    try:
        db.execute("BEGIN")  # one snapshot for all queries
        return _Report(db, order).build()
    except sqlite3.Error as error:
        raise store_error(order.path, "reporting from", error) from error
    finally:
        db.conn.close()


_USED = """
WITH span AS (
    SELECT a.*, j.account AS account, j.queue AS queue,
        coalesce(a.started_unix_s, a.placed_unix_s) AS start_s,
        a.ended_unix_s AS end_s
    FROM attempts a JOIN jobs j ON j.id = a.job
    WHERE a.ended_unix_s >= :since AND a.placed_unix_s < :until
), used AS (
    SELECT *, CASE WHEN end_s <= start_s THEN 1.0 ELSE
        max(0.0, min(end_s, :until) - max(start_s, :since)) / (end_s - start_s) END AS share
    FROM span
)
"""

_TOTALS = """
SELECT coalesce(sum(run_s * share), 0.0) AS run_s,
    coalesce(sum(gpu_s * share), 0.0) AS gpu_s,
    CAST(coalesce(sum(gpu_energy_mj * share), 0) AS INTEGER) AS gpu_energy_mj,
    CAST(coalesce(sum(node_energy_mj * share), 0) AS INTEGER) AS node_energy_mj,
    coalesce(sum(util_gpu_s * share), 0.0) AS util_gpu_s,
    coalesce(sum(cap_bound_gpu_s * share), 0.0) AS cap_bound_gpu_s,
    coalesce(sum(cpu_s * share), 0.0) AS cpu_s,
    coalesce(max(max_rss_bytes), 0) AS max_rss_bytes
"""

_JOBS = """
FROM jobs WHERE submitted_unix_s < :until AND (ended_unix_s IS NULL OR ended_unix_s >= :since)
"""

_PEAKS = """
SELECT domain, max(leased_max_mw) AS leased_mw, max(measured_max_mw) AS measured_mw
FROM domain_rollups
WHERE start_unix_s + seconds > :since AND start_unix_s < :until
GROUP BY domain
"""

_SITE_ENERGY = """
SELECT total(node_energy_mj) AS energy_mj FROM node_rollups
WHERE start_unix_s >= :since AND start_unix_s < :until
"""


class _Report:
    def __init__(self, db: Database, order: ReportOrder) -> None:
        self.db = db
        self.order = order
        self.site = order.site
        self.live = [(job, a) for job, a in order.live if not self._is_ended(a)]
        self.live_by_key = {(a.job, a.task, a.attempt): a for _, a in self.live}

    def build(self) -> ReportView:
        o = self.order
        newest = self._rows(f"SELECT id {_JOBS} ORDER BY id DESC LIMIT :limit", limit=MAX_LISTED)
        accounts = self._groups("account")
        used = self._used()
        site_mj = self._site_energy_mj()
        return ReportView(
            since_unix_s=o.since_unix_s,
            until_unix_s=o.until_unix_s,
            jobs=tuple(self._jobs(list(newest))),
            domains=self._peaks(),
            site_energy_kwh=site_mj / MJ_PER_KWH,
            gpu_hours=gpu_hours(used),
            cap_bound_gpu_s=used.cap_bound_gpu_s,
            idle_energy_kwh=max(0, site_mj - used.node_energy_mj) / MJ_PER_KWH,
            simulated=o.simulated,
            accounts=accounts,
            queues=self._groups("queue"),
            jobs_total=sum(group.jobs for group in accounts),
        )

    def _is_ended(self, attempt: AttemptRecord) -> bool:
        """Whether it has ended on disk since the order was written: then the disk has all of it."""
        sql = "SELECT ended_unix_s FROM attempts WHERE job = ? AND task = ? AND attempt = ?"
        row = self.db.execute(sql, (attempt.job, attempt.task, attempt.attempt)).fetchone()
        return row is not None and row[0] is not None

    def _rows(self, sql: str, **more: object) -> Iterable[dict[str, Any]]:
        o = self.order
        span = {"since": o.since_unix_s, "until": o.until_unix_s, **more}
        return self.db.query(sql, span)

    def _used(self) -> TaskUsage:
        """Total usage in the range, running attempts included."""
        (row,) = self._rows(f"{_USED} {_TOTALS} FROM used")
        return add_usage([TaskUsage(**row), *(u for _, u in self._live_usage())])

    def _live_usage(self) -> Iterable[tuple[JobRecord, TaskUsage]]:
        """The part of each running attempt's usage that lies in the range."""
        o = self.order
        for job, attempt in self.live:
            start = attempt.started_unix_s or attempt.placed_unix_s
            run_s = max(attempt.usage.run_s, 1e-9)
            inside_s = min(o.until_unix_s, start + run_s) - max(o.since_unix_s, start)
            yield job, scaled(attempt.usage, min(1.0, max(0.0, inside_s / run_s)))

    def _groups(self, column: GroupColumn) -> tuple[GroupTotals, ...]:
        rows = self._rows(f"{_USED} {_TOTALS}, {column} AS name FROM used GROUP BY {column}")
        usages = {row.pop("name"): [TaskUsage(**row)] for row in rows}
        for job, usage in self._live_usage():
            usages.setdefault(_group_name(job, column), []).append(usage)
        counted = self._rows(f"SELECT {column} AS name, count(*) AS jobs {_JOBS} GROUP BY {column}")
        counts = Counter({row["name"]: row["jobs"] for row in counted})
        tariff = self.site.tariff
        return tuple(
            _group(name, counts[name], add_usage(usages.get(name, ())), tariff)
            for name in sorted({*counts, *usages})
        )

    def _jobs(self, rows: list[dict[str, Any]]) -> Iterable[JobView]:
        for row in reversed(rows):
            found = load_job(self.db.conn, row["id"])
            if found is not None:  # jobs are never dropped, but this is another transaction
                yield self._job(*found)

    def _job(
        self,
        record: JobRecord,
        gangs: tuple[GangRecord, ...],
        attempts: tuple[AttemptRecord, ...],
    ) -> JobView:
        newest = [self.live_by_key.get((a.job, a.task, a.attempt), a) for a in attempts]
        return job_view(record, counts_on_record(gangs), newest, self.site.tariff)

    def _site_energy_mj(self) -> int:
        o = self.order
        (row,) = self._rows(_SITE_ENERGY)
        in_progress = (
            step.node_energy_mj
            for step in o.steps
            if isinstance(step, NodeRollup) and o.since_unix_s <= step.start_unix_s < o.until_unix_s
        )
        return int(row["energy_mj"]) + sum(in_progress)

    def _peaks(self) -> tuple[DomainPeak, ...]:
        on_disk = {row["domain"]: row for row in self._rows(_PEAKS)}
        return tuple(
            _peak(domain, on_disk.get(domain.id), self.order.steps) for domain in self.site.domains
        )


def scaled(usage: TaskUsage, share: float) -> TaskUsage:
    """Scales a usage by a share."""
    return TaskUsage(
        run_s=usage.run_s * share,
        gpu_s=usage.gpu_s * share,
        gpu_energy_mj=int(usage.gpu_energy_mj * share),
        node_energy_mj=int(usage.node_energy_mj * share),
        util_gpu_s=usage.util_gpu_s * share,
        cap_bound_gpu_s=usage.cap_bound_gpu_s * share,
        cpu_s=usage.cpu_s * share,
        max_rss_bytes=usage.max_rss_bytes,
    )


def _group(name: str, jobs: int, usage: TaskUsage, tariff: Tariff) -> GroupTotals:
    return GroupTotals(
        name=name,
        jobs=jobs,
        gpu_hours=gpu_hours(usage),
        energy_kwh=energy_kwh(usage),
        cost_usd=cost_usd(usage, tariff),
        utilisation=utilisation(usage),
    )


def _group_name(job: JobRecord, column: GroupColumn) -> str:
    return job.spec.queue if column == "queue" else job.account


def _peak(domain: Domain, on_disk: dict[str, Any] | None, steps: Sequence[Step]) -> DomainPeak:
    own = [s for s in steps if isinstance(s, DomainRollup) and s.domain == domain.id]
    leased_mw = [s.leased_max_mw for s in own]
    measured_mw = [s.measured_max_mw for s in own]
    if on_disk is not None:
        leased_mw.append(on_disk["leased_mw"])
        measured_mw.append(on_disk["measured_mw"])
    return DomainPeak(
        id=domain.id,
        kind=domain.kind,
        budget_w=domain.budget_mw / MW,
        peak_committed_w=max(leased_mw, default=0) / MW,
        peak_measured_w=max(measured_mw, default=0) / MW,
    )
