"""Closing the terminal while it redraws."""

import pytest

from support.feeds import PlayedFeed
from support.site_views import busy_site
from wattline_protocol.ids import JobId
from wattline_tui import app as app_module
from wattline_tui.app import TopApp
from wattline_tui.screens.job import JobScreen


async def test_a_redraw_that_falls_into_the_closing_is_harmless(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Screens lose their widgets before they leave the stack."""
    monkeypatch.setattr(app_module, "PERIOD_S", 0.0005)
    app = TopApp(PlayedFeed(busy_site()))
    async with app.run_test(size=(120, 36)) as pilot:
        app.push_screen(JobScreen(JobId(1)))
        await pilot.pause()
    assert not app.is_running
