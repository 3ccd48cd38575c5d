"""Keys, palette and help come from one table; acts reach the feed."""

import time

import msgspec
import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from support.core.site_views import NOON, busy_site, job, shed_limit, troubled_site
from support.programs.feeds import PlayedFeed
from support.programs.screens import pressed, screen_text, settled
from support.programs.time_zone import local_time
from wattline_protocol.ids import JobId, NodeId, UnixTime
from wattline_protocol.job.selection import only
from wattline_protocol.views.site_views import ExplainView, FilterRefusal, Remedy
from wattline_protocol.wire.client_messages import (
    AckProblem,
    Cancel,
    CancelGridEvent,
    Drain,
    Explain,
    Hold,
    Requeue,
    Shed,
    Undrain,
    Update,
)
from wattline_protocol.wire.nodes.acts import Cordon
from wattline_protocol.wire.reservations import Unreserve
from wattline_tui.actions import ACTIONS
from wattline_tui.acts.table import ACTS
from wattline_tui.app import TopApp
from wattline_tui.explained import explained
from wattline_tui.help_text import help_text
from wattline_tui.messages import Greeted, SiteArrived
from wattline_tui.mode_names import MODE_NAMES
from wattline_tui.screens.accounts import AccountsScreen
from wattline_tui.screens.base import Subject
from wattline_tui.screens.dialogs import Confirm, Page
from wattline_tui.screens.job import JobScreen
from wattline_tui.screens.node import NodeScreen
from wattline_tui.screens.overview import OverviewScreen
from wattline_tui.screens.problems import ProblemsScreen
from wattline_tui.screens.reservations import ReservationsScreen
from wattline_tui.widgets.choose import Choose
from wattline_tui.widgets.list_pane import FilterLine, ListPane
from wattline_tui.widgets.list_table import ListTable
from wattline_tui.widgets.tree_panel import TreePanel

OWNERS = {
    "everywhere": TopApp,
    "rows": ListTable,
    "list": ListPane,
    "tree": TreePanel,
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
    assert hasattr(OWNERS[action.place], f"action_{action.call.partition('(')[0]}")
    assert action.help in help_text({})


def test_help_has_every_mode_and_act() -> None:
    text = help_text({"drain": "ctrl+d"})
    assert all(act.help in text for act in ACTS)
    assert all(mode.help in text for mode in MODE_NAMES)
    assert "  Ctrl-D        Start nothing new on nodes" in text


def test_a_line_of_help_fits_80_columns() -> None:
    assert [line for line in help_text({}).splitlines() if len(line) > 68] == []


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


async def test_acts_on_a_service_are_on_the_job_that_serves_it() -> None:
    feed = PlayedFeed(busy_site())
    app = TopApp(feed)
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        await pressed(pilot, ["4", "h", "y"])
    assert feed.asked == [Hold(only(JobId(1)))]


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


async def test_the_gpu_under_the_cursor_is_cordoned() -> None:
    feed = PlayedFeed(busy_site())
    app = TopApp(feed)
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        await pressed(pilot, ["2", "enter", "down", "down", "u", "y", "'XID 79", "enter"])
        await pressed(pilot, ["home", "space", "space", "u", "y", "enter"])
        await pressed(pilot, ["a"])
        assert "acts on 2 GPUs" in screen_text(app)
        assert "Start nothing new on nodes" in screen_text(app), "they are parts of a node"
    node = NodeId("gpu-01")
    wanted = [("2", "XID 79"), ("0", "from top"), ("1", "from top")]
    assert feed.asked == [Cordon(node, gpu, reason) for gpu, reason in wanted]


async def test_from_a_problem_of_a_gpu_the_cursor_is_on_it() -> None:
    site = troubled_site()
    lost = msgspec.structs.replace(site.problems[1], node=NodeId("gpu-01"))
    app = TopApp(PlayedFeed(msgspec.structs.replace(site, problems=(lost,))))
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        await pressed(pilot, ["enter", "u"])
        assert "Cordon GPU 3 of gpu-01?" in screen_text(app)
        await pressed(pilot, ["n", "5", "enter", "u"])
        assert "Cordon GPU 3 of gpu-01?" in screen_text(app)


async def test_in_a_list_of_nodes_the_gpu_is_asked_for() -> None:
    feed = PlayedFeed(busy_site())
    app = TopApp(feed)
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        await pressed(pilot, ["2", "u", "'4", "enter", "y", "enter"])
    assert feed.asked == [Cordon(NodeId("gpu-01"), "4", "from top")]


async def test_a_grid_event_is_cancelled_from_its_limit_or_by_its_id() -> None:
    site = busy_site()
    events = tuple(
        shed_limit(name=f"event {name}", source="event", end_unix_s=NOON + 60)
        for name in ("dr-7", "dr-9")
    )
    root = msgspec.structs.replace(site.domains[0], limits=events)
    feed = PlayedFeed(msgspec.structs.replace(site, domains=(root, *site.domains[1:])))
    app = TopApp(feed)
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        await pressed(pilot, ["C", "'dr-9", "enter", "y", "'over", "enter"])
        await pressed(pilot, ["6", "tab", "C", "y", "enter"])
    assert feed.asked == [CancelGridEvent("dr-9", "over"), CancelGridEvent("dr-7", "from top")]


async def test_a_reservation_is_cancelled_by_operators() -> None:
    feed = PlayedFeed(busy_site())
    app = TopApp(feed)
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        await pressed(pilot, ["7", "b", "V", "y", "'course is over", "enter"])
        feed.role = "submitter"
        app.post_message(Greeted(feed.me))
        await pressed(pilot, ["V"])
        assert not isinstance(app.screen, Confirm)
    assert feed.asked == [Unreserve("course", "course is over")]


async def test_a_role_that_changes_is_known_with_the_next_picture() -> None:
    feed = PlayedFeed(busy_site(), lost="the scheduler restarts")
    app = TopApp(feed)
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        assert app.view.me == feed.me
        feed.role = "submitter"
        while app.view.me != feed.me:
            await pilot.pause(0.01)
        await pressed(pilot, ["2", "d"])
        assert not isinstance(app.screen, Confirm)


async def test_escape_clears_the_filter_of_the_list_in_focus() -> None:
    app = TopApp(PlayedFeed(troubled_site()))
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        await pressed(pilot, ["5", "slash", "'level=alarm", "enter"])
        await pressed(pilot, ["tab", "slash", "'level=warning", "enter"])
        screen = app.screen
        assert isinstance(screen, ProblemsScreen)
        await pressed(pilot, ["escape"])
        wheres = [one.table.rows.where_text for one in (screen.pane, screen.events)]
        assert wheres == ["level=alarm", ""]
        await pressed(pilot, ["escape"])
        assert screen.pane.table.rows.where_text == "level=alarm", "it is not in focus"


@pytest.mark.parametrize(
    ("typed", "goes_to"), [("17", "job 17"), ("gpu-1", "node gpu-1"), ("gpu-1/2", "GPU 2")]
)
async def test_an_exact_name_or_number_is_gone_to(typed: str, goes_to: str) -> None:
    site = busy_site()
    nodes = [msgspec.structs.replace(site.nodes[0], id=NodeId(f"gpu-{n}")) for n in range(1, 12)]
    jobs = [job(n, "sweep", "RUNNING") for n in range(1, 20)]
    app = TopApp(PlayedFeed(msgspec.structs.replace(site, nodes=tuple(nodes), jobs=tuple(jobs))))
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        await pressed(pilot, ["colon", f"'{typed}", "enter"])
        assert shown(app) == goes_to


def shown(app: TopApp) -> str:
    if isinstance(app.screen, JobScreen):
        return f"job {app.screen.job}"
    subject = app.subject
    assert isinstance(app.screen, NodeScreen)
    assert subject is not None
    gpu = subject.keys[0].partition("/")[2]
    return f"GPU {gpu}" if gpu != "0" else f"node {app.screen.node}"


async def test_an_ambiguous_name_says_so_and_waits_for_a_choice() -> None:
    app = TopApp(PlayedFeed(busy_site()))
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        await pressed(pilot, ["colon", "'gpu-0", "enter"])
        assert isinstance(app.screen, Choose)
        assert "4 match equally well: ↑ and ↓ choose, or type more" in screen_text(app)
        await pressed(pilot, ["down", "enter"])
        assert isinstance(app.screen, NodeScreen)
        assert app.screen.node == "gpu-02"


async def test_a_number_that_nothing_has_leads_nowhere() -> None:
    app = TopApp(PlayedFeed(busy_site()))
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        await pressed(pilot, ["colon", "'99", "enter"])
        assert isinstance(app.screen, OverviewScreen)
        assert [one.message for one in app._notifications] == ["nothing is named 99"]


async def test_vi_keys_move_in_lists_and_panels() -> None:
    app = TopApp(PlayedFeed(troubled_site()))
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        tree = app.screen.query_one(TreePanel)
        tree.focus()
        await pressed(pilot, ["j", "j", "k"])
        assert tree.cursor == "rack-r1"
        await pressed(pilot, ["5", "j"])
        assert app.subject == Subject("problem", ("6",))
        await pressed(pilot, ["k", "A"])
        assert isinstance(app.screen, Confirm)
        assert "Acknowledge site (meter stale)?" in screen_text(app)


async def test_who_waits_for_a_quota_is_opened_from_it_and_escape_goes_back() -> None:
    app = TopApp(PlayedFeed(busy_site()))
    async with app.run_test(size=(120, 36)) as pilot:
        await drawn(pilot, app)
        await pilot.press("7")
        for _ in range(200):
            if isinstance(app.screen, AccountsScreen) and app.screen.accounts.quotas:
                break
            await pilot.pause(0.01)
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
        await pilot.press("A", "y", *"part", "enter")
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
