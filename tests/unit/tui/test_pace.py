"""What is on screen is the newest there is, and its age is that of the scheduler's snapshot."""

import time
from collections.abc import Iterator

import msgspec

from support.core.site_views import busy_site
from support.programs.feeds import PlayedFeed
from wattline_protocol.ids import UnixTime
from wattline_protocol.views.site_views import SiteView
from wattline_tui.app import TopApp


class QuickFeed(PlayedFeed):
    """Has a newer snapshot whenever it is asked for one."""

    def __init__(self) -> None:
        super().__init__(busy_site())
        self.given = 0

    def sites(self, period_s: float) -> Iterator[SiteView]:
        del period_s
        while not self._closed.is_set():
            self.given += 1
            yield msgspec.structs.replace(self.site, unix_s=UnixTime(self.site.unix_s + self.given))


async def test_a_snapshot_is_asked_for_when_the_one_before_is_on_screen() -> None:
    feed = QuickFeed()
    app = TopApp(feed)
    behind = []
    async with app.run_test(size=(120, 36)) as pilot:
        while feed.given < 20:
            await pilot.pause(0.01)
            drawn = app.view.site.unix_s - feed.site.unix_s if app.view.site else 0
            behind.append(feed.given - drawn)
    assert max(behind) <= 1, "at most the one that is being drawn"


class LateFeed(PlayedFeed):
    """Its snapshots are 27 s old when they arrive."""

    @property
    def clock_offset_s(self) -> float:
        return time.time() - self.site.unix_s - 27.0


async def test_what_arrives_late_is_marked_though_it_has_just_arrived() -> None:
    app = TopApp(LateFeed(busy_site()))
    async with app.run_test(size=(120, 36)) as pilot:
        while app.view.site is None:
            await pilot.pause(0.01)
        stale_s = app.view.stale_s(time.monotonic())
        assert stale_s is not None
        assert stale_s >= 27.0
