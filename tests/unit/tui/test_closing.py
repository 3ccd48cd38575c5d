"""Closing the terminal while it redraws."""

import pytest
from textual.message import Message

from support.core.site_views import accounts_now, busy_site
from support.programs.feeds import PlayedFeed
from wattline_protocol.ids import AttemptNo, JobId, TaskNo, TaskRef
from wattline_protocol.wire.client_messages import Log
from wattline_tui import app as app_module
from wattline_tui.app import TopApp
from wattline_tui.messages import JobArrived, ListArrived, LogArrived, LogBehind, SiteArrived
from wattline_tui.model import log_end
from wattline_tui.screens.job import JobScreen

LOG = Log(TaskRef(JobId(1), TaskNo(0), AttemptNo(1)), b"more", 4, at_end=True, task_ended=False)


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


@pytest.mark.parametrize(
    "message",
    [
        ListArrived(accounts_now()),
        JobArrived(busy_site().jobs[0]),
        LogArrived(log_end(TaskNo(0)), LOG),
        LogBehind(log_end(TaskNo(0))),
        SiteArrived(busy_site(), 0.0),
    ],
    ids=lambda one: type(one).__name__,
)
async def test_an_answer_that_arrives_while_it_closes_is_harmless(message: Message) -> None:
    app = TopApp(PlayedFeed(busy_site()))
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.press("7")
    assert not app.is_running
    handler = getattr(app, message.handler_name)
    handler(message)
