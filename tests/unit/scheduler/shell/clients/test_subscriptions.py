"""Watches: each client gets the newest state when it can take it."""

import msgspec
import pytest

from support.core.harness import Harness
from support.core.site_views import empty_site
from support.core.sites import site
from support.programs.client_pipe import greeted, taken
from wattline_protocol.ids import Instant, NodeId, Now, UnixTime, UserName
from wattline_protocol.views.site_deltas import EMPTY, SiteDelta, apply
from wattline_protocol.views.site_views import EventView, SiteView
from wattline_protocol.wire.agent_messages import PROTOCOL_VERSION
from wattline_protocol.wire.client_messages import (
    ClientHello,
    Denied,
    Drain,
    Events,
    ListEvents,
    Response,
    SiteNow,
    Undrain,
)
from wattline_protocol.wire.codec import MAX_MESSAGE_BYTES
from wattline_protocol.wire.routes import Routes
from wattline_protocol.wire.subscriptions import WatchRoutes, WatchSite
from wattline_scheduler.core.model.effects import Effect
from wattline_scheduler.shell.clients import subscriptions
from wattline_scheduler.shell.clients.client_endpoint import Session
from wattline_scheduler.shell.clients.pictures import site_feed
from wattline_scheduler.shell.clients.pictures.picture_turns import PictureTurns
from wattline_scheduler.shell.clients.pictures.site_feed import SiteFeed
from wattline_scheduler.shell.clients.site_snapshots import Snapshots
from wattline_scheduler.shell.clients.subscriptions import GONE_S, SHOW_S, Alarmed, Watches
from wattline_scheduler.time_slices import Parts
from wattline_scheduler.views.jobs_view import job_in_memory


def at(mono_s: float) -> Now:
    return Now(Instant(mono_s), UnixTime(mono_s))


class Watched:
    """Watches over a desk, with events and routes to show."""

    def __init__(self, alarmed: Alarmed | None = None) -> None:
        self.pipe, self.endpoint = greeted()
        self.events: list[EventView] = []
        self.routes, self.routes_made = Routes({}), 0
        snapshots = Snapshots(self._site, self._clock)
        self.mono_s, self.look_s, self.parts = 0.0, 0.0, 1
        self.site = Harness(site().rack("a", 2).build())
        self.site.join()
        tariff = self.site.site.tariff
        feed = SiteFeed(self.site.cluster.state, lambda job: job_in_memory(job, tariff), lambda: 0)
        self.pictures = PictureTurns(feed, self._clock, lambda: self._clock().mono_s)
        shown = (snapshots, self.pictures, self._after, self._after, self._routes)
        self.watches = Watches(self.endpoint, *shown, self._clock, alarmed or self._alarmed)

    def _clock(self) -> Now:
        self.mono_s += self.look_s
        return at(self.mono_s)

    def _routes(self) -> Routes:
        self.routes_made += 1
        return self.routes

    def _alarmed(self, user: UserName, what: str, error: Exception) -> list[Effect]:
        raise error

    def _site(self, now: Now) -> Parts[SiteView]:
        for _ in range(self.parts):
            yield
        return msgspec.structs.replace(empty_site(), unix_s=now.unix_s)

    def _after(self, after: int, limit: int) -> tuple[EventView, ...]:
        return tuple(event for event in self.events if event.seq > after)[:limit]

    @property
    def session(self) -> Session:
        return self.endpoint.sessions[b"c"]

    def happens(self, seq: int) -> None:
        self.events.append(EventView(seq, UnixTime(0.0), "kind", "who", "text"))

    def show(self, mono_s: float) -> None:
        self.mono_s = mono_s
        self.watches.show(self.events[-1].seq if self.events else 0)

    def shown(self) -> list[int]:
        """Sequences of all events that were shown."""
        tells = [reported.answer for reported in self.pipe.sent if isinstance(reported, Response)]
        return [
            event.seq
            for reported in tells
            if isinstance(reported, Events)
            for event in reported.events
        ]


def test_events_wait_for_room_and_none_is_lost() -> None:
    w = Watched()
    assert w.watches.add(w.session, 1, ListEvents(follow=True), at(0.0)) is None
    w.show(0.0)
    assert isinstance(w.pipe.sent[0], Response)  # the first answer comes at once, though empty
    w.pipe.room = 0
    w.happens(1)
    w.show(0.1)
    w.happens(2)
    w.show(0.2)
    assert w.shown() == []
    w.pipe.room = 9
    w.show(0.3)
    w.show(0.4)
    assert w.shown() == [1, 2]


def pictures(w: Watched) -> list[float]:
    """When the snapshots that were shown were made."""
    tells = [reported.answer for reported in w.pipe.sent if isinstance(reported, Response)]
    return [reported.site.unix_s for reported in tells if isinstance(reported, SiteNow)]


def test_a_paced_watch_gets_the_newest_once_it_has_taken_the_one_before() -> None:
    w = Watched()
    w.watches.add(w.session, 1, WatchSite(1.0, is_paced=True), at(0.0))
    for second in range(5):
        w.show(float(second))
    assert pictures(w) == [0.0]
    w.watches.seen(w.session, 1)
    w.show(5.0)
    w.show(6.0)
    assert pictures(w) == [0.0, 5.0]
    w.watches.seen(w.session, 77)
    w.show(6.0 + GONE_S)
    assert len(w.watches) == 0, "its client does not read"


def test_a_watch_that_is_not_paced_gets_each_in_its_time() -> None:
    w = Watched()
    w.watches.add(w.session, 1, WatchSite(1.0), at(0.0))
    for second in range(3):
        w.show(float(second))
    assert pictures(w) == [0.0, 1.0, 2.0]


def test_a_snapshot_of_many_parts_is_shown_to_all_who_wait_for_it_some_steps_later() -> None:
    w = Watched()
    w.parts = 5
    w.look_s = 0.01  # each look at the clock: each part is the last of its turn
    for ask in (1, 2):
        w.watches.add(w.session, ask, WatchSite(1.0), at(0.0))
    steps = 0
    while len(pictures(w)) < 2:
        w.show(w.mono_s)
        steps += 1
        assert len(pictures(w)) == 2 or w.watches.next_in_s() == 0.0
    assert steps > 2
    first, second = pictures(w)
    assert first == second, "one snapshot for both"


def deltas(w: Watched) -> list[SiteDelta]:
    tells = [reported.answer for reported in w.pipe.sent if isinstance(reported, Response)]
    return [delta for delta in tells if isinstance(delta, SiteDelta)]


def test_a_watch_of_deltas_gets_one_merged_delta_of_all_that_it_missed() -> None:
    w = Watched()
    w.watches.add(w.session, 1, WatchSite(deltas=True), at(0.0))
    w.show(0.0)
    (full,) = deltas(w)
    assert (full.base, full.is_whole, [node.id for node in full.nodes]) == (0, True, ["a1", "a2"])
    for change in (Drain(NodeId("a1"), "x"), Drain(NodeId("a2"), "x"), Undrain(NodeId("a1"))):
        w.site.do(change)
        w.show(w.mono_s + 1.0)
    assert deltas(w) == [full], "the first was not acknowledged"
    w.watches.seen(w.session, 1)
    w.show(10.0)
    _, second = deltas(w)
    assert {node.id: node.reason for node in second.nodes}[NodeId("a2")] == "x"
    assert len(second.nodes) == len({node.id for node in second.nodes}), "each row once"
    assert (second.base, second.jobs, second.order) == (full.number, (), None)
    reasons = [node.reason for node in apply(apply(EMPTY, full), second).site.nodes]
    assert reasons == [full.nodes[0].reason, "x"]


def test_a_picture_is_shown_when_it_is_made() -> None:
    """Whenever the one before was shown; of a longer period, the newest after it."""
    w = Watched()
    w.watches.add(w.session, 1, WatchSite(deltas=True), at(0.0))
    w.watches.add(w.session, 2, WatchSite(3.0, deltas=True), at(0.0))
    w.show(0.9)
    shown: dict[int, list[float]] = {1: [], 2: []}
    for step in range(10, 80):
        before = len(w.pipe.sent)
        for ask in shown:
            w.watches.seen(w.session, ask)
        w.show(step / 10)
        for tell in w.pipe.sent[before:]:
            assert isinstance(tell, Response)
            shown[tell.ask].append(step / 10)
    assert shown[1] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    assert shown[2] == [3.9, 6.9]


def test_the_pictures_of_a_client_that_does_not_read_end_and_are_freed() -> None:
    w = Watched()
    w.watches.add(w.session, 1, WatchSite(deltas=True), at(0.0))
    w.show(0.0)
    w.show(GONE_S + 1.0)
    assert (len(w.watches), w.pictures.feed.pictures) == (0, 0)
    assert w.watches.next_in_s() is None


def test_one_who_comes_and_leaves_costs_no_more_than_one_who_stays() -> None:
    w = Watched()
    w.look_s = 0.01
    for _ in range(20):
        w.watches.add(w.session, 1, WatchSite(deltas=True), at(w.mono_s))
        w.show(w.mono_s)
        w.watches.drop(w.session, 1)
    w.watches.add(w.session, 1, WatchSite(deltas=True), at(w.mono_s))
    assert w.pictures.next_in_s() > 0.0, "what was begun and left counts"


def test_a_node_with_too_much_to_show_is_shown_without_its_gpus(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(site_feed, "ROW_BYTES", 1_500)
    w = Watched()
    w.watches.add(w.session, 1, WatchSite(deltas=True), at(0.0))
    w.show(0.0)
    (full,) = deltas(w)
    assert [(node.gpus, node.gpu_count) for node in full.nodes] == [((), 8), ((), 8)]


def test_a_picture_is_made_in_parts_and_not_again_before_it_is_due() -> None:
    w = Watched()
    w.watches.add(w.session, 1, WatchSite(deltas=True), at(0.0))
    w.look_s = 0.01  # each look at the clock: each part is the last of its step
    steps = 0
    while not w.pictures.feed.pictures:
        w.show(w.mono_s)
        steps += 1
        assert w.pictures.feed.pictures or w.pictures.next_in_s() == 0.0
    assert steps >= 3
    made_s, w.look_s = w.mono_s, 0.0
    rest_s = w.pictures.next_in_s()
    assert rest_s > 0.0
    w.show(made_s + rest_s / 2)
    assert w.pictures.feed.pictures == 1
    w.show(made_s + rest_s + 0.1)
    assert w.pictures.feed.pictures == 2


def test_routes_are_shown_when_they_change() -> None:
    w = Watched()
    w.watches.add(w.session, 1, WatchRoutes(), at(0.0))
    for second in range(3):
        w.show(float(second))
    assert len(w.pipe.sent) == 1
    w.routes = Routes({"digits": ()})
    w.show(3.0)
    w.show(4.0)
    assert [reported.answer for reported in w.pipe.sent if isinstance(reported, Response)][1:] == [
        w.routes
    ]


def test_routes_are_made_once_for_all_gateways() -> None:
    w = Watched()
    for ask in range(1, 4):
        w.watches.add(w.session, ask, WatchRoutes(), at(0.0))
    w.show(0.0)
    assert len(w.pipe.sent) == 3
    assert w.routes_made == 1
    w.show(1.0)
    assert w.routes_made == 2


def test_routes_that_no_message_can_carry_are_an_alarm_and_the_gateway_keeps_its_own() -> None:
    alarms: list[str] = []

    def alarmed(user: UserName, what: str, error: Exception) -> list[Effect]:
        alarms.append(f"{what} of {user}: {error}")
        return []

    w = Watched(alarmed)
    w.watches.add(w.session, 1, WatchRoutes(), at(0.0))
    w.show(0.0)
    w.routes = Routes({"x" * MAX_MESSAGE_BYTES: ()})
    w.show(1.0)
    text = "services, keys and routes are larger than a message may be"
    assert alarms == [f"WatchRoutes of ada: {text}"]
    w.routes = Routes({"digits": ()})
    w.show(3.0)
    assert [reported.answer for reported in w.pipe.responses()] == [Routes({}), w.routes]


def test_watches_of_users_leave_place_for_gateways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "MAX_WATCHES", 1)
    w = Watched()
    assert w.watches.add(w.session, 1, ListEvents(follow=True), at(0.0)) is None
    assert isinstance(w.watches.add(w.session, 2, ListEvents(follow=True), at(0.0)), Denied)
    assert w.watches.add(w.session, 3, WatchRoutes(), at(0.0)) is None


def test_a_watch_nobody_reads_ends_and_an_idle_one_does_not() -> None:
    w = Watched()
    w.watches.add(w.session, 1, ListEvents(follow=True), at(0.0))
    w.show(0.0)
    w.show(GONE_S + 10.0)
    w.show(2 * GONE_S + 20.0)
    assert len(w.watches) == 1
    w.happens(1)
    w.pipe.room = 0
    w.show(200.0)
    w.show(201.0 + GONE_S)
    assert len(w.watches) == 0
    assert w.session.watch_count == 0


def test_many_watches_of_one_user_keep_neither_others_nor_the_step_waiting() -> None:
    w = Watched()
    w.pipe.arrives(ClientHello(PROTOCOL_VERSION, "t"), b"b", user="bob")
    assert taken(w.endpoint) == []
    w.pipe.sent.clear()
    for ask in range(16):
        w.watches.add(w.session, ask, ListEvents(follow=True), at(0.0))
    w.watches.add(w.endpoint.sessions[b"b"], 99, ListEvents(follow=True), at(0.0))
    w.look_s = SHOW_S / 4
    w.show(0.0)
    first = [reported.ask for reported in w.pipe.responses()]
    assert 99 in first[:3], "after one quantum of the other user"
    assert len(first) < 6, "the rest has its turn in later steps"
    assert w.watches.next_in_s() == 0.0
    for step in range(1, 12):
        w.show(step / 10)
    assert sorted(reported.ask for reported in w.pipe.responses()) == [*range(16), 99]


def test_watches_end_with_their_session() -> None:
    w = Watched()
    w.watches.add(w.session, 1, WatchRoutes(), at(0.0))
    w.endpoint.end(w.session)
    w.show(1.0)
    assert len(w.watches) == 0
    assert w.pipe.sent == []


def test_the_same_number_again_replaces_a_watch() -> None:
    w = Watched()
    for _ in range(40):
        assert w.watches.add(w.session, 7, WatchRoutes(), at(0.0)) is None
    assert (len(w.watches), w.session.watch_count) == (1, 1)
    w.watches.drop(w.session, 7)
    w.watches.drop(w.session, 7)
    assert (len(w.watches), w.session.watch_count) == (0, 0)
