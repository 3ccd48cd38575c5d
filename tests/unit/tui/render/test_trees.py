"""Trees of domains as lines: order, folds, figures, and what each is about."""

import msgspec
import pytest

from support.core.site_views import NOON, busy_site, domain, shed_limit, troubled_site
from wattline_protocol.ids import DomainId, JobId, UnixTime
from wattline_protocol.views.power_views import BindingView
from wattline_protocol.views.site_views import DomainView
from wattline_tui.render.amounts import amount, short, unit_of
from wattline_tui.render.trees import Tree, bar_of, note_of, scrolled, tree_lines, tree_rows

BINDING = BindingView(88, 14, (JobId(3),), 4_800.0, 0.91, UnixTime(NOON - 1_260))


def binding(of: DomainView) -> DomainView:
    return msgspec.structs.replace(of, binding=BINDING)


def racks(count: int) -> tuple[DomainView, ...]:
    """A site of two feeds; the last rack of the second one limits work."""
    feeds = [domain(f"feed-{name}", "power", "site", (5e5, 6e5, 9e5)) for name in "ab"]
    found = [domain("site", "power", None, (1e6, 1.2e6, 1.8e6)), *feeds]
    for number in range(count):
        rack = domain(f"r{number}", "power", f"feed-{'ab'[number % 2]}", (5e3, 6e3, 9e3))
        found.append(binding(rack) if number == count - 1 else rack)
    return (*found, domain("hall", "cooling", None, (1e6, 1.2e6, 2e6)))


def names(domains: tuple[DomainView, ...], height: int, **chosen: bool) -> list[str]:
    rows = tree_rows(domains, {DomainId(k): is_open for k, is_open in chosen.items()}, height)
    return [" " * row.depth + row.domain.id for row in rows]


def text(domains: tuple[DomainView, ...], width: int) -> list[str]:
    rows = tree_rows(domains, {}, 99)
    lines = tree_lines(rows, Tree(), {}, NOON, width, 99)
    return ["".join(piece for piece, _ in line) for line in lines]


def test_all_is_open_where_it_fits_and_what_limits_work_is_first() -> None:
    assert names(racks(2), 10) == ["site", " feed-a", "  r0", " feed-b", "  r1", "hall"]
    assert names(racks(4), 10) == [
        "site", " feed-a", "  r0", "  r2", " feed-b", "  r3", "  r1", "hall",
    ]  # fmt: skip


def test_otherwise_only_what_is_above_a_domain_that_needs_attention() -> None:
    assert names(racks(6), 5) == ["site", " feed-a", " feed-b", "  r5", "  r1", "  r3", "hall"]


def test_a_choice_of_the_user_holds() -> None:
    assert names(racks(6), 5, site=False) == ["site", "hall"]
    assert names(racks(2), 99, **{"feed-a": False}) == [
        "site", " feed-a", " feed-b", "  r1", "hall",
    ]  # fmt: skip


def test_a_site_file_that_changed_under_way_loses_no_domain() -> None:
    assert names((domain("r1", "power", "gone", (1, 2, 3)),), 9) == ["r1"]


def test_lines_have_unit_figures_and_the_fact_that_matters() -> None:
    heading, top, *_ = text(busy_site().domains, 100)
    assert heading.startswith("kW ")
    assert "meas." in heading
    assert top.rstrip().endswith("19.8   21.3   22.0 free 700 W")
    assert "4.8 kW over" in text(troubled_site().domains, 100)[1]
    assert text(racks(2), 100)[0].startswith("MW ")


def test_what_a_domain_is_about() -> None:
    one = busy_site().domains[1]
    assert note_of(one, NOON) == ("free 100 W", "muted")
    assert note_of(binding(one), NOON) == ("! limits 14 jobs", "warning")
    assert text((binding(one),), 80)[1].rstrip().endswith("! limits 14 jobs"), "it is not cut"
    limited = msgspec.structs.replace(one, limits=(shed_limit(),))
    assert note_of(limited, NOON)[0].startswith("▲ shed to 16.5 kW")
    over = msgspec.structs.replace(one, headroom_w=-300.0, over_since_unix_s=NOON - 90)
    assert note_of(over, NOON) == ("! 300 W over for 1m", "over")


def test_the_bar_shows_a_lowered_budget_within_the_whole() -> None:
    bar = "".join(piece for piece, _ in bar_of(troubled_site().domains[0], 22))
    assert len(bar) == 22
    assert bar.index("│") == 15  # 16.5 of 22
    assert bar.replace("│", "█").count("█") == 20


@pytest.mark.parametrize(
    ("value_w", "unit", "shown"),
    [
        (4_310_000, "MW", "4.31"), (38_000, "MW", ".038"), (-38_000, "MW", "-.038"),
        (12_340_000, "MW", "12.3"), (999_600, "MW", "1.00"), (812_300, "kW", "812"),
        (11_340, "kW", "11.3"), (0, "kW", "0.0"),
    ],
)  # fmt: skip
def test_amounts(value_w: float, unit: str, shown: str) -> None:
    assert amount(value_w, "MW" if unit == "MW" else "kW") == shown


def test_units_and_times() -> None:
    assert (unit_of(racks(1)), unit_of(busy_site().domains), unit_of(())) == ("MW", "kW", "kW")
    assert [short(seconds) for seconds in (0, 42, 240, 7_860, 273_600)] == [
        "0s", "42s", "4m", "2h11m", "3d04h",
    ]  # fmt: skip


def test_scrolling_keeps_the_cursor_in_view() -> None:
    assert scrolled(first=0, at=9, height=5, count=20) == 5
    assert scrolled(first=5, at=3, height=5, count=20) == 3
    assert scrolled(first=18, at=19, height=5, count=20) == 15
    assert scrolled(first=7, at=0, height=5, count=0) == 0
