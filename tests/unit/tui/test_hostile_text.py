"""What other users, jobs and drivers write appears as text, whatever keys are pressed."""

import pytest
from textual.pilot import Pilot

from support.programs.site_states import hostile_feed
from support.strategies.hostile import acting
from wattline_tui.app import TopApp


def drawn_text(app: TopApp) -> str:
    """Everything on the screen on top, line by line."""
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


@pytest.mark.parametrize(
    "keys",
    [
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
        ("2", "space", "a"),
        ("2", "s"),
        ("3", "space", "c"),
        ("3", "slash"),
        ("4", "down"),
        ("4", "tab", "s"),
        ("7", "tab", "slash"),
    ],
    ids=" ".join,
)
async def test_no_screen_lets_text_act(keys: tuple[str, ...]) -> None:
    app = TopApp(hostile_feed())
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
