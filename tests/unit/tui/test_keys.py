"""Keys, palette and help come from one table; acts reach the feed."""

import pytest
from textual.pilot import Pilot

from support.feeds import PlayedFeed
from support.site_views import busy_site
from wattline_protocol.ids import JobId, NodeId
from wattline_protocol.requests import Cancel, Drain, Hold, Requeue, Shed, Undrain, Update
from wattline_protocol.selecting import only
from wattline_tui.actions import ACTIONS
from wattline_tui.app import TopApp
from wattline_tui.screens.dialogs import help_text
from wattline_tui.screens.job import JobScreen
from wattline_tui.screens.node import NodeScreen
from wattline_tui.screens.overview import OverviewScreen

OWNERS = {"everywhere": TopApp, "overview": OverviewScreen, "node": NodeScreen, "job": JobScreen}


async def drawn(pilot: Pilot[None], app: TopApp) -> None:
    while app.view.site is None:
        await pilot.pause(0.01)
    await pilot.pause()


async def asked(pilot: Pilot[None], feed: PlayedFeed, count: int = 1) -> None:
    for _ in range(200):
        if len(feed.asked) >= count:
            return
        await pilot.pause(0.01)


@pytest.mark.parametrize("action", ACTIONS, ids=lambda a: a.id)
def test_every_action_has_a_handler_and_a_line_of_help(action) -> None:  # type: ignore[no-untyped-def]  # parametrised
    assert hasattr(OWNERS[action.place], f"action_{action.id}")
    assert action.help in help_text()


async def test_job_keys_act_on_the_job() -> None:
    feed = PlayedFeed(busy_site())
    app = TopApp(feed)
    async with app.run_test(size=(120, 36)) as pilot:
        await drawn(pilot, app)
        await pilot.press("enter")
        await pilot.pause()
        await pilot.press("h")
        await asked(pilot, feed)
        await pilot.press("c", "y")
        await asked(pilot, feed, 2)
        await pilot.press("r", "y")
        await asked(pilot, feed, 3)
    assert feed.asked[:2] == [Hold(only(JobId(1))), Cancel(only(JobId(1)))]
    requeue = feed.asked[2]
    assert isinstance(requeue, Requeue)
    assert requeue.which == only(JobId(1))


async def test_a_priority_is_typed_and_sent() -> None:
    feed = PlayedFeed(busy_site())
    app = TopApp(feed)
    async with app.run_test(size=(120, 36)) as pilot:
        await drawn(pilot, app)
        await pilot.press("enter")
        await pilot.pause()
        await pilot.press("p")
        await pilot.pause()
        await pilot.press(*"high", "enter")
        await asked(pilot, feed)
    assert feed.asked == [Update(only(JobId(1)), {"priority": "high"})]


async def test_cancel_needs_a_yes() -> None:
    feed = PlayedFeed(busy_site())
    app = TopApp(feed)
    async with app.run_test(size=(120, 36)) as pilot:
        await drawn(pilot, app)
        await pilot.press("enter")
        await pilot.press("c", "n")
        await pilot.press("escape")
        await pilot.pause()
        assert isinstance(app.screen, OverviewScreen)
    assert feed.asked == []


async def test_drain_acts_on_the_node_under_the_cursor() -> None:
    feed = PlayedFeed(busy_site())
    app = TopApp(feed)
    async with app.run_test(size=(120, 36)) as pilot:
        await drawn(pilot, app)
        await pilot.press("shift+tab", "d")
        await asked(pilot, feed)
        await pilot.press("down", "down", "down", "d")
        await asked(pilot, feed, 2)
    assert feed.asked == [Drain(NodeId("gpu-01"), "from top"), Undrain(NodeId("gpu-04"))]


async def test_shed_is_typed_and_sent() -> None:
    feed = PlayedFeed(busy_site())
    app = TopApp(feed)
    async with app.run_test(size=(120, 36)) as pilot:
        await drawn(pilot, app)
        await pilot.press("s")
        await pilot.pause()
        await pilot.press(*"25%", "enter")
        await asked(pilot, feed)
    assert feed.asked == [Shed(domain=None, fraction=0.25, reason="from top")]


async def test_the_cursor_stays_on_its_job_when_others_come_and_go() -> None:
    from wattline_tui.messages import SiteArrived
    from wattline_tui.widgets.jobs import JobTable

    site = busy_site()
    feed = PlayedFeed(site)
    app = TopApp(feed)
    async with app.run_test(size=(120, 36)) as pilot:
        await drawn(pilot, app)
        await pilot.press("down")
        table = app.screen.query_one(JobTable)
        assert table.selected == "2"
        import msgspec

        app.post_message(SiteArrived(msgspec.structs.replace(site, jobs=site.jobs[1:])))
        await pilot.pause()
        await pilot.pause()
        assert table.selected == "2"
