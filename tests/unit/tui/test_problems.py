"""The badge of alarms counts what is open, and its key lists exactly that, worst first."""

import re

import msgspec
from textual.pilot import Pilot
from textual.widgets import Static

from support.core.site_views import busy_site, troubled_site
from support.programs.feeds import PlayedFeed
from wattline_protocol.views.site_views import SiteView
from wattline_tui.app import TopApp
from wattline_tui.model import interrupted
from wattline_tui.problems import problems_text
from wattline_tui.screens.dialogs import Page
from wattline_tui.widgets.status import StatusLine


async def drawn(pilot: Pilot[None], app: TopApp) -> None:
    while app.view.site is None:
        await pilot.pause(0.01)
    await pilot.pause()


def test_alarms_come_first_each_with_what_to_do() -> None:
    text = problems_text(troubled_site())
    first, rest = text.split("\n\n", 1)[0], text.split("\n\n", 1)[1]
    assert first == "1 alarm, 1 warning open"
    assert rest.startswith("‼ site, for 1m25s")
    assert "Check the meter's command" in rest
    assert rest.index("‼ site") < rest.index("! gpu-01 GPU 3")


def test_what_does_not_fit_is_counted() -> None:
    site = msgspec.structs.replace(troubled_site(), open_warnings=40)
    assert problems_text(site).endswith("and 39 more: wattline problems")


def test_a_site_without_problems_says_so() -> None:
    assert problems_text(busy_site()) == "No open problems."


async def test_the_key_that_the_badge_names_lists_what_it_counts() -> None:
    site = troubled_site()
    app = TopApp(PlayedFeed(site))
    async with app.run_test(size=(100, 30)) as pilot:
        await drawn(pilot, app)
        assert "1 ALARM: press !" in badge(app)
        await pilot.press("!")
        assert isinstance(app.screen, Page)
        shown = str(app.screen.query_one(Static).render())
        assert listed_alarms(shown) == site.open_alarms == 1
        await pilot.press("escape")
        assert not isinstance(app.screen, Page)


async def test_a_narrow_terminal_shows_what_is_wrong_before_epoch_and_nodes() -> None:
    site = msgspec.structs.replace(troubled_site(), simulated=True, epoch=1_795_947_985)
    app = TopApp(PlayedFeed(site))
    async with app.run_test(size=(80, 24)) as pilot:
        await drawn(pilot, app)
        line = app.screen.query_one(StatusLine)
        line.show(interrupted(app.view, "the scheduler does not answer"), app.view.made_s + 8.0)
        shown = line.render().plain[:80]
        assert " STALE 8s " in shown
        assert "1 ALARM: press !" in shown
        assert "epoch" not in shown


def badge(app: TopApp) -> str:
    return app.screen.query_one(StatusLine).render().plain


def listed_alarms(text: str) -> int:
    return len(re.findall("^‼", text, re.MULTILINE))


def test_every_alarm_that_is_counted_is_listed_where_all_fit() -> None:
    site: SiteView = troubled_site()
    assert listed_alarms(problems_text(site)) == site.open_alarms
