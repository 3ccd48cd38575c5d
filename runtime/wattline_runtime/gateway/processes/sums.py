"""What the processes of a gateway report, as one: use of API keys, traffic of revisions. No I/O."""

from dataclasses import dataclass, field
from secrets import token_hex

import msgspec

from wattline_protocol.ids import JobId, TaskRef, UnixTime
from wattline_protocol.wire.api_keys import (
    ApiKeyShares,
    ApiKeyUse,
    BudgetDay,
    KeyDemand,
    ReportApiKeyUse,
)
from wattline_protocol.wire.rollouts import (
    ReportTraffic,
    RevisionTraffic,
    RouteTraffic,
    ServiceTraffic,
    WorkerTraffic,
    plus_times,
)
from wattline_runtime.gateway.access.token_budget import UNKNOWN_DAY, Day, as_reported
from wattline_runtime.gateway.revisions.load_counts import bounded
from wattline_runtime.gateway.state import READINESS


@dataclass(slots=True)
class KeyUse:
    """Parts of each key's rate and token budget by process, as the scheduler divides them among
    gateways: a tenth evenly, the rest by what was asked for lately. They add up to what the gateway
    may grant."""

    processes: int
    granted: ApiKeyShares = field(default_factory=lambda: ApiKeyShares(1.0))
    """To this gateway."""
    _demands: dict[int, KeyDemand] = field(default_factory=dict)
    _unreported: dict[str, ApiKeyUse] = field(default_factory=dict)
    _report: ReportApiKeyUse | None = None
    _day: Day = UNKNOWN_DAY

    def used(self, process: int, report: ReportApiKeyUse, now_s: float) -> ApiKeyShares:
        """Counts what a process reports; its parts."""
        self._begin_day_if_due(now_s)
        is_of_day = report.day_unix_s in (0.0, self._day.start_unix_s)
        known = self._demands.setdefault(process, KeyDemand(now_s))
        known.add(report.uses, now_s)
        for one in report.uses:
            before = self._unreported.get(one.digest, ApiKeyUse(one.digest, 0, 0, 0, UnixTime(0)))
            self._unreported[one.digest] = ApiKeyUse(
                one.digest,
                before.requests + one.requests,
                before.refused + one.refused,
                before.inputs + one.inputs,
                max(before.newest_unix_s, one.newest_unix_s),
                before.tokens + one.tokens,
                before.tokens_today + (one.tokens_today if is_of_day else 0),
                before.energy_uj + one.energy_uj,
            )
        return self._parts(known, now_s)

    def _begin_day_if_due(self, now_s: float) -> None:
        """The tokens of the day that is over are reported, but are none of the next one's."""
        if now_s >= self._day.end_s:
            self._change_day(self._day.following())
            self.granted = msgspec.structs.replace(self.granted, used_tokens={})

    def _change_day(self, day: Day) -> None:
        if day.start_unix_s != self._day.start_unix_s and self._day.start_unix_s:
            self._unreported = {
                digest: msgspec.structs.replace(one, tokens_today=0)
                for digest, one in self._unreported.items()
            }
        self._day = day

    def ended(self, process: int) -> None:
        """The others have its parts from their next report on."""
        self._demands.pop(process, None)

    def _parts(self, own: KeyDemand, now_s: float) -> ApiKeyShares:
        others = [one for one in self._demands.values() if one is not own]
        digests = {digest for one in (own, *others) for digest in one.per_s}
        own.grant(digests | self.granted.shares.keys(), others, self.processes)
        whole = self.granted
        shares = {
            digest: part * whole.shares.get(digest, whole.share)
            for digest, part in own.shares.items()
        }
        day = None
        if self._day.start_unix_s:
            day = BudgetDay(self._day.start_unix_s, self._day.length_s, self._day.end_s - now_s)
        return ApiKeyShares(whole.share * own.share, shares, day, self._used_tokens())

    def _used_tokens(self) -> dict[str, int]:
        """As the scheduler knows, and what it does not know yet."""
        used = dict(self.granted.used_tokens)
        report = self._report
        is_of_day = report is not None and report.day_unix_s in (0.0, self._day.start_unix_s)
        sent = report.uses if report is not None and is_of_day else ()
        for one in (*sent, *self._unreported.values()):
            if one.tokens_today:
                used[one.digest] = used.get(one.digest, 0) + one.tokens_today
        return used

    def report(self, now_s: float) -> ReportApiKeyUse:
        """For the scheduler; the same one until it is `answered`."""
        if self._report is None:
            self._begin_day_if_due(now_s)
            uses = tuple(self._unreported.values())
            self._report = ReportApiKeyUse(token_hex(16), uses, self._day.start_unix_s)
            self._unreported = {}
        return self._report

    def answered(self, granted: ApiKeyShares, now_s: float) -> None:
        """The scheduler's answer."""
        self.granted, self._report = granted, None
        if granted.day is not None:
            self._change_day(as_reported(granted.day, now_s))


_Row = tuple[str, int]


@dataclass(slots=True)
class TrafficSum:
    """Traffic of all processes since the last report, and their workers."""

    _newest: dict[int, dict[_Row, int]] = field(default_factory=dict)
    """Ready workers by process."""
    _workers: dict[int, tuple[WorkerTraffic, ...]] = field(default_factory=dict)
    """All workers by process."""
    _counted: dict[_Row, RevisionTraffic] = field(default_factory=dict)
    _routes: dict[_Row, RouteTraffic] = field(default_factory=dict)
    """By route and rule."""
    _loads: dict[str, ServiceTraffic] = field(default_factory=dict)
    """By service, without what is queued."""
    _queued: dict[int, dict[str, int]] = field(default_factory=dict)
    """By process and service."""
    _left_out: dict[int, int] = field(default_factory=dict)
    """By process."""
    _loaded: dict[int, frozenset[str]] = field(default_factory=dict)
    """Services in the newest report, by process that leaves some out."""

    def add(self, process: int, report: ReportTraffic) -> None:
        """A process reports."""
        rows = {(row.service, int(row.revision)): row for row in report.revisions}
        self._newest[process] = {key: row.ready for key, row in rows.items()}
        self._workers[process] = report.workers or ()
        self._left_out[process] = report.left_out
        self._loaded.pop(process, None)
        if report.left_out:
            self._loaded[process] = frozenset(one.service for one in report.services or ())
        for key, row in rows.items():
            before = self._counted.get(key)
            self._counted[key] = row if before is None else _added(before, row)
        for one in report.routes:
            known = self._routes.get((one.route, one.rule), RouteTraffic(one.route, one.rule))
            self._routes[one.route, one.rule] = known.plus(one)
        loads = report.services or ()
        self._queued[process] = {load.service: load.queued for load in loads}
        for load in loads:
            before_it = self._loads.get(load.service, ServiceTraffic(load.service))
            self._loads[load.service] = msgspec.structs.replace(before_it.plus(load), queued=0)

    def ended(self, process: int) -> None:
        """It has no workers any more, and no requests."""
        self._queued.pop(process, None)
        self._newest.pop(process, None)
        self._workers.pop(process, None)
        self._left_out.pop(process, None)
        self._loaded.pop(process, None)

    def take(self, seconds: float = 1.0) -> ReportTraffic:
        """The next report: a worker is ready where it is for every process. It has what processes
        reported last, also where none has reported since. `seconds`: the time since the last."""
        counted, self._counted = self._counted, {}
        routes, self._routes = self._routes, {}
        known = dict.fromkeys(key for rows in self._newest.values() for key in rows)
        rows = [
            msgspec.structs.replace(
                counted.get(key) or RevisionTraffic(key[0], JobId(key[1]), 0),
                ready=min((ready.get(key, 0) for ready in self._newest.values()), default=0),
            )
            for key in [*known, *(key for key in counted if key not in known)]
        ]
        report = ReportTraffic.bounded(
            rows, self._all_workers(), tuple(routes.values()), self._take_loads(), seconds
        )
        left_out = max((report.left_out, *self._left_out.values()))
        return msgspec.structs.replace(report, left_out=left_out)

    def _take_loads(self) -> list[ServiceTraffic]:
        loads, self._loads = self._loads, {}
        names = dict.fromkeys((*(n for one in self._queued.values() for n in one), *loads))
        for listed in self._loaded.values():  # the load of others is not known
            names = {name: None for name in names if name in listed}
        return [
            msgspec.structs.replace(
                bounded(loads.get(name, ServiceTraffic(name))),
                queued=sum(one.get(name, 0) for one in self._queued.values()),
            )
            for name in names
        ]

    def _all_workers(self) -> tuple[WorkerTraffic, ...]:
        """A worker that is not connected to each process is still loading."""
        found: dict[TaskRef, list[WorkerTraffic]] = {}
        for workers in self._workers.values():
            for worker in workers:
                found.setdefault(worker.ref, []).append(worker)
        return tuple(
            WorkerTraffic(
                ref,
                READINESS[0]
                if len(rows) < len(self._workers)
                else min((row.state for row in rows), key=READINESS.index),
                sum(row.in_flight for row in rows),
                max(row.batch_s for row in rows),
                sum(row.waiting for row in rows),
            )
            for ref, rows in found.items()
        )


def _added(one: RevisionTraffic, other: RevisionTraffic) -> RevisionTraffic:
    return msgspec.structs.replace(
        one,
        requests=one.requests + other.requests,
        errors=one.errors + other.errors,
        times=plus_times(one.times, other.times),
        equal=one.equal + other.equal,
        different=one.different + other.different,
        uncompared=one.uncompared + other.uncompared,
        compares=other.compares,
        energy=one.energy.plus(other.energy),
    )
