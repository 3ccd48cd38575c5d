"""Lists by keys and mouse: filter, order, choice, and acts on what is chosen."""

import time

import msgspec
from textual import events
from textual.pilot import Pilot

from support.core.site_views import busy_site, job
from support.programs.feeds import PlayedFeed
from support.programs.screens import pressed, screen_text, settled
from wattline_protocol.ids import JobId, NodeId
from wattline_protocol.job.selection import Selection, Span
from wattline_protocol.wire.client_messages import Cancel, Drain
from wattline_tui.app import TopApp
from wattline_tui.messages import SiteArrived
from wattline_tui.screens.node import NodeScreen
from wattline_tui.widgets.list_pane import ListPane
from wattline_tui.widgets.list_table import ListTable


def pane_of(app: TopApp) -> ListPane:
    return app.screen.query_one(ListPane)


async def listed(pilot: Pilot[None], mode: str) -> None:
    await settled(pilot)
    await pressed(pilot, [mode])


async def test_chosen_jobs_are_acted_on_together() -> None:
    feed = PlayedFeed(busy_site())
    app = TopApp(feed)
    async with app.run_test(size=(120, 30)) as pilot:
        await listed(pilot, "3")
        await pressed(pilot, ["slash", "'state=running", "enter", "asterisk", "c"])
        assert "Cancel 2 jobs (2 of ada)?" in screen_text(app)
        assert "2 run: each gets its stop notice" in screen_text(app)
        await pressed(pilot, ["y"])
    both = Selection((Span(JobId(1), JobId(1)), Span(JobId(2), JobId(2))))
    assert feed.asked == [Cancel(both)]


async def test_totals_and_the_hint_of_the_filter_are_of_the_list() -> None:
    app = TopApp(PlayedFeed(busy_site()))
    async with app.run_test(size=(120, 30)) as pilot:
        await listed(pilot, "2")
        assert "3 in use, 1 draining" in str(pane_of(app).table.border_subtitle)
        await pressed(pilot, ["slash"])
        assert "on node, rack, state, gpus" in screen_text(app)
        await pressed(pilot, ["'state=draining", "enter"])
        assert str(pane_of(app).table.border_subtitle).startswith("1 draining · free GPUs: none")
        await pressed(pilot, ["escape"])
        assert "3 in use, 1 draining" in str(pane_of(app).table.border_subtitle)


async def test_nodes_are_drained_one_by_one_with_the_reason() -> None:
    feed = PlayedFeed(busy_site())
    app = TopApp(feed)
    async with app.run_test(size=(120, 30)) as pilot:
        await listed(pilot, "2")
        await pressed(pilot, ["space", "space", "a", "d", "y", "'new fans", "enter"])
    assert feed.asked == [Drain(NodeId(f"gpu-0{n}"), "new fans") for n in (1, 2)]


async def test_a_member_acts_on_own_jobs_only() -> None:
    feed = PlayedFeed(busy_site())
    feed.role = "submitter"
    app = TopApp(feed)
    async with app.run_test(size=(120, 30)) as pilot:
        await listed(pilot, "3")
        await pressed(pilot, ["c", "y", "2", "d", "y", "enter"])
    assert feed.asked == []


async def test_a_pasted_megabyte_harms_nothing() -> None:
    app = TopApp(PlayedFeed(busy_site()))
    async with app.run_test(size=(120, 30)) as pilot:
        await listed(pilot, "3")
        await pressed(pilot, ["slash"])
        app.post_message(events.Paste("name=" + "x" * 1_000_000))
        await settled(pilot)
        assert pane_of(app).table.rows.where_text == "name=" + "x" * 1_019
        await pressed(pilot, ["escape"])
        assert len(pane_of(app).table.rows.shown) == 4
        assert pane_of(app).table.has_focus


async def test_escape_gives_up_choice_then_filter() -> None:
    app = TopApp(PlayedFeed(busy_site()))
    async with app.run_test(size=(120, 30)) as pilot:
        await listed(pilot, "3")
        await pressed(pilot, ["slash", "'gpus>7", "enter", "space", "escape"])
        rows = pane_of(app).table.rows
        assert (rows.chosen, rows.where_text) == (set(), "gpus>7")
        await pressed(pilot, ["escape"])
        assert rows.where_text == ""


async def test_the_mouse_sorts_moves_and_opens() -> None:
    app = TopApp(PlayedFeed(busy_site()))
    async with app.run_test(size=(120, 30)) as pilot:
        await listed(pilot, "2")
        await pilot.click(ListTable, offset=(5, 1))
        await settled(pilot)
        assert pane_of(app).table.rows.order_text == "node"
        await pilot.click(ListTable, offset=(5, 1))
        await pilot.click(ListTable, offset=(5, 3))
        await settled(pilot)
        rows = pane_of(app).table.rows
        assert (rows.order_text, rows.at_cursor) == ("-node", "gpu-03")
        await pilot.click(ListTable, offset=(5, 3), times=2)
        await settled(pilot)
        assert isinstance(app.screen, NodeScreen)
        assert app.screen.node == "gpu-03"


async def test_names_lead_to_nodes_and_to_jobs_of_a_user() -> None:
    app = TopApp(PlayedFeed(busy_site()))
    async with app.run_test(size=(120, 30)) as pilot:
        await settled(pilot)
        await pressed(pilot, ["colon", "'gpu-03", "enter"])
        assert isinstance(app.screen, NodeScreen)
        assert app.screen.node == "gpu-03"
        await pressed(pilot, ["ctrl+p", "'ada", "enter"])
        assert app.current_mode == "jobs"
        assert pane_of(app).table.rows.where_text == "user=ada"


async def test_only_lines_in_view_are_drawn_of_ten_thousand() -> None:
    jobs = tuple(job(n, f"sweep-{n}", "RUNNING") for n in range(1, 10_001))
    site = msgspec.structs.replace(busy_site(), jobs=jobs)
    app = TopApp(PlayedFeed(site))
    async with app.run_test(size=(120, 30)) as pilot:
        await listed(pilot, "3")
        table = pane_of(app).table
        drawn: list[int] = []
        before = table.render_line

        def counted(y: int):  # type: ignore[no-untyped-def]  # a Strip
            drawn.append(y)
            return before(y)

        table.render_line = counted  # type: ignore[method-assign]
        await pressed(pilot, ["end"])
        assert table.rows.at_cursor == "10000"
        newer = (*jobs[:5_000], *jobs[5_001:])
        app.post_message(SiteArrived(msgspec.structs.replace(site, jobs=newer), time.monotonic()))
        await settled(pilot)
        assert table.rows.at_cursor == "10000", "rows above it have left"
        assert "sweep-10000" in screen_text(app)
        assert max(drawn) < 30
        assert len(table._cells) < 60
