"""Pictures are made in small parts; a view that raises ends the watches of it, and no more."""

import pytest

from support.core.harness import joined
from support.core.site_views import empty_site
from support.core.sites import job, site
from support.programs.client_pipe import greeted
from wattline_protocol.ids import Instant, NodeId, Now, UnixTime, UserName
from wattline_protocol.views.site_deltas import SiteDelta
from wattline_protocol.views.site_views import JobView, NodeView, SiteView
from wattline_protocol.wire.client_messages import Denied
from wattline_protocol.wire.routes import Routes
from wattline_protocol.wire.subscriptions import WatchRoutes, WatchSite
from wattline_scheduler.core.leases.measured_draw import Draw
from wattline_scheduler.core.model.effects import Effect, Reply
from wattline_scheduler.core.model.jobs.job import Job
from wattline_scheduler.core.model.node import NodeNow
from wattline_scheduler.core.model.state import State
from wattline_scheduler.shell.clients.pictures import site_feed
from wattline_scheduler.shell.clients.pictures.picture_turns import PictureTurns
from wattline_scheduler.shell.clients.pictures.site_feed import SiteFeed
from wattline_scheduler.shell.clients.site_snapshots import Snapshots
from wattline_scheduler.shell.clients.subscriptions import Watches
from wattline_scheduler.time_slices import Parts
from wattline_scheduler.views.jobs_view import job_in_memory
from wattline_scheduler.views.nodes_view import node_view


def test_each_row_that_is_built_is_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    h = joined(site().rack("a", 3).build())
    numbers = [h.submit(job(f"j{number}").gpus(1)) for number in range(3)]
    built: list[object] = []

    def show_job(one: Job) -> JobView:
        built.append(one.id)
        return job_in_memory(one, h.site.tariff)

    def show_node(state: State, node: NodeNow, now: Now, draw: Draw) -> NodeView:
        built.append(node.id)
        return node_view(state, node, now, draw)

    monkeypatch.setattr(site_feed, "node_view", show_node)
    feed = SiteFeed(h.cluster.state, show_job, lambda: 0)
    counts = [len(built) for _ in feed.refresh(h.now)]
    names = [NodeId(name) for name in ("a1", "a2", "a3")]
    assert sorted(built, key=str) == sorted([*names, *numbers], key=str)
    steps = [after - before for before, after in zip([0, *counts], counts, strict=False)]
    assert (max(steps), sum(steps)) == (1, 6)


class Broken:
    """Watches of a site whose views of jobs raise; alarms are `seen`."""

    def __init__(self) -> None:
        self.h = joined(site().rack("a", 1).build())
        self.h.submit(job("x").gpus(1))
        self.mono_s, self.is_broken = 0.0, True
        self.pipe, self.endpoint = greeted()
        feed = SiteFeed(self.h.cluster.state, self._show_job, lambda: 0)
        self.pictures = PictureTurns(feed, self._clock, lambda: 0.0)
        self.seen: list[str] = []
        self.watches = Watches(
            self.endpoint,
            Snapshots(self._site, self._clock),
            self.pictures,
            lambda _, __: (),
            lambda _, __: (),
            self._routes,
            self._clock,
            self._alarmed,
        )

    def _raise(self) -> None:
        if self.is_broken:
            raise ZeroDivisionError("a bug")

    def _show_job(self, one: Job) -> JobView:
        self._raise()
        return job_in_memory(one, self.h.site.tariff)

    def _site(self, now: Now) -> Parts[SiteView]:
        yield
        self._raise()
        return empty_site()

    def _routes(self) -> Routes:
        self._raise()
        return Routes({})

    def _clock(self) -> Now:
        return Now(Instant(self.mono_s), UnixTime(self.mono_s))

    def _alarmed(self, user: UserName, what: str, error: Exception) -> list[Effect]:
        self.seen.append(f"{what} of {user}: {error}")
        return []

    def watch(self, ask: int, request: WatchSite | WatchRoutes) -> None:
        assert self.watches.add(self.endpoint.sessions[b"c"], ask, request, self._clock()) is None

    def show(self, mono_s: float) -> dict[int, str]:
        """Reasons of denials by the number of the watch."""
        self.mono_s = mono_s
        denied: dict[int, str] = {}
        for effect in self.watches.show(0):
            assert isinstance(effect, Reply)
            assert isinstance(effect.answer, Denied)
            denied[effect.ask] = effect.answer.reason
        return denied


def test_a_picture_that_raises_is_given_up_with_one_alarm_and_made_again_later() -> None:
    b = Broken()
    b.watch(1, WatchSite(deltas=True))
    b.watch(2, WatchSite(deltas=True))
    denied = b.show(0.0)
    assert denied.keys() == {1, 2}
    assert all("ZeroDivisionError: a bug" in reason for reason in denied.values())
    assert (b.seen, len(b.watches)) == (["WatchSite of ada: a bug"], 0)
    b.watch(3, WatchSite(deltas=True))
    assert b.show(0.1) == {}, "a client that repeats it at once does not make it each time"
    b.is_broken = False
    assert b.show(2.0) == {}
    assert [type(one.answer) for one in b.pipe.responses()] == [SiteDelta]


def test_a_watch_that_raises_ends_alone_and_that_of_a_gateway_is_tried_again() -> None:
    b = Broken()
    b.watch(1, WatchSite())
    b.watch(2, WatchRoutes())
    assert b.show(0.0).keys() == {1}
    assert sorted(b.seen) == ["WatchRoutes of ada: a bug", "WatchSite of ada: a bug"]
    b.show(0.5)
    assert len(b.seen) == 2
    b.is_broken = False
    b.show(1.5)
    assert [type(one.answer) for one in b.pipe.responses()] == [Routes]
