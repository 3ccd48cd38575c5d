"""The badge of alarms counts what is open, and its key shows exactly that, worst first."""

import msgspec
from textual.pilot import Pilot

from support.core.site_views import NOON, problem, troubled_site
from support.programs.feeds import PlayedFeed
from support.programs.screens import pressed, screen_text, settled
from support.programs.time_zone import local_time
from wattline_protocol.ids import UserName
from wattline_protocol.wire.client_messages import ListEvents
from wattline_protocol.wire.problems import Acknowledgement
from wattline_tui.app import TopApp
from wattline_tui.messages import SiteArrived
from wattline_tui.model import interrupted
from wattline_tui.render.problem_text import problem_text
from wattline_tui.screens.base import Subject
from wattline_tui.screens.node import NodeScreen
from wattline_tui.screens.problems import ProblemsScreen
from wattline_tui.widgets.attention_panel import AttentionPanel
from wattline_tui.widgets.facts import Facts
from wattline_tui.widgets.status import StatusLine


async def drawn(pilot: Pilot[None], app: TopApp) -> None:
    while app.view.site is None:
        await pilot.pause(0.01)
    await pilot.pause()


def test_a_problem_has_its_evidence_meaning_and_remedy() -> None:
    one = problem(5, "meter_stale", "site", "alarm", "no value for 12 s")
    lines = problem_text(one, NOON).splitlines()
    assert lines[0] == "‼ site, for 1m25s: no value for 12 s"
    assert lines[1].startswith("Meanwhile: The committed watts count")
    assert lines[2].startswith("What to do: Check the meter's command")
    seen = Acknowledgement(UserName("olga"), NOON, "part ordered")
    with local_time("UTC"):
        text = problem_text(msgspec.structs.replace(one, acknowledged=seen), NOON)
    assert text.splitlines()[3] == "Acknowledged 20:26:40 by olga: part ordered"


def test_one_of_a_later_version_has_its_evidence() -> None:
    one = problem(5, "unheard_of", "site", "warning", "strange")
    assert problem_text(one, NOON) == "! site, for 1m25s: strange"


async def test_an_event_is_in_full_below_its_list() -> None:
    site = troubled_site()
    text = f"{'node gpu-04 drains: ' * 6}fan swap"
    newest = msgspec.structs.replace(site.events[-1], seq=9, text=text)
    app = TopApp(PlayedFeed(msgspec.structs.replace(site, events=(*site.events, newest))))
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pressed(pilot, ["5"])
        assert "fan swap" not in facts_below(app)
        await pressed(pilot, ["tab"])
        assert facts_below(app).endswith(text)
        await pressed(pilot, ["shift+tab"])
        assert "What to do" in facts_below(app)


def facts_below(app: TopApp) -> str:
    return str(app.screen.query_one(Facts).content)


async def test_a_new_alarm_is_in_view_until_the_cursor_was_moved() -> None:
    site = troubled_site()
    app = TopApp(PlayedFeed(msgspec.structs.replace(site, problems=())))
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        panel = app.screen.query_one(AttentionPanel)
        assert (panel.has_focus, panel.cursor) == (True, "limit site shed")
        more = tuple(problem(at, "meter_stale", f"m{at}", "alarm", "no value") for at in range(9))
        grown = msgspec.structs.replace(site, problems=more, unix_s=site.unix_s + 1)
        app.post_message(SiteArrived(grown, app.view.made_s))
        await settled(pilot)
        assert (panel.cursor, panel.first) == ("problem 0", 0)
        await pressed(pilot, ["down"])
        app.post_message(SiteArrived(site, app.view.made_s))
        await settled(pilot)
        app.post_message(SiteArrived(grown, app.view.made_s))
        await settled(pilot)
        assert panel.cursor != "problem 0"


async def test_the_key_that_the_badge_names_shows_what_it_counts() -> None:
    app = TopApp(PlayedFeed(troubled_site()))
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        assert "1 ALARM: press !" in badge(app)
        await pilot.press("!")
        await settled(pilot)
        screen = app.screen
        assert isinstance(screen, ProblemsScreen)
        assert screen.pane.table.rows.total == 2
        assert "What to do: Check the meter's command" in screen_text(app)
        await pilot.press("down", "enter")
        await settled(pilot)
        await pilot.pause()
        assert not isinstance(app.screen, NodeScreen), "a lost GPU of the fixture names no node"


async def test_events_are_read_once_and_new_ones_come_with_each_snapshot() -> None:
    site = troubled_site()
    feed = PlayedFeed(site)
    app = TopApp(feed)
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        await pilot.press("5")
        await settled(pilot)
        screen = app.screen
        assert isinstance(screen, ProblemsScreen)
        newest = msgspec.structs.replace(site.events[-1], seq=900, text="rack-r1 is dark")
        app.post_message(SiteArrived(msgspec.structs.replace(site, events=(newest,)), 0.0))
        await pilot.pause()
        await settled(pilot)
        assert "rack-r1 is dark" in screen_text(app)
        assert screen.events.table.rows.total == len(site.events) + 1
        screen.events.table.focus()
        await pilot.pause()
        assert screen.subject() is None, "the newest event is about no node"
    assert [one for one in feed.asked if isinstance(one, ListEvents)] == [
        ListEvents(after=-1_000, limit=1_000)
    ]


async def test_acts_on_an_event_are_about_its_job_or_node() -> None:
    site = troubled_site()
    of_node = msgspec.structs.replace(site.events[-1], seq=901, node="gpu-01")
    app = TopApp(PlayedFeed(msgspec.structs.replace(site, events=(of_node,))))
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        await pilot.press("5")
        await settled(pilot)
        screen = app.screen
        assert isinstance(screen, ProblemsScreen)
        screen.events.table.focus()
        await pilot.pause()
        assert screen.subject() == Subject("node", ("gpu-01",))


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
