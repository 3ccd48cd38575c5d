"""Usage of accounts and queues: for fair share, today, this month.

The usage of ended tries is recorded in the transaction that records their end, so that a restart
neither loses nor repeats any. The usage of live tries is summed up from time to time; agents report
it in full at every contact. A try's usage is taken as spread evenly over its time, so that a long
try, part of which lies before the day or is half decayed, counts in proportion.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from math import expm1, log
from typing import NamedTuple

from msgspec.structs import replace

from wattline_protocol.ids import UnixTime
from wattline_protocol.site.model import Tariff
from wattline_protocol.text.windows import Opening
from wattline_protocol.wire.agent_messages import TaskUsage
from wattline_scheduler.core.model.calendar import Calendar
from wattline_scheduler.core.model.usage.usage import MJ_PER_KWH
from wattline_scheduler.plan.learning.fairshare import Use
from wattline_scheduler.records import UseKind, UseRecord

MAX_NAMES = 10_000
"""Maximum number of accounts and queues: users may name any. The one with the oldest end is
dropped, but none that the site file names, which may have a quota."""

Key = tuple[UseKind, str]


class QuotaReport(NamedTuple):
    """A report that a quota is used up: until when, and its limit."""

    until_unix_s: UnixTime
    limit: float
    """Watt-hours a day, or dollars a month."""


@dataclass(frozen=True, slots=True)
class UsageSpan:
    """Usage and time of one try."""

    keys: tuple[Key, ...]
    """Its account and its queue."""
    usage: TaskUsage
    start_unix_s: float
    end_unix_s: float

    def within(self, span: Opening) -> float:
        """The part of its time that lies in a span, 0..1."""
        return _part(self.start_unix_s, self.end_unix_s, span)


def _part(start_s: float, end_s: float, span: Opening) -> float:
    if end_s <= start_s:
        return float(span.start_unix_s <= end_s < span.end_unix_s)
    inside_s = min(end_s, span.end_unix_s) - max(start_s, span.start_unix_s)
    return max(0.0, inside_s) / (end_s - start_s)


class Ledger:
    """The use of every account and queue."""

    def __init__(
        self,
        half_life_s: float,
        calendar: Calendar,
        records: Iterable[UseRecord] = (),
        lasting: Collection[Key] = (),
    ) -> None:
        """`lasting`: accounts and queues that are never dropped."""
        self._lasting = frozenset(lasting)
        self._half_life_s = half_life_s
        self._calendar = calendar
        self._ended: dict[Key, UseRecord] = {}
        for record in sorted(records, key=lambda r: r.as_of_unix_s):
            self._ended[record.kind, record.name] = record
        self._live: dict[Key, UseRecord] = {}
        """The same of live tries, as of the last `update_live`."""

    def end(self, interval: UsageSpan, now_unix_s: float) -> list[UseRecord]:
        """Adds a try that ended by now; returns the records to save."""
        saved = []
        for key in interval.keys:
            known = self._ended.pop(key, None)
            record = self._added(known or _nothing(key), interval, now_unix_s)
            self._ended[key] = record
            saved.append(record)
        while len(self._ended) > MAX_NAMES + len(self._lasting):
            del self._ended[next(key for key in self._ended if key not in self._lasting)]
        return saved

    def update_live(self, live: Iterable[UsageSpan], now_unix_s: float) -> None:
        """Replaces the use of live tries, as if all ended now."""
        day, month = self._calendar.day(now_unix_s), self._calendar.month(now_unix_s)
        sums: dict[Key, list[float]] = {}
        for interval in live:
            gpu_s, energy_mj = interval.usage.gpu_s, interval.usage.node_energy_mj
            in_day, in_month = interval.within(day), interval.within(month)
            spread = self._spread(interval)
            for key in interval.keys:
                of = sums.get(key)
                if of is None:
                    of = sums[key] = [0.0] * 5
                of[0] += gpu_s * spread
                of[1] += energy_mj * spread
                of[2] += energy_mj * in_day
                of[3] += gpu_s * in_month
                of[4] += energy_mj * in_month
        at, start, first = UnixTime(now_unix_s), day.start_unix_s, month.start_unix_s
        self._live = {
            key: UseRecord(key[0], key[1], at, of[0], of[1], start, of[2], first, of[3], of[4])
            for key, of in sums.items()
        }

    def names(self, of: UseKind) -> list[str]:
        """Accounts or queues with known use."""
        return [name for kind, name in {**self._ended, **self._live} if kind == of]

    def use(self, key: Key, now_unix_s: float) -> Use:
        """Use decayed to now."""
        gpu_s = energy_mj = 0.0
        for record in self._both(key):
            left = self._left(now_unix_s - record.as_of_unix_s)
            gpu_s += record.gpu_s * left
            energy_mj += record.energy_mj * left
        return Use(gpu_s / 3600, energy_mj / MJ_PER_KWH)

    def kwh_today(self, key: Key, now_unix_s: float) -> float:
        """Energy at the wall since midnight in the site's time zone."""
        day = self._calendar.day(now_unix_s).start_unix_s
        of_day = (r.day_energy_mj for r in self._both(key) if r.day_unix_s == day)
        return sum(of_day) / MJ_PER_KWH

    def usd_this_month(self, key: Key, tariff: Tariff, now_unix_s: float) -> float:
        """Cost of energy and GPU time since the month began, at the site's tariff."""
        month = self._calendar.month(now_unix_s).start_unix_s
        records = [r for r in self._both(key) if r.month_unix_s == month]
        kwh = sum(r.month_energy_mj for r in records) / MJ_PER_KWH
        hours = sum(r.month_gpu_s for r in records) / 3600
        return kwh * tariff.usd_per_kwh + hours * tariff.usd_per_gpu_hour

    def last_report(self, key: Key) -> QuotaReport | None:
        """The last report on its quota; None = none, or that it is open again."""
        record = self._ended.get(key) or _nothing(key)
        limit = record.reported_limit
        return QuotaReport(record.reported_until_unix_s, limit) if limit else None

    def record_report(self, key: Key, report: QuotaReport | None, now_unix_s: float) -> UseRecord:
        """Stores a report on its quota; returns the record to save."""
        until, limit = report or QuotaReport(UnixTime(0.0), 0.0)
        known = self._ended.get(key) or UseRecord(key[0], key[1], UnixTime(now_unix_s))
        record = replace(known, reported_until_unix_s=until, reported_limit=limit)
        self._ended[key] = record
        return record

    def _both(self, key: Key) -> list[UseRecord]:
        found = (self._ended.get(key), self._live.get(key))
        return [record for record in found if record is not None]

    def _left(self, age_s: float) -> float:
        """Remaining weight of usage of this age."""
        return float(0.5 ** (max(0.0, age_s) / self._half_life_s))

    def _spread(self, interval: UsageSpan) -> float:
        """Weight at its end of usage spread evenly until then."""
        steps = max(0.0, interval.end_unix_s - interval.start_unix_s) / self._half_life_s * log(2)
        return -expm1(-steps) / steps if steps > 1e-9 else 1.0

    def _added(self, record: UseRecord, interval: UsageSpan, now_unix_s: float) -> UseRecord:
        # A record of later than now is of a clock that was ahead: use would not count until then.
        known_unix_s = min(record.as_of_unix_s, now_unix_s)
        usage, at_unix_s = interval.usage, max(known_unix_s, interval.end_unix_s)
        old = self._left(at_unix_s - known_unix_s)
        new = self._left(at_unix_s - interval.end_unix_s) * self._spread(interval)
        day, month = self._calendar.day(at_unix_s), self._calendar.month(at_unix_s)
        in_day, in_month = interval.within(day), interval.within(month)
        is_day = record.day_unix_s == day.start_unix_s
        is_month = record.month_unix_s == month.start_unix_s
        return UseRecord(
            kind=record.kind,
            name=record.name,
            as_of_unix_s=UnixTime(at_unix_s),
            gpu_s=record.gpu_s * old + usage.gpu_s * new,
            energy_mj=record.energy_mj * old + usage.node_energy_mj * new,
            day_unix_s=day.start_unix_s,
            day_energy_mj=record.day_energy_mj * is_day + usage.node_energy_mj * in_day,
            month_unix_s=month.start_unix_s,
            month_gpu_s=record.month_gpu_s * is_month + usage.gpu_s * in_month,
            month_energy_mj=record.month_energy_mj * is_month + usage.node_energy_mj * in_month,
            reported_until_unix_s=record.reported_until_unix_s,
            reported_limit=record.reported_limit,
        )


def _nothing(key: Key) -> UseRecord:
    return UseRecord(key[0], key[1], UnixTime(0.0))
