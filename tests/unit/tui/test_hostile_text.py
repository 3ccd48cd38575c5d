"""What other users, jobs and drivers write appears as text, on every screen."""

import msgspec
import pytest
from textual.pilot import Pilot

from support.core.site_views import run_report
from support.programs.feeds import PlayedFeed
from support.strategies.hostile import HOSTILE, acting, filled
from wattline_protocol.views.host_view import HostView
from wattline_protocol.views.site_views import ExplainView, SiteView
from wattline_protocol.wire.client_messages import Accounts, Answer, FetchLog, Request
from wattline_protocol.wire.reservations import Reservations
from wattline_tui.app import TopApp


class HostileFeed(PlayedFeed):
    """Answers every request with text that would act on a terminal."""

    def __init__(self) -> None:
        super().__init__(filled(SiteView))
        self.explain = filled(ExplainView)
        self.accounts = filled(Accounts)
        self.reservations = filled(Reservations)
        self.host = filled(HostView)
        report = run_report()
        curves = tuple(msgspec.structs.replace(one, name=HOSTILE[:250]) for one in report.curves)
        self.records = {1: msgspec.structs.replace(report, curves=curves)}

    def ask(self, request: Request) -> Answer:
        answer = super().ask(request)
        if isinstance(request, FetchLog):
            return msgspec.structs.replace(answer, data=HOSTILE.encode())
        return answer


def drawn_text(app: TopApp) -> str:
    """Everything on the screen on top, line by line."""
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


@pytest.mark.parametrize(
    "keys",
    [
        (),
        ("enter",),
        ("k",),
        ("t", "t", "t"),
        ("shift+tab", "z"),
        ("3", "enter"),
        ("3", "enter", "m"),
        ("3", "enter", "t"),
        ("3", "enter", "x"),
        ("3", "enter", "c"),
        ("3", "enter", "p"),
        ("3", "enter", "h", "y"),
        ("2", "enter"),
        ("2", "d"),
        ("3", "enter", "a"),
        ("S",),
        ("colon",),
        ("2",),
        ("2", "space", "a"),
        ("2", "s"),
        ("3", "space", "c"),
        ("3", "slash"),
        ("4",),
        ("5",),
        ("6",),
        ("7",),
        ("7", "b"),
    ],
    ids=" ".join,
)
async def test_no_screen_lets_text_act(keys: tuple[str, ...]) -> None:
    app = TopApp(HostileFeed())
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot)
        for key in keys:
            await pilot.press(key)
            await settled(pilot)
        text = drawn_text(app)
    assert acting(text) == []
    assert "␛]0;own" in text, "it is shown, in part where space is short"


async def settled(pilot: Pilot[None]) -> None:
    while pilot.app.view.site is None:  # type: ignore[attr-defined]  # a TopApp
        await pilot.pause(0.01)
    asks = {"job", "order", "list"}
    while any(w.name in asks and not w.is_finished for w in pilot.app.workers):
        await pilot.pause(0.01)
    await pilot.pause()
    await pilot.pause()
