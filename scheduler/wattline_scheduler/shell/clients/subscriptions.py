"""Subscriptions: each client gets the newest state when it can take it, no queue of old ones.

A view that raises ends the watches of it with the reason and raises an alarm, as a request that is
read: the run continues.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wattline_protocol.ids import Instant, Now, UserName
from wattline_protocol.views.site_views import EventView
from wattline_protocol.wire.client_messages import Answer, Denied, Events, ListEvents
from wattline_protocol.wire.routes import ROUTES_REPEAT_S, Routes
from wattline_protocol.wire.subscriptions import WatchRoutes, WatchSite
from wattline_scheduler.core.leases.fault_barrier import internal_error
from wattline_scheduler.core.model.effects import Effect, Reply
from wattline_scheduler.shell.clients.client_endpoint import ClientEndpoint, Session
from wattline_scheduler.shell.clients.fair_queue import FairLimits, FairQueue
from wattline_scheduler.shell.clients.pictures.picture_turns import PERIOD_S, PictureTurns
from wattline_scheduler.shell.clients.pictures.site_feed import NEW_READER, Reader
from wattline_scheduler.shell.clients.site_snapshots import Snapshots
from wattline_scheduler.time_slices import Parts, go_on

MAX_WATCHES_PER_CLIENT = 16
MAX_WATCHES_PER_USER = 128
MAX_WATCHES = 1_024
"""Beyond it only gateways get one: a gateway ends where its routes are denied."""
SITE_PERIOD_MIN_S = 0.2
"""A snapshot of a large site costs some ten milliseconds; deltas come once a second at most."""
ROUTES_PERIOD_S = 0.1
"""Maximum delay until a gateway learns of a worker."""
SITE_AGE_S = 0.05
"""Watches that are due within this time share a snapshot."""
PART_S = 0.005
"""Time per turn for the snapshot that a watch waits for."""
EVENTS_AT_ONCE = 250
RETRY_S = 0.1
"""Retry interval of a watch whose connection was full."""
ROUTES_RETRY_S = 1.0
"""Until a gateway's routes are tried again after an error."""
DELTA_REPEAT_S = 2.0
"""A client hears after this long at the latest, though the next picture is not complete."""
GONE_S = 60.0
"""A watch that could show nothing for this long ends: its client does not read."""

SHOW_S = 0.025
"""Time per step for watches; the rest are first in the next step."""
LIMITS = FairLimits(share=0.25, burst_s=2.0, items=MAX_WATCHES_PER_USER, bytes=1)
"""Limits of each user: share of the loop's time for its watches."""

ReadEvents = Callable[[int, int], tuple[EventView, ...]]
"""Events after a number, up to a limit."""

Alarmed = Callable[[UserName, str, Exception], list[Effect]]
"""Effects of an error in what a user asked for; raises it where the state may have been changed."""

WatchRequest = WatchSite | WatchRoutes | ListEvents


@dataclass(slots=True)
class _Watch:
    session: Session
    ask: int
    request: WatchRequest
    due: Instant
    stuck_since: Instant | None = None
    """Since when there was something to show and the connection was full."""
    cursor: int = 0
    """Events: shown up to this one."""
    shown: Routes | None = None
    shown_at: Instant | None = None
    is_new: bool = True
    """Nothing was shown yet: the first answer is sent at once, even if empty."""
    unseen_since: Instant | None = None
    """Paced: since when an answer is unacknowledged by the client."""
    reader: Reader = NEW_READER
    """Deltas: what of the pictures was shown."""
    queued_at: Instant | None = None
    """When it was queued to be shown in its user's turn; None = it is not."""
    snapshot: Parts[Answer] | None = None
    """The one that it waits for."""


class Watches:
    """All watches of all sessions."""

    def __init__(
        self,
        endpoint: ClientEndpoint,
        snapshots: Snapshots,
        pictures: PictureTurns,
        events: ReadEvents,
        acts: ReadEvents,
        routes: Callable[[], Routes],
        clock: Callable[[], Now],
        alarmed: Alarmed,
    ) -> None:
        self._endpoint = endpoint
        self._clock, self._alarmed = clock, alarmed
        self._effects: list[Effect] = []
        self._due: FairQueue[_Watch] = FairQueue(LIMITS)
        self._snapshots, self._pictures = snapshots, pictures
        self._events, self._acts = events, acts
        self._make_routes = routes
        self._routes: tuple[Instant, Routes] | None = None
        """The newest, and when they were made."""
        self._watches: dict[tuple[bytes, int], _Watch] = {}
        self._of_pictures = 0
        """How many of them are of deltas."""

    def __len__(self) -> int:
        return len(self._watches)

    def add(self, session: Session, ask: int, request: WatchRequest, now: Now) -> Denied | None:
        """Begin a watch; the same number replaces it. Denied at a limit."""
        key = (session.connection, ask)
        self.drop(session, ask)
        of_user = sum(one.watch_count for one in self._endpoint.of_user(session.user))
        if (
            session.watch_count >= MAX_WATCHES_PER_CLIENT
            or of_user >= MAX_WATCHES_PER_USER
            or (len(self._watches) >= MAX_WATCHES and not isinstance(request, WatchRoutes))
        ):
            return Denied(
                "busy",
                f"at most {MAX_WATCHES_PER_CLIENT} watches per client, {MAX_WATCHES_PER_USER} per "
                f"user and {MAX_WATCHES} in all; end one first",
            )
        session.watch_count += 1
        self._of_pictures += _has_deltas(request)
        cursor = request.after if isinstance(request, ListEvents) else 0
        self._watches[key] = _Watch(session, ask, request, now.mono_s, cursor=cursor)
        return None

    def drop(self, session: Session, ask: int) -> None:
        """End a watch, if there is one."""
        watch = self._watches.pop((session.connection, ask), None)
        if watch is None:
            return
        session.watch_count -= 1
        self._of_pictures -= _has_deltas(watch.request)
        if not self._of_pictures:
            self._pictures.stop()

    def seen(self, session: Session, ask: int) -> None:
        """The client has acknowledged the last answer: the newest may follow."""
        watch = self._watches.get((session.connection, ask))
        if watch is not None:
            watch.unseen_since = None

    def show(self, newest_event: int, newest_act: int = 0) -> list[Effect]:
        """Show what is due to clients that can take it, users in turn, until time is up. Returns
        the effects of views that raised. `newest_event`, `newest_act`: seq of the newest on
        disk."""
        if self._of_pictures:
            self._make_picture()
        now = self._clock()
        for watch in list(self._watches.values()):
            if self._is_closed(watch, now):
                self.drop(watch.session, watch.ask)
            elif watch.queued_at is None and self._has_news(watch, now, newest_event, newest_act):
                is_queued = self._due.put(watch.session.user, watch, 0, now.mono_s)
                watch.queued_at = now.mono_s if is_queued else None
        self._due.serve(self._clock, SHOW_S, self._serve)
        effects, self._effects = self._effects, []
        return effects

    def next_in_s(self) -> float | None:
        """Time until something that is due may be shown; None = nothing is."""
        of_watches_s = self._due.next_in_s(self._clock().mono_s)
        if not self._of_pictures:
            return of_watches_s
        picture_s = self._pictures.next_in_s()
        return picture_s if of_watches_s is None else min(picture_s, of_watches_s)

    def _serve(self, _: str, watch: _Watch, now: Now) -> float:
        queued_at, watch.queued_at = watch.queued_at, None
        if self._watches.get((watch.session.connection, watch.ask)) is watch:
            try:
                if not self._show_newest(watch, queued_at or now.mono_s, now):
                    watch.queued_at = queued_at
                    self._due.put_back(watch, 0)
            except Exception as error:
                self._give_up((watch,), error, now)
        return 0.0

    def _make_picture(self) -> None:
        try:
            self._pictures.serve()
        except Exception as error:
            of_pictures = [one for one in self._watches.values() if _has_deltas(one.request)]
            self._give_up(of_pictures, error, self._clock())

    def _give_up(self, watches: Sequence[_Watch], error: Exception, now: Now) -> None:
        """Deny watches of a view that raised. A gateway's stays, for it would end: it has its
        routes, and is unreachable until there are new ones."""
        what = type(watches[0].request).__name__
        self._effects += self._alarmed(watches[0].session.user, what, error)
        for watch in watches:
            if isinstance(watch.request, WatchRoutes):
                watch.due = Instant(now.mono_s + ROUTES_RETRY_S)
                continue
            self.drop(watch.session, watch.ask)
            denied = internal_error(what, error)
            self._effects.append(Reply(watch.session.connection, watch.ask, denied))

    def _show_newest(self, watch: _Watch, queued_at: Instant, now: Now) -> bool:
        """False = some of what it shows is still to be made."""
        match watch.request:
            case WatchSite(deltas=True) as request:
                self._show_delta(watch, request.period_s, now)
            case WatchSite() as request:
                return self._show_snapshot(watch, request, queued_at, now)
            case ListEvents():
                self._show_events(watch, now)
            case WatchRoutes():
                watch.due = Instant(now.mono_s + ROUTES_PERIOD_S)
                self._show_routes(watch, now)
        return True

    def _show_snapshot(
        self, watch: _Watch, request: WatchSite, queued_at: Instant, now: Now
    ) -> bool:
        if watch.snapshot is None:
            watch.snapshot = self._snapshots.since(Instant(queued_at - SITE_AGE_S))
        until_s = now.mono_s + PART_S
        newest = go_on(watch.snapshot, lambda: self._clock().mono_s >= until_s)
        if newest is None:
            return False
        watch.snapshot = None
        watch.due = _next_beat(now, max(request.period_s, SITE_PERIOD_MIN_S))
        if self._show(watch, newest, now) and request.is_paced:
            watch.unseen_since = now.mono_s
        return True

    def _show_delta(self, watch: _Watch, period_s: float, now: Now) -> None:
        delta, reader = self._pictures.feed.read(watch.reader)
        has_rest = self._pictures.feed.has_news(reader)
        # Of the shortest period the next picture is shown when it is made, not when it is begun.
        is_prompt = has_rest or period_s <= PERIOD_S
        watch.due = Instant(now.mono_s + (0.0 if is_prompt else period_s))
        if self._show(watch, delta, now):
            watch.reader, watch.unseen_since, watch.shown_at = reader, now.mono_s, now.mono_s

    def _has_news(self, watch: _Watch, now: Now, newest_event: int, newest_act: int) -> bool:
        """Whether it may have something to show, as far as that is known without computing it."""
        if now.mono_s < watch.due or watch.unseen_since is not None:
            return False
        match watch.request:
            case WatchSite(deltas=True):
                feed, shown_at = self._pictures.feed, watch.shown_at
                is_silent = shown_at is not None and now.mono_s >= shown_at + DELTA_REPEAT_S
                return is_silent or feed.has_news(watch.reader)
            case ListEvents(acts=is_acts):
                return watch.is_new or watch.cursor < (newest_act if is_acts else newest_event)
            case _:
                return True

    def _is_closed(self, watch: _Watch, now: Now) -> bool:
        is_known = self._endpoint.sessions.get(watch.session.connection) is watch.session
        since = watch.stuck_since if watch.unseen_since is None else watch.unseen_since
        return not is_known or (since is not None and now.mono_s - since > GONE_S)

    def _show(self, watch: _Watch, answer: Answer, now: Now) -> bool:
        if not self._endpoint.show(watch.session, watch.ask, answer):
            watch.stuck_since = watch.stuck_since or now.mono_s
            watch.due = Instant(max(watch.due, now.mono_s + RETRY_S))
            return False
        watch.stuck_since = None
        watch.is_new = False
        return True

    def _show_events(self, watch: _Watch, now: Now) -> None:
        is_acts = isinstance(watch.request, ListEvents) and watch.request.acts
        read = self._acts if is_acts else self._events
        events = read(watch.cursor, EVENTS_AT_ONCE)
        if self._show(watch, Events(events), now) and events:
            watch.cursor = events[-1].seq

    def _show_routes(self, watch: _Watch, now: Now) -> None:
        routes = self._newest_routes(now)
        is_due = watch.shown_at is None or now.mono_s >= watch.shown_at + ROUTES_REPEAT_S
        if (is_due or routes != watch.shown) and self._show(watch, routes, now):
            watch.shown, watch.shown_at = routes, now.mono_s

    def _newest_routes(self, now: Now) -> Routes:
        """Made once a period for all gateways: 1,000 services and 2,000 keys take 10 ms."""
        known = self._routes
        if known is None or now.mono_s >= known[0] + ROUTES_PERIOD_S:
            known = self._routes = now.mono_s, self._make_routes()
        return known[1]


def _has_deltas(request: WatchRequest) -> bool:
    return isinstance(request, WatchSite) and request.deltas


def _next_beat(now: Now, period_s: float) -> Instant:
    """Watches of one period are due together, so that they share a snapshot."""
    return Instant((now.mono_s // period_s + 1) * period_s)
