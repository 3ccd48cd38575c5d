"""Pictures of every screen. Bless new ones with `make bless` and read them in review.

Most are text, which shows a change as a change of lines; a few are drawings, for the colours.
"""

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import pytest
from syrupy.assertion import SnapshotAssertion
from textual.pilot import Pilot

from support.core.site_views import busy_site, shared_site, troubled_site
from support.programs.feeds import PlayedFeed
from support.programs.screens import ScreenFile, pressed, screen_ink, screen_text, settled
from support.programs.site_states import STATES
from support.strategies.hostile import acting
from wattline_protocol.views.site_views import SiteView
from wattline_tui.app import TopApp
from wattline_tui.mode_names import MODE_NAMES
from wattline_tui.settings import Settings

SNAP = Callable[..., bool]
Shown = TypeVar("Shown")
SIZES = [(80, 24), (200, 60)]
SCREENS = {mode.id: mode.key for mode in MODE_NAMES} | {"accounts": "7 7", "reservations": "b"}
"""The first screen of each mode, and a list below the last; the keys that lead there from those
before, also where that list is open."""
DETAILS = {"node": "2 2 enter", "job": "3 3 enter", "curves of a job": "m"}
OF_STATES = {
    "troubled": SCREENS | DETAILS,
    "empty": SCREENS,
    "hostile": SCREENS | DETAILS,
    "large": SCREENS | DETAILS,
    "silent": DETAILS,
}


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clock times on screen do not depend on the machine."""
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@pytest.fixture(autouse=True)
def never_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long a picture took to draw does not show on it."""
    monkeypatch.setattr("wattline_tui.model.STALE_AFTER_S", math.inf)


@pytest.fixture
def screens(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    """Screens as text."""
    return snapshot.use_extension(ScreenFile)


def app(site: SiteView, *, lost: str = "") -> TopApp:
    return TopApp(PlayedFeed(site, lost=lost))


async def pictures(
    app: TopApp, screens: Mapping[str, str], picture: Callable[[Pilot[None]], Awaitable[Shown]]
) -> dict[str, Shown]:
    """Of these screens in every size, the terminal being resized in between."""
    found = {}
    async with app.run_test(size=SIZES[0]) as pilot:
        await settled(pilot)
        for wide, high in SIZES:
            await pilot.resize_terminal(wide, high)
            for name, keys in screens.items():
                await pressed(pilot, keys.split())
                found[f"{wide}x{high} {name}"] = await picture(pilot)
    return found


async def text(pilot: Pilot[None]) -> str:
    assert isinstance(pilot.app, TopApp)
    return screen_text(pilot.app)


async def text_of(shown: TopApp, size: tuple[int, int], *keys: str) -> str:
    async with shown.run_test(size=size) as pilot:
        await settled(pilot)
        await pressed(pilot, keys)
        return screen_text(shown)


@pytest.mark.parametrize("state", OF_STATES)
async def test_screens(screens: SnapshotAssertion, state: str) -> None:
    shown = await pictures(TopApp(STATES[state]()), OF_STATES[state], text)
    for name, lines in shown.items():
        assert acting(lines) == []
        assert lines == screens(name=name)


async def test_busy_stale_and_light(
    screens: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three pictures of one drawing: text has no colours, and stale is said in the status line."""
    app = TopApp(STATES["busy"](), Settings(theme="light"))

    async def all_of_them(pilot: Pilot[None]) -> dict[str, str]:
        found = {"busy": await text(pilot)}
        with monkeypatch.context() as later:
            later.setattr("wattline_tui.model.View.stale_s", lambda view, now_s: 42.0)
            app._redraw()
            await settled(pilot)
            found |= {"stale": await text(pilot), "light": screen_ink(app)}
        app._redraw()
        return found

    shown = await pictures(app, SCREENS | DETAILS, all_of_them)
    for name, found in shown.items():
        for state, picture in found.items():
            assert picture == screens(name=f"{state} {name}")


KEYS = {
    "by-temperature": ("t",),
    "help": ("question_mark",),
    "problems": ("exclamation_mark",),
    "shed-dialog": ("S", "'to 19kW over 5m", "enter"),
    "drain-asked": ("2", "d", "y"),
    "acts-on-two-jobs": ("3", "space", "space", "a"),
    "acts-on-a-node": ("2", "a"),
    "filter-that-is-wrong": ("3", "slash", "'gpus>7 and stat~x"),
    "filtered-and-sorted": ("3", "slash", "'state!=completed", "enter", "s", "'gpus", "enter"),
    "go-to": ("colon", "'gp2"),
    "go-to-ambiguous": ("colon", "'gpu-0", "enter"),
    "cancel-asked": ("3", "asterisk", "c"),
    "cordon-asked": ("2", "enter", "down", "u"),
    "unreserve-asked": ("7", "b", "V"),
}


@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS)
async def test_after_keys(screens: SnapshotAssertion, keys: tuple[str, ...]) -> None:
    assert await text_of(app(troubled_site()), (100, 24), *keys) == screens


async def test_node_with_shared_and_divided_gpus(screens: SnapshotAssertion) -> None:
    keys = ("2", "down", "down", "enter")
    assert await text_of(app(shared_site()), (120, 36), *keys) == screens


async def test_a_member_is_told_what_acts_require(screens: SnapshotAssertion) -> None:
    shown = app(busy_site())
    assert isinstance(shown.feed, PlayedFeed)
    shown.feed.role = "submitter"
    assert await text_of(shown, (80, 24), "3", "a") == screens


async def test_scheduler_away(screens: SnapshotAssertion) -> None:
    lost = app(busy_site(), lost="scheduler not reachable at tcp://127.0.0.1:7601")
    async with lost.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        while not lost.view.trouble:
            await pilot.pause(0.01)
        await settled(pilot)
        assert screen_text(lost) == screens


def after(*keys: str) -> Callable[[Pilot[None]], object]:
    async def run(pilot: Pilot[None]) -> None:
        await settled(pilot)
        await pressed(pilot, keys)

    return run


def test_colours(snap_compare: SNAP) -> None:
    keys = ("2", "space", "down")
    assert snap_compare(app(troubled_site()), terminal_size=(120, 30), run_before=after(*keys))
