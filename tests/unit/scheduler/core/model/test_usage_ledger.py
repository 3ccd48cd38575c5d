"""What accounts used: decayed, by the day and the month, of ended and of live tries alike."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.core.sites import site
from wattline_protocol.site.model import Tariff
from wattline_protocol.wire.agent_messages import TaskUsage
from wattline_scheduler.core.model.calendar import Calendar
from wattline_scheduler.core.model.usage.usage import MJ_PER_KWH
from wattline_scheduler.core.model.usage.usage_ledger import Key, Ledger, UsageSpan

DAY_S = 86_400.0
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC).timestamp()
LATER = NOON + 30 * DAY_S
ADA: Key = ("account", "ada")


def ledger(half_life_s: float = DAY_S) -> Ledger:
    return Ledger(half_life_s, Calendar(site().rack("a", 1).build()))


def interval(
    hours: float, end_unix_s: float = NOON, *, gpus: int = 1, kw: float = 1.0
) -> UsageSpan:
    usage = TaskUsage(
        run_s=hours * 3600,
        gpu_s=gpus * hours * 3600,
        node_energy_mj=int(kw * hours * MJ_PER_KWH),
    )
    return UsageSpan((ADA,), usage, end_unix_s - hours * 3600, end_unix_s)


def test_what_was_used_a_half_life_ago_counts_half() -> None:
    book = ledger()
    book.end(interval(0.001, gpus=8, kw=3.0), LATER)
    now, later = book.use(ADA, NOON), book.use(ADA, NOON + DAY_S)
    assert now.gpu_hours == pytest.approx(0.008, rel=1e-3)
    assert later.gpu_hours == pytest.approx(now.gpu_hours / 2)
    assert later.energy_kwh == pytest.approx(0.0015, rel=1e-3)


def test_a_long_try_counts_as_if_it_had_been_told_piece_by_piece() -> None:
    whole, pieces = ledger(), ledger()
    whole.end(interval(240), LATER)
    for hour in range(240):
        pieces.end(interval(1, NOON - hour * 3600), LATER)
    assert whole.use(ADA, NOON).gpu_hours == pytest.approx(pieces.use(ADA, NOON).gpu_hours)


@given(st.lists(st.tuples(st.floats(0, 500), st.floats(0, 500)), max_size=6), st.randoms())
def test_the_order_in_which_ends_are_told_does_not_matter(
    spans: list[tuple[float, float]], random: object
) -> None:
    intervals = [interval(hours, NOON - ago * 3600) for hours, ago in spans]
    one, other = ledger(), ledger()
    for each in intervals:
        one.end(each, LATER)
    random.shuffle(intervals)  # type: ignore[attr-defined]  # hypothesis gives a Random
    for each in intervals:
        other.end(each, LATER)
    now = NOON + 3600
    assert one.use(ADA, now).gpu_hours == pytest.approx(other.use(ADA, now).gpu_hours)
    # One that ended on an earlier day than another that was reported before adds nothing to today.
    assert one.kwh_today(ADA, now) == pytest.approx(other.kwh_today(ADA, now))


def test_what_ended_by_a_clock_that_was_ahead_keeps_no_later_use_from_counting() -> None:
    book, tariff = ledger(), Tariff(usd_per_kwh=1.0, usd_per_gpu_hour=0.0)
    ahead_unix_s = NOON + 3_650 * DAY_S
    book.end(interval(0.01, ahead_unix_s), ahead_unix_s)
    book.end(interval(2.0, NOON, gpus=8), NOON)
    assert book.kwh_today(ADA, NOON) == pytest.approx(2.0)
    assert book.usd_this_month(ADA, tariff, NOON) == pytest.approx(2.0)
    used = book.use(ADA, NOON).gpu_hours
    assert used == pytest.approx(16.0, rel=0.05)
    assert book.use(ADA, NOON + DAY_S).gpu_hours == pytest.approx(used / 2)


def test_live_tries_count_as_they_will_when_they_end() -> None:
    live, ended = ledger(), ledger()
    live.update_live([interval(100)], NOON)
    ended.end(interval(100), LATER)
    assert live.use(ADA, NOON).gpu_hours == pytest.approx(ended.use(ADA, NOON).gpu_hours)
    assert live.kwh_today(ADA, NOON) == ended.kwh_today(ADA, NOON)
    live.update_live([], NOON)
    assert live.use(ADA, NOON).gpu_hours == 0.0, "added up anew, not on top"


def test_of_a_try_that_began_yesterday_only_its_part_is_todays() -> None:
    book = ledger()
    book.end(interval(24, kw=2.0), LATER)
    assert book.kwh_today(ADA, NOON) == pytest.approx(24.0)
    assert book.kwh_today(ADA, NOON + 12 * 3600 - 1) == pytest.approx(24.0)
    assert book.kwh_today(ADA, NOON + 12 * 3600) == 0.0


def test_a_month_costs_what_was_used_in_it() -> None:
    book, tariff = ledger(), Tariff(usd_per_kwh=0.5, usd_per_gpu_hour=2.0)
    book.end(interval(48, datetime(2026, 11, 2, tzinfo=UTC).timestamp(), gpus=4, kw=2.0), LATER)
    assert book.usd_this_month(ADA, tariff, NOON) == pytest.approx(24 * 4 * 2.0 + 48 * 0.5)
    december = datetime(2026, 12, 1, tzinfo=UTC).timestamp()
    assert book.usd_this_month(ADA, tariff, december) == 0.0


def test_records_bring_everything_back() -> None:
    book = ledger()
    saved = [book.end(interval(hours, NOON + hours * 60), LATER) for hours in (1, 7, 50)]
    again = Ledger(DAY_S, Calendar(site().rack("a", 1).build()), saved[-1])
    later = NOON + 7200
    assert again.use(ADA, later) == book.use(ADA, later)
    assert again.kwh_today(ADA, later) == book.kwh_today(ADA, later)
    assert again.names("account") == ["ada"]


def test_what_users_name_pushes_out_no_account_of_the_site_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("wattline_scheduler.core.model.usage.usage_ledger.MAX_NAMES", 3)
    lab: Key = ("account", "lab")
    book = Ledger(DAY_S, Calendar(site().rack("a", 1).build()), lasting=[lab])
    for name in ("lab", "a", "b", "c", "d", "e"):
        book.end(replace(interval(1.0), keys=(("account", name),)), LATER)
    assert book.names("account") == ["lab", "c", "d", "e"]
