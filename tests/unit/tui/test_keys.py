"""Keys, palette and help come from one table; acts reach the feed."""

import time

import msgspec
import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from support.core.site_views import NOON, busy_site, troubled_site
from support.programs.feeds import PlayedFeed
from support.programs.time_zone import local_time
from wattline_protocol.ids import JobId, NodeId, UnixTime
from wattline_protocol.job.selection import only
from wattline_protocol.views.site_views import ExplainView, FilterRefusal, Remedy
from wattline_protocol.wire.client_messages import (
    AckProblem,
    Cancel,
    Drain,
    Explain,
    Hold,
    Requeue,
    Shed,
    Undrain,
    Update,
)
from wattline_tui.actions import ACTIONS
from wattline_tui.acts.table import ACTS
from wattline_tui.app import TopApp
from wattline_tui.explained import explained
from wattline_tui.help_text import help_text
from wattline_tui.messages import SiteArrived
from wattline_tui.mode_names import MODE_NAMES
from wattline_tui.screens.accounts import AccountsScreen
from wattline_tui.screens.base import Subject
from wattline_tui.screens.dialogs import Page
from wattline_tui.screens.job import JobScreen
from wattline_tui.screens.overview import OverviewScreen
from wattline_tui.screens.reservations import ReservationsScreen
from wattline_tui.widgets.list_pane import FilterLine, ListPane
from wattline_tui.widgets.tree_panel import TreePanel

OWNERS = {
    "everywhere": TopApp,
    "list": ListPane,
    "site": OverviewScreen,
    "accounts": AccountsScreen,
    "job": JobScreen,
}


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
    assert hasattr(OWNERS[action.place], f"action_{action.call}")
    assert action.help in help_text({})


def test_help_has_every_mode_and_act() -> None:
    text = help_text({"drain": "ctrl+d"})
    assert all(act.help in text for act in ACTS)
    assert all(mode.help in text for mode in MODE_NAMES)
    assert "  Ctrl-D        Start nothing new on nodes" in text


async def test_job_keys_act_on_the_job() -> None:
    feed = PlayedFeed(busy_site())
    app = TopApp(feed)
    async with app.run_test(size=(120, 36)) as pilot:
        await drawn(pilot, app)
        await pilot.press("3", "enter")
        await pilot.pause()
        await pilot.press("h", "y")
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
        await pilot.press("3", "enter")
        await pilot.pause()
        await pilot.press("p")
        await pilot.pause()
        await pilot.press(*"high", "enter")
        await pilot.pause()
        await pilot.press("y")
        await asked(pilot, feed)
    assert feed.asked == [Update(only(JobId(1)), {"priority": "high"})]


WAITS = ExplainView(
    job=JobId(1),
    state="PENDING",
    reason="waits for gpus: n1: 4 more free GPUs",
    nodes_total=2,
    nodes_feasible=0,
    nodes_needed=1,
    refusals=(FilterRefusal("gpus", 2, "n1: 4 more free GPUs; n2: 8 more free GPUs"),),
    start_unix_s=UnixTime(NOON + 90.0),
    start_why="after job 7 has ended, at its time limit at the latest",
    remedies=(Remedy("gpus", "with 4 GPUs per node instead of 8 it would start now"),),
)


def test_an_explanation_reads_from_the_reason_to_the_remedy() -> None:
    with local_time("UTC"):
        lines = explained(WAITS, NOON).splitlines()
    assert lines[0] == "Job 1 is PENDING: waits for gpus: n1: 4 more free GPUs"
    assert lines[1] == "0 of 2 nodes could take it now, 1 needed"
    assert lines[2].startswith("Start: about ")
    assert lines[2].endswith(", after job 7 has ended, at its time limit at the latest")
    assert "  gpus, 2 nodes: n1: 4 more free GPUs; n2: 8 more free GPUs" in lines
    assert lines[-1] == "  with 4 GPUs per node instead of 8 it would start now"


def test_what_has_its_nodes_is_explained_in_a_line() -> None:
    runs = ExplainView(JobId(1), "RUNNING", "", 2, 0, 0, ())
    assert explained(runs, NOON) == "Job 1 is RUNNING"


async def test_a_job_is_explained_on_a_page() -> None:
    feed = PlayedFeed(busy_site())
    feed.explain = WAITS
    app = TopApp(feed)
    async with app.run_test(size=(120, 36)) as pilot:
        await drawn(pilot, app)
        await pilot.press("3", "enter")
        await pilot.pause()
        await pilot.press("x")
        for _ in range(200):
            if isinstance(app.screen, Page):
                break
            await pilot.pause(0.01)
        assert isinstance(app.screen, Page)
        await pilot.press("escape")
        await pilot.pause()
        assert isinstance(app.screen, JobScreen)
    assert feed.asked == [Explain(JobId(1))]


async def test_cancel_needs_a_yes() -> None:
    feed = PlayedFeed(busy_site())
    app = TopApp(feed)
    async with app.run_test(size=(120, 36)) as pilot:
        await drawn(pilot, app)
        await pilot.press("3", "enter")
        await pilot.press("c", "n")
        await pilot.press("escape", "1")
        await pilot.pause()
        assert isinstance(app.screen, OverviewScreen)
    assert feed.asked == []


async def test_drain_acts_on_the_node_under_the_cursor() -> None:
    feed = PlayedFeed(busy_site())
    app = TopApp(feed)
    async with app.run_test(size=(120, 36)) as pilot:
        await drawn(pilot, app)
        await pilot.press("2", "d", "y", "enter")
        await asked(pilot, feed)
        await pilot.press("down", "down", "down", "d", "y")
        await asked(pilot, feed, 2)
    assert feed.asked == [Drain(NodeId("gpu-01"), "from top"), Undrain(NodeId("gpu-04"))]


async def test_who_waits_for_a_quota_is_opened_from_it_and_escape_goes_back() -> None:
    app = TopApp(PlayedFeed(busy_site()))
    async with app.run_test(size=(120, 36)) as pilot:
        await drawn(pilot, app)
        await pilot.press("7")
        for _ in range(200):
            if isinstance(app.screen, AccountsScreen) and app.screen.accounts.quotas:
                break
            await pilot.pause(0.01)
        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(app.screen, AccountsScreen), "an account is no job"
        await pilot.press("tab", "enter")
        await pilot.pause()
        assert isinstance(app.screen, JobScreen)
        assert app.screen.job == 3
        await pilot.press("escape")
        await pilot.pause()
        assert isinstance(app.screen, AccountsScreen)
        await pilot.press("down", "enter")
        await pilot.pause()
        assert isinstance(app.screen, AccountsScreen), "nobody waits for this one"


async def test_what_runs_in_a_reservation_is_opened_from_it_and_the_rest_is_said_below() -> None:
    app = TopApp(PlayedFeed(busy_site()))
    async with app.run_test(size=(120, 36)) as pilot:
        await drawn(pilot, app)
        await pilot.press("7", "b")
        for _ in range(200):
            if isinstance(app.screen, ReservationsScreen) and app.screen.reservations:
                break
            await pilot.pause(0.01)
        screen = app.screen
        assert isinstance(screen, ReservationsScreen)
        await pilot.pause()
        facts = screen.query_one("#facts", Static)
        assert str(facts.content).startswith(
            "by olga: summer school, room 3\nnodes: gpu-01, gpu-02"
        )
        await pilot.press("down")
        await pilot.pause()
        assert (facts.border_title, str(facts.content).splitlines()[1]) == (
            "new-fans",
            "nodes: gpu-04",
        )
        await pilot.press("enter")
        await pilot.pause()
        assert app.screen is screen, "nothing runs there"
        await pilot.press("up", "enter")
        await pilot.pause()
        assert isinstance(app.screen, JobScreen)
        assert app.screen.job == 1
        await pilot.press("escape", "escape", "1")
        await pilot.pause()
        assert isinstance(app.screen, OverviewScreen)


async def test_shed_is_typed_and_sent() -> None:
    feed = PlayedFeed(busy_site())
    app = TopApp(feed)
    async with app.run_test(size=(120, 36)) as pilot:
        await drawn(pilot, app)
        await pilot.press("S")
        await pilot.pause()
        await pilot.press(*"25%", "enter")
        await pilot.pause()
        await pilot.press("y", *"heat", "enter")
        await asked(pilot, feed)
    assert feed.asked == [Shed(domain=None, fraction=0.25, reason="heat")]


async def test_the_cursor_stays_on_its_domain_when_another_comes_before_it() -> None:
    site = busy_site()
    app = TopApp(PlayedFeed(site))
    async with app.run_test(size=(120, 36)) as pilot:
        await drawn(pilot, app)
        tree = app.screen.query_one(TreePanel)
        tree.focus()
        await pilot.press("down")
        assert (tree.cursor, app.subject) == ("rack-r1", Subject("domain", ("rack-r1",)))
        over = msgspec.structs.replace(site.domains[2], headroom_w=-100.0)
        domains = (*site.domains[:2], over, *site.domains[3:])
        newer = msgspec.structs.replace(site, domains=domains)
        app.post_message(SiteArrived(newer, time.monotonic()))
        await pilot.pause()
        await pilot.pause()
        assert tree.cursor == "rack-r1"
        await pilot.press("up")
        assert tree.cursor == "rack-r2"


async def test_what_needs_attention_is_opened_and_acknowledged() -> None:
    feed = PlayedFeed(troubled_site())
    app = TopApp(feed)
    async with app.run_test(size=(120, 36)) as pilot:
        await drawn(pilot, app)
        await pilot.press("k", "y", *"part", "enter")
        await asked(pilot, feed)
        await pilot.press("down", "down", "enter")
        for _ in range(200):
            if app.current_mode == "power":
                break
            await pilot.pause(0.01)
        assert app.subject == Subject("domain", ("site",))
    assert feed.asked == [AckProblem(5, "part")]


async def test_a_filter_on_the_site_is_one_of_jobs() -> None:
    app = TopApp(PlayedFeed(busy_site()))
    async with app.run_test(size=(120, 36)) as pilot:
        await drawn(pilot, app)
        await pilot.press("slash")
        for _ in range(200):
            if app.current_mode == "jobs" and isinstance(app.focused, FilterLine):
                break
            await pilot.pause(0.01)
        await pilot.press(*"state=pending", "enter")
        assert app.subject == Subject("job", ("3",))
