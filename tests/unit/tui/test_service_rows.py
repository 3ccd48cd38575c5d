"""Services as rows of text, and all about the one that is selected."""

from textual.pilot import Pilot

from support.core.service_views import services_now
from support.core.site_views import NOON, busy_site
from support.programs.feeds import PlayedFeed
from wattline_protocol.ids import JobId
from wattline_protocol.wire.problems import ProblemView
from wattline_tui.app import TopApp
from wattline_tui.screens.job import JobScreen
from wattline_tui.screens.services import ServicesScreen
from wattline_tui.services import ServiceRow, details_of, service_rows, service_table

BURNING = ProblemView(
    1, "slo_burning", "service chat", "warning", NOON, None, "burns 3.2 ×", job=JobId(1)
)


def cells(row: ServiceRow) -> dict[str, str]:
    return {column.name: column.cell(row) for column in service_table(0.0).columns}


def test_a_row_has_replicas_load_slo_watts_joules_cost_and_the_problem() -> None:
    rows = service_rows(services_now().services, (BURNING,))
    chat, digits, night = map(cells, rows)
    assert (chat["ready"], chat["replicas"], chat["rate"]) == ("2/3", "2-8", "412")
    assert (chat["p95"], chat["slo"], chat["burn"], chat["burn-6h"]) == ("231", "200", "3.2", "0.9")
    assert (chat["watts"], chat["wanted"], chat["joules"]) == ("4.21 kW", "5.6 kW", "11.6 kJ")
    assert (chat["errors"], night["errors"]) == ("0.04 %", "-")
    assert (chat["in-flight"], chat["problem"], night["problem"]) == ("26", "burns 3.2 ×", "")
    assert (digits["p95"], digits["slo"]) == ("-", "-")
    assert digits["problem"] == "2.1#4: CUDA out of memory"
    assert (night["ready"], night["p95"], night["slo"], night["cost"]) == ("0/0", "-", "1,000", "-")


def test_a_fast_burn_is_an_alarm() -> None:
    burn = service_table(0.0).column("burn")
    assert burn.is_alarm is not None
    assert list(map(burn.is_alarm, service_rows(services_now().services, ()))) == [
        True,
        False,
        False,
    ]


def test_the_details_are_those_of_the_command() -> None:
    (chat, *_) = service_rows(services_now().services, (BURNING,))
    lines = details_of(chat).splitlines()
    assert any(line.startswith("error budget") and "3.2 × in 1 h" in line for line in lines)
    assert lines[:2] == ["RUNNING · owner ada · revision 1 · 26 in flight", "! burns 3.2 ×"]


async def test_enter_opens_the_job_that_serves() -> None:
    app = TopApp(PlayedFeed(busy_site()))
    async with app.run_test(size=(120, 36)) as pilot:
        await _listed(pilot, app)
        await pilot.press("down", "enter")
        await pilot.pause()
        assert isinstance(app.screen, JobScreen)
        assert app.screen.job == 2


async def _listed(pilot: Pilot[None], app: TopApp) -> None:
    while app.view.site is None:
        await pilot.pause(0.01)
    await pilot.press("4")
    while not (isinstance(app.screen, ServicesScreen) and app.screen.services):
        await pilot.pause(0.01)
    await pilot.pause()
