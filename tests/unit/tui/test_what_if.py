"""What if: typed for a domain, asked of the scheduler, read on a page."""

import pytest

from support.core.site_views import NOON, busy_site, troubled_site
from support.programs.feeds import PlayedFeed
from support.programs.screens import pressed, screen_text, settled
from wattline_protocol.ids import DomainId, JobId
from wattline_protocol.views.power_views import JobOutlook, PowerOutlook, WhatIfPower
from wattline_protocol.wire.client_messages import Answer, Request
from wattline_tui.acts.orders import parse_what_if
from wattline_tui.app import TopApp
from wattline_tui.render.domain_text import domain_text
from wattline_tui.render.outlook_text import outlook_text
from wattline_tui.screens.base import Subject
from wattline_tui.screens.power import PowerScreen
from wattline_tui.widgets.list_pane import ListPane

RACK = DomainId("rack-r2")
ANSWER = PowerOutlook(
    domain=RACK, fails=False, budget_w=12_000.0, then_w=9_000.0, short_w=0.0, nodes=(),
    node_count=0, lost=0, paused=1, slowed=2,
    jobs=(
        JobOutlook(JobId(8), "sweep", "ada", 25, 1, "paused", 0.9, 0.0),
        JobOutlook(JobId(7), "llm", "bob", 50, 8, "slowed", 1.0, 0.734),
    ),
)  # fmt: skip


class AnsweringFeed(PlayedFeed):
    def ask(self, request: Request) -> Answer:
        answer = super().ask(request)
        return ANSWER if isinstance(request, WhatIfPower) else answer


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("3kW", WhatIfPower(RACK, by_mw=3_000_000)),
        ("loses 3.5 kW", WhatIfPower(RACK, by_mw=3_500_000)),
        ("25%", WhatIfPower(RACK, fraction=0.25)),
        ("fails", WhatIfPower(RACK, fails=True)),
    ],
)
def test_what_it_loses_is_typed(text: str, request_: WhatIfPower) -> None:
    assert parse_what_if(text, RACK) == request_


@pytest.mark.parametrize(
    ("text", "why"), [("lots", "write 3kW, 25% or fails"), ("120%", "not between 0 and 100")]
)
def test_what_makes_no_sense_names_what_would(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_what_if(text, RACK)


def test_the_answer_names_jobs_and_counts_those_that_it_does_not() -> None:
    lines = outlook_text(ANSWER).splitlines()
    assert lines[0] == "If rack-r2 has 3 kW less (12 kW now, then 9 kW), with the current demand:"
    assert lines[-3].split() == ["8", "paused", "1", "GPU", "sweep", "(ada)"]
    assert lines[-2].endswith("llm (bob)  100% → 73% of its watts")
    assert lines[-1] == "and 1 more"


async def test_a_domain_is_asked_about_where_its_row_is() -> None:
    feed = AnsweringFeed(busy_site())
    app = TopApp(feed)
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        await pressed(pilot, ["6", "down", "down", "w", "'3kW", "enter"])
        await settled(pilot)
        assert "1 job paused" in screen_text(app)
    assert feed.asked == [WhatIfPower(RACK, by_mw=3_000_000)]


async def test_enter_on_a_domain_shows_the_nodes_that_count_in_it() -> None:
    app = TopApp(PlayedFeed(busy_site()))
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        for row, domain, nodes in (
            (0, "site", ["gpu-01", "gpu-02", "gpu-03", "gpu-04"]),
            (2, "rack-r2", ["gpu-03", "gpu-04"]),
            (3, "room", ["gpu-01", "gpu-02", "gpu-03", "gpu-04"]),
        ):
            await pressed(pilot, ["6", "home", *["down"] * row, "enter"])
            assert app.current_mode == "nodes"
            rows = app.screen.query_one(ListPane).table.rows
            assert (rows.where_text, rows.keys) == (f"domains={domain}", nodes)


async def test_enter_on_a_limit_goes_to_its_domain() -> None:
    app = TopApp(PlayedFeed(troubled_site()))
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        await pressed(pilot, ["6", "down", "tab", "enter"])
        screen = app.screen
        assert isinstance(screen, PowerScreen)
        assert screen.selected is not None
        assert (screen.selected.id, screen.pane.table.has_focus) == ("site", True)


async def test_a_limit_is_about_its_domain() -> None:
    app = TopApp(PlayedFeed(troubled_site()))
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        await pressed(pilot, ["6"])
        screen = app.screen
        assert isinstance(screen, PowerScreen)
        screen.limits.table.focus()
        await pilot.pause()
        assert screen.subject() == Subject("domain", ("site",))


def test_all_about_a_domain() -> None:
    lines = domain_text(troubled_site().domains[0], NOON).splitlines()
    assert lines[0] == "budget 16.5 kW of 22 kW · rating 27.5 kW · headroom -4.8 kW"
    assert lines[2] == "limits no work"
