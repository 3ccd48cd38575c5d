"""Pictures of every screen. Bless new ones with `make bless` and read them in review."""

import math
from collections.abc import Callable

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from support.core.site_views import busy_site, empty_site, shared_site, troubled_site
from support.programs.feeds import PlayedFeed
from wattline_protocol.views.service_views import Services
from wattline_protocol.views.site_views import SiteView
from wattline_protocol.wire.client_messages import Accounts
from wattline_protocol.wire.reservations import Reservations
from wattline_tui.app import TopApp

SNAP = Callable[..., bool]


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


def app(site: SiteView, *, lost: str = "") -> TopApp:
    return TopApp(PlayedFeed(site, lost=lost))


async def settled(pilot: Pilot[None]) -> None:
    """The snapshot has been drawn on the screen that is open."""
    while pilot.app.view.site is None:  # type: ignore[attr-defined]  # a TopApp
        await pilot.pause(0.01)
    asks = {"job", "order", "list"}
    while any(w.name in asks and not w.is_finished for w in pilot.app.workers):
        await pilot.pause(0.01)
    await pilot.pause()
    await pilot.pause()


def after(*keys: str) -> Callable[[Pilot[None]], object]:
    async def run(pilot: Pilot[None]) -> None:
        await settled(pilot)
        for key in keys:
            await pilot.press(key)
            await settled(pilot)

    return run


@pytest.mark.parametrize("size", [(80, 24), (200, 60)], ids=["80x24", "200x60"])
@pytest.mark.parametrize(
    "site", [busy_site, troubled_site, empty_site], ids=["busy", "troubled", "empty"]
)
def test_overview(snap_compare: SNAP, site: Callable[[], SiteView], size: tuple[int, int]) -> None:
    assert snap_compare(app(site()), terminal_size=size, run_before=after())


def test_overview_by_temperature(snap_compare: SNAP) -> None:
    assert snap_compare(app(troubled_site()), terminal_size=(120, 36), run_before=after("t"))


def test_scheduler_away(snap_compare: SNAP) -> None:
    lost = app(busy_site(), lost="scheduler not reachable at tcp://127.0.0.1:7601")

    async def run(pilot: Pilot[None]) -> None:
        await settled(pilot)
        while not pilot.app.view.trouble:  # type: ignore[attr-defined]  # a TopApp
            await pilot.pause(0.01)
        await settled(pilot)

    assert snap_compare(lost, terminal_size=(120, 36), run_before=run)


def test_node(snap_compare: SNAP) -> None:
    keys = ("shift+tab", "enter")
    assert snap_compare(app(troubled_site()), terminal_size=(120, 36), run_before=after(*keys))


def test_node_with_shared_and_divided_gpus(snap_compare: SNAP) -> None:
    keys = ("shift+tab", "down", "down", "enter")
    assert snap_compare(app(shared_site()), terminal_size=(120, 36), run_before=after(*keys))


@pytest.mark.parametrize("size", [(80, 24), (200, 60)], ids=["80x24", "200x60"])
def test_accounts(snap_compare: SNAP, size: tuple[int, int]) -> None:
    assert snap_compare(app(busy_site()), terminal_size=size, run_before=after("a", "tab"))


def test_accounts_of_a_site_without_any(snap_compare: SNAP) -> None:
    none = app(empty_site())
    assert isinstance(none.feed, PlayedFeed)
    none.feed.accounts = Accounts((), 604_800.0)
    assert snap_compare(none, terminal_size=(80, 24), run_before=after("a"))


@pytest.mark.parametrize("size", [(80, 24), (200, 60)], ids=["80x24", "200x60"])
def test_reservations(snap_compare: SNAP, size: tuple[int, int]) -> None:
    assert snap_compare(app(busy_site()), terminal_size=size, run_before=after("v"))


def test_reservations_of_a_site_without_any(snap_compare: SNAP) -> None:
    none = app(empty_site())
    assert isinstance(none.feed, PlayedFeed)
    none.feed.reservations = Reservations(())
    assert snap_compare(none, terminal_size=(80, 24), run_before=after("v"))


@pytest.mark.parametrize("size", [(80, 24), (200, 60)], ids=["80x24", "200x60"])
def test_services(snap_compare: SNAP, size: tuple[int, int]) -> None:
    assert snap_compare(app(busy_site()), terminal_size=size, run_before=after("i"))


@pytest.mark.parametrize("size", [(80, 24), (200, 60)], ids=["80x24", "200x60"])
def test_services_of_a_site_without_any(snap_compare: SNAP, size: tuple[int, int]) -> None:
    none = app(empty_site())
    assert isinstance(none.feed, PlayedFeed)
    none.feed.services = Services(())
    assert snap_compare(none, terminal_size=size, run_before=after("i"))


@pytest.mark.parametrize("size", [(80, 24), (120, 36)], ids=["80x24", "120x36"])
def test_job(snap_compare: SNAP, size: tuple[int, int]) -> None:
    assert snap_compare(app(busy_site()), terminal_size=size, run_before=after("enter"))


def test_help(snap_compare: SNAP) -> None:
    keys = ("question_mark",)
    assert snap_compare(app(busy_site()), terminal_size=(100, 40), run_before=after(*keys))


def test_shed_dialog(snap_compare: SNAP) -> None:
    async def run(pilot: Pilot[None]) -> None:
        await settled(pilot)
        await pilot.press("s")
        await settled(pilot)
        pilot.app.screen.query_one(Input).cursor_blink = False
        await settled(pilot)

    assert snap_compare(app(busy_site()), terminal_size=(100, 30), run_before=run)


def test_light_theme(snap_compare: SNAP) -> None:
    light = app(troubled_site())

    async def run(pilot: Pilot[None]) -> None:
        pilot.app.theme = "textual-light"
        await settled(pilot)

    assert snap_compare(light, terminal_size=(120, 36), run_before=run)


def test_an_act_is_asked_first(snap_compare: SNAP) -> None:
    keys = ("shift+tab", "d")
    assert snap_compare(app(busy_site()), terminal_size=(120, 36), run_before=after(*keys))
