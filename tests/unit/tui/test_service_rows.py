"""Services as rows of text, and all about the one that is selected."""

from textual.pilot import Pilot

from support.core.service_views import services_now
from support.core.site_views import NOON, busy_site
from support.programs.feeds import PlayedFeed
from support.programs.screens import pressed, screen_text, settled
from wattline_protocol.ids import JobId
from wattline_protocol.lists.service_table import Named, service_table
from wattline_protocol.views.service_views import RouteView, Services
from wattline_protocol.wire.problems import ProblemView
from wattline_tui.app import TopApp
from wattline_tui.listing.services import problems_of, services_of_terminal
from wattline_tui.render.service_text import service_text
from wattline_tui.screens.job import JobScreen
from wattline_tui.screens.services import ServicesScreen
from wattline_tui.widgets.list_pane import ListPane

BURNING = ProblemView(
    1, "slo_burning", "service chat", "warning", NOON, None, "burns 3.2 ×", job=JobId(1)
)
ROUTE = RouteView("front", "", ("chat", "digits"), ())


def burning(one: Named) -> list[str]:
    return problems_of(one, (BURNING,))


def cells(row: Named) -> dict[str, str]:
    return {one.name: one.cell(row) for one in services_of_terminal(0.0, burning).columns}


def test_a_row_has_replicas_load_slo_watts_joules_cost_and_the_problem() -> None:
    chat, digits, night = map(cells, services_now().services)
    assert (chat["ready"], chat["replicas"], chat["rate"]) == ("2/3", "3 of 2-8", "412")
    assert (chat["p95"], chat["slo"], chat["burn"], chat["burn-6h"]) == ("231", "200", "3.2", "0.9")
    assert (chat["watts"], chat["wanted"], chat["joules"]) == ("4.21 kW", "5.6 kW", "11.6 kJ")
    assert (chat["errors"], night["errors"]) == ("0.04 %", "-")
    assert (chat["cost"], night["cost"]) == ("0.0006 USD", "-")
    assert (chat["in-flight"], chat["note"], night["note"]) == ("26", "burns 3.2 ×", "")
    assert (digits["p95"], digits["slo"], digits["replicas"]) == ("-", "-", "2")
    assert digits["note"] == "2.1#4: CUDA out of memory"
    assert (night["ready"], night["p95"], night["slo"]) == ("0/0", "-", "1,000")


def test_a_route_is_a_row_with_where_it_leads() -> None:
    front = cells(ROUTE)
    assert (front["service"], front["user"], front["ready"]) == ("front", "site file", "-")
    assert front["note"] == "route to chat, digits"


def test_the_columns_are_those_of_the_command() -> None:
    names = [one.name for one in service_table(0.0).columns]
    assert [one.name for one in services_of_terminal(0.0, burning).columns] == names


def test_a_fast_burn_and_a_problem_are_alarms() -> None:
    table = services_of_terminal(0.0, burning)
    rows: tuple[Named, ...] = (*services_now().services, ROUTE)
    alarms = {
        one.name: [row.name for row in rows if one.is_alarm(row)]
        for one in table.columns
        if one.is_alarm is not None
    }
    assert alarms == {"burn": ["chat"], "note": ["chat", "digits"]}


def test_the_details_are_those_of_the_command() -> None:
    (chat, *_) = services_now().services
    lines = service_text(chat, burning(chat)).splitlines()
    assert any(line.startswith("error budget") and "3.2 × in 1 h" in line for line in lines)
    assert lines[:2] == ["RUNNING · owner ada · revision 1 · 26 in flight", "! burns 3.2 ×"]
    assert service_text(ROUTE, ()).splitlines() == [
        "route · owner site file",
        "leads to chat, digits",
    ]


async def test_enter_opens_the_job_that_serves_and_says_that_a_route_has_none() -> None:
    feed = PlayedFeed(busy_site())
    feed.services = Services(feed.services.services, (ROUTE,))
    app = TopApp(feed)
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await _listed(pilot, app)
        await pressed(pilot, ["end"])
        assert screen.selected is ROUTE
        assert not screen.worker_pane.display
        await pressed(pilot, ["enter"])
        assert app.screen is screen
        await pressed(pilot, ["home", "down", "enter"])
        assert isinstance(app.screen, JobScreen)
        assert app.screen.job == 2


async def test_services_and_workers_are_filtered_and_sorted_as_all_lists() -> None:
    app = TopApp(PlayedFeed(busy_site()))
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await _listed(pilot, app)
        await pressed(pilot, ["slash", "'burn>1 or note~memory", "enter", "s", "'rate", "enter"])
        assert screen.pane.table.rows.keys == ["chat", "digits"]
        await pressed(pilot, ["tab", "slash", "'state!=ready", "enter"])
        assert screen.worker_pane.table.rows.keys == ["1.2#1"]
        await pressed(pilot, ["slash", "'stat=x"])
        assert "no column 'stat'; the nearest is state" in screen_text(app)
        assert len(app.screen.query(ListPane)) == 2


async def _listed(pilot: Pilot[None], app: TopApp) -> ServicesScreen:
    await settled(pilot)
    await pressed(pilot, ["4"])
    assert isinstance(app.screen, ServicesScreen)
    return app.screen
