"""The view model: pure reductions, no Textual."""

import msgspec
import pytest

from support.core.site_views import NOON, busy_site, gpu, job, shed_limit, troubled_site
from support.programs.time_zone import local_time
from wattline_protocol.lists.limit_table import limit_line
from wattline_tui.acts.orders import parse_shed
from wattline_tui.model import (
    STALE_AFTER_S,
    View,
    heat_level,
    interrupted,
    newest_events,
    queue_rank,
    reduce,
)
from wattline_tui.render.attention import limits_of_interest
from wattline_tui.render.blocks import spark
from wattline_tui.units import duration, reasons, watts

HOUR = 3_600.0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"end_unix_s": NOON + 60}, "until 20:27:40"),
        ({"end_unix_s": NOON + 48 * HOUR}, "until Sat 20:26"),
        ({"end_unix_s": NOON + 400 * HOUR}, "until 2026-"),
        (
            {"source": "cooling", "name": "cooling inlets"},
            "cooling inlets to 16.5 kW until it recovers: grid",
        ),
        ({"phase": "falling", "ramp_s": 120.0}, "falling until 20:27:40, then until restored"),
        ({"phase": "rising", "end_unix_s": NOON, "release_s": 60.0}, "rising until 20:27:40"),
        (
            {"source": "event", "name": "event 7", "phase": "planned", "start_unix_s": NOON + 30},
            "event 7 to 16.5 kW from 20:27:10 until it recovers, by ops",
        ),
    ],
)
def test_limits_say_until_when(changes: dict[str, object], words: str) -> None:
    with local_time("UTC"):
        assert words in limit_line(shed_limit(**changes), NOON)


def test_limits_far_ahead_are_not_drawn() -> None:
    near = shed_limit(phase="planned", start_unix_s=NOON + 600)
    far = shed_limit(phase="planned", start_unix_s=NOON + 2 * HOUR)
    domain = msgspec.structs.replace(troubled_site().domains[0], limits=(near, far))
    assert limits_of_interest(domain, NOON, HOUR) == [near]


def test_old_snapshots_are_marked_stale() -> None:
    view = reduce(View(), busy_site(), 100.0)
    assert view.stale_s(100.0 + STALE_AFTER_S) is None
    assert view.stale_s(110.0) == pytest.approx(10.0)
    assert View().stale_s(110.0) is None


def test_trouble_keeps_the_last_snapshot_and_ends_with_the_next() -> None:
    view = interrupted(reduce(View(), busy_site(), 1.0), "connection refused")
    assert view.site is not None
    assert view.trouble == "connection refused"
    assert reduce(view, busy_site(), 2.0).trouble == ""


def test_the_queue_shows_running_then_waiting_then_ended() -> None:
    site = busy_site()
    assert [j.state for j in sorted(site.jobs, key=queue_rank)] == [
        "RUNNING",
        "RUNNING",
        "PENDING",
        "COMPLETED",
    ]


def test_of_ended_jobs_the_one_that_ended_last_is_first() -> None:
    ended = [
        msgspec.structs.replace(job(number, "j", "FAILED"), ended_unix_s=at, priority=at)
        for number, at in ((1, 20), (2, 30), (3, 10), (4, 30))
    ]
    shown = sorted([*ended, job(5, "j", "HELD")], key=queue_rank)
    assert [one.id for one in shown] == [5, 4, 2, 1, 3]


def test_events_come_newest_first() -> None:
    assert newest_events(troubled_site(), 2)[0].text.startswith("GPU 3")


def test_heat_has_five_levels() -> None:
    assert [heat_level(gpu(0, w), by_temperature=False) for w in (70, 300, 700)] == [0, 2, 4]


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (72.4, "72 W"), (12_340, "12.3 kW"), (1_200_000, "1.2 MW")]
)
def test_watts(value: float | None, text: str) -> None:
    assert watts(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (42, "42s"), (190, "3m10s"), (18_120, "5h02m"), (273_600, "3d04h")],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_reasons_name_the_gravest_first() -> None:
    assert reasons(0x84) == "power brake, power cap"
    assert reasons(0) == "none"


def test_a_short_peak_stays_visible_in_the_sparkline() -> None:
    assert spark([0, 0, 700, 0], 2, 700.0) == " █"
    assert spark([], 10, 700.0) == ""


def test_shed_orders() -> None:
    known = busy_site().domains
    order = parse_shed("25% of rack-r1 for 3h", known)
    assert (order.domain, order.fraction, order.for_s) == ("rack-r1", 0.25, 10_800.0)
    assert parse_shed("40 kW", known).by_mw == 40_000_000
    assert parse_shed("10% for 30m", known).domain is None
    assert parse_shed("to 9kW", known, "rack-r1").by_mw == 3_000_000
    assert parse_shed("to 75%", known).fraction == 0.25
    ramped = parse_shed("10% over 5m for 1h30m", known)
    assert (ramped.ramp_s, ramped.for_s, ramped.domain) == (300.0, 5_400.0, None)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("10% for 3x", "expected a duration"),
        ("a lot", "write 25%"),
        ("120%", "between 0 and 100"),
        ("5% of rack-1", "did you mean"),
        ("to 90kW", "the full budget is 22 kW"),
    ],
)
def test_shed_orders_that_make_no_sense(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_shed(text, busy_site().domains)
