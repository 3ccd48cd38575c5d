"""Pictures of every screen. Bless new ones with `make bless` and read them in review.

Most are text, which shows a change as a change of lines; a few are drawings, for the colours.
"""

import math
from collections.abc import Callable

import msgspec
import pytest
from syrupy.assertion import SnapshotAssertion
from textual.pilot import Pilot

from support.core.site_views import (
    busy_site,
    empty_site,
    large_site,
    shared_site,
    troubled_site,
)
from support.programs.feeds import PlayedFeed
from support.programs.screens import ScreenFile, pressed, screen_text, settled
from support.strategies.hostile import filled
from wattline_protocol.views.host_view import HostView
from wattline_protocol.views.service_views import Services
from wattline_protocol.views.site_views import SiteView
from wattline_protocol.wire.client_messages import Accounts
from wattline_protocol.wire.reservations import Reservations
from wattline_tui.app import TopApp
from wattline_tui.mode_names import MODE_NAMES

SNAP = Callable[..., bool]
SIZES = pytest.mark.parametrize("size", [(80, 24), (200, 60)], ids=["80x24", "200x60"])
SITES = {
    "busy": busy_site,
    "troubled": troubled_site,
    "empty": empty_site,
    "hostile": lambda: filled(SiteView),
    "large": large_site,
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


async def text_of(shown: TopApp, size: tuple[int, int], *keys: str) -> str:
    async with shown.run_test(size=size) as pilot:
        await settled(pilot)
        await pressed(pilot, keys)
        return screen_text(shown)


@SIZES
@pytest.mark.parametrize("site", SITES.values(), ids=SITES)
async def test_modes(
    screens: SnapshotAssertion, site: Callable[[], SiteView], size: tuple[int, int]
) -> None:
    shown = app(site())
    async with shown.run_test(size=size) as pilot:
        await settled(pilot)
        for mode in MODE_NAMES:
            await pressed(pilot, [mode.key])
            assert screen_text(shown) == screens(name=mode.id)


KEYS = {
    "by-temperature": ("t",),
    "help": ("question_mark",),
    "problems": ("exclamation_mark",),
    "shed-dialog": ("S", "'to 19kW over 5m", "enter"),
    "drain-asked": ("2", "d", "y"),
    "acts-on-two-jobs": ("3", "space", "space", "a"),
    "filter-that-is-wrong": ("3", "slash", "'gpus>7 and stat~x"),
    "filtered-and-sorted": ("3", "slash", "'state!=completed", "enter", "s", "'gpus", "enter"),
    "go-to": ("colon", "'gp2"),
}


@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS)
async def test_after_keys(screens: SnapshotAssertion, keys: tuple[str, ...]) -> None:
    assert await text_of(app(troubled_site()), (100, 24), *keys) == screens


@SIZES
async def test_details(screens: SnapshotAssertion, size: tuple[int, int]) -> None:
    shown = app(troubled_site())
    async with shown.run_test(size=size) as pilot:
        await settled(pilot)
        for keys in ("2 enter", "3 enter", "m", "7 b"):
            await pressed(pilot, keys.split())
            assert screen_text(shown) == screens(name=keys)


def silent_site() -> SiteView:
    """A node that was never heard, a job that waits, and one whose node is away."""
    site = busy_site()
    node = msgspec.structs.replace(
        site.nodes[0], state="never heard", gpus=(), tasks=(), heard_ago_s=None, inlet_c=None
    )
    return msgspec.structs.replace(site, nodes=(node, *site.nodes[1:]))


OTHER_STATES = {"silent": silent_site, "hostile": lambda: filled(SiteView)}


@SIZES
@pytest.mark.parametrize("site", OTHER_STATES.values(), ids=OTHER_STATES)
async def test_details_in_other_states(
    screens: SnapshotAssertion, site: Callable[[], SiteView], size: tuple[int, int]
) -> None:
    shown = app(site())
    feed = shown.feed
    assert isinstance(feed, PlayedFeed)
    is_silent = site is silent_site
    feed.host = None if is_silent else filled(HostView)
    feed.records = {} if is_silent else feed.records
    async with shown.run_test(size=size) as pilot:
        await settled(pilot)
        for keys in ("2 enter", "3 enter", "m"):
            await pressed(pilot, keys.split())
            assert screen_text(shown) == screens(name=keys)


async def test_details_that_are_stale(
    screens: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wattline_tui.model.View.stale_s", lambda view, now_s: 42.0)
    shown = app(busy_site())
    async with shown.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        for keys in ("2 enter", "3 enter"):
            await pressed(pilot, keys.split())
            assert screen_text(shown) == screens(name=keys)


async def test_node_with_shared_and_divided_gpus(screens: SnapshotAssertion) -> None:
    keys = ("2", "down", "down", "enter")
    assert await text_of(app(shared_site()), (120, 36), *keys) == screens


async def test_sites_without_any(screens: SnapshotAssertion) -> None:
    none = app(empty_site())
    assert isinstance(none.feed, PlayedFeed)
    none.feed.accounts = Accounts((), 604_800.0)
    none.feed.reservations = Reservations(())
    none.feed.services = Services(())
    async with none.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        for key in ("4", "7", "b"):
            await pressed(pilot, [key])
            assert screen_text(none) == screens(name=key)


async def test_a_member_is_told_what_acts_require(screens: SnapshotAssertion) -> None:
    shown = app(busy_site())
    assert isinstance(shown.feed, PlayedFeed)
    shown.feed.role = "submitter"
    assert await text_of(shown, (80, 24), "3", "a") == screens


@SIZES
async def test_stale(
    screens: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    monkeypatch.setattr("wattline_tui.model.View.stale_s", lambda view, now_s: 42.0)
    assert await text_of(app(busy_site()), size, "2") == screens


async def test_scheduler_away(screens: SnapshotAssertion) -> None:
    lost = app(busy_site(), lost="scheduler not reachable at tcp://127.0.0.1:7601")
    async with lost.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        while not lost.view.trouble:
            await pilot.pause(0.01)
        await settled(pilot)
        assert screen_text(lost) == screens


def after(*keys: str, theme: str = "") -> Callable[[Pilot[None]], object]:
    async def run(pilot: Pilot[None]) -> None:
        await settled(pilot)
        if theme:
            pilot.app.use_theme(theme)  # type: ignore[attr-defined]  # a TopApp
        await pressed(pilot, keys)

    return run


def test_colours(snap_compare: SNAP) -> None:
    keys = ("2", "space", "down")
    assert snap_compare(app(troubled_site()), terminal_size=(120, 30), run_before=after(*keys))


def test_light_theme(snap_compare: SNAP) -> None:
    run = after(theme="light")
    assert snap_compare(app(troubled_site()), terminal_size=(120, 36), run_before=run)
