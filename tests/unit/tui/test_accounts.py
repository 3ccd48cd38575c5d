"""Accounts and quotas: the lists of mode 7, whose columns are those of the command line."""

import pytest

from support.core.site_views import NOON, accounts_now, busy_site
from support.programs.feeds import PlayedFeed
from support.programs.screens import pressed, screen_text, settled
from support.programs.time_zone import local_time
from wattline_protocol.lists.quota_table import quota_table
from wattline_protocol.views.account_views import QuotaView
from wattline_tui.app import TopApp
from wattline_tui.listing.quotas import quotas_of_terminal
from wattline_tui.render.blocks import BARS, filled
from wattline_tui.screens.accounts import AccountsScreen
from wattline_tui.widgets.list_pane import ListPane


def cells(quota: QuotaView) -> dict[str, str]:
    with local_time("UTC"):
        return {one.name: one.cell(quota) for one in quota_table(NOON).columns}


def test_a_quota_says_what_is_left_and_what_waits() -> None:
    gpus, power, energy, cost = map(cells, accounts_now().quotas)
    assert (gpus["quota"], gpus["of"], gpus["kind"]) == ("night", "queue", "gpus")
    assert (gpus["used"], gpus["limit"], gpus["left"]) == ("6.43 GPUs", "8 GPUs", "1.57 GPUs")
    assert (gpus["jobs"], gpus["resets"], gpus["of-limit"]) == ("3", "as work ends", "80 %")
    assert (power["used"], power["limit"], power["left"]) == ("11.5 kW", "20 kW", "8.48 kW")
    assert power["jobs"] == ""
    assert (energy["limit"], energy["left"]) == ("60 kWh a day", "0 kWh")
    assert (energy["jobs"], energy["waiting"]) == ("5, 7, 8, 11, 12 and 7 more", "12")
    assert energy["resets"] == "Fri 06:26"
    assert (cost["used"], cost["limit"]) == ("1,812 USD", "5,000 USD a month")


def test_the_terminal_draws_the_share_used_and_selects_by_it_as_the_command_line_does() -> None:
    names = [one.name for one in quota_table(NOON).columns]
    assert [one.name for one in quotas_of_terminal(NOON).columns] == names


@pytest.mark.parametrize(
    ("part", "eighths"),
    [(0.0, 0), (0.001, 1), (0.5, 32), (0.999, 63), (1.0, 64), (1.2, 64)],
)
def test_a_bar_is_full_only_where_nothing_is_left(part: float, eighths: int) -> None:
    shown = filled(part, 8)
    assert sum(BARS.index(char) for char in shown) == eighths
    assert len(shown) == 8
    assert filled(part, 0) == filled(part, -3) == ""


async def test_both_lists_are_filtered_sorted_and_chosen_from_as_all_others() -> None:
    app = TopApp(PlayedFeed(busy_site()))
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        await pressed(pilot, ["7"])
        assert isinstance(app.screen, AccountsScreen)
        accounts, quotas = app.screen.query(ListPane)
        assert accounts.table.rows.depths == [0, 0, 1, 1]
        assert "│    vision " in screen_text(app), "it is below research"
        await pressed(pilot, ["slash", "'queued>0", "enter", "s", "'used", "enter", "asterisk"])
        assert accounts.table.rows.keys == ["language", "vision"]
        assert accounts.table.rows.depths == []
        assert accounts.table.rows.chosen == {"language", "vision"}
        await pressed(pilot, ["tab", "slash", "'of-limit>=80%"])
        assert quotas.table.rows.keys == ["queue night gpus", "account language kwh_per_day"]
        await pressed(pilot, ["escape", "slash", "'limt>3"])
        assert "no column 'limt'; the nearest is limit" in screen_text(app)


async def test_enter_on_an_account_shows_its_jobs() -> None:
    app = TopApp(PlayedFeed(busy_site()))
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        await pressed(pilot, ["7", "down", "down", "enter"])
        assert app.current_mode == "jobs"
        rows = app.screen.query_one(ListPane).table.rows
        assert (rows.where_text, len(rows.shown)) == ("account=vision", 4)
