"""Subscriptions: each client gets the newest when it has room, never a queue of old snapshots."""

from collections.abc import Callable
from dataclasses import dataclass

from wattline_protocol.ids import Instant, Now
from wattline_protocol.requests import (
    Answer,
    Denied,
    Events,
    ListEvents,
    Routes,
    SiteNow,
    WatchRoutes,
    WatchSite,
)
from wattline_protocol.views import EventView, SiteView
from wattline_scheduler.shell.clients import ClientDesk, Session

MAX_WATCHES_PER_CLIENT = 16
MAX_WATCHES = 1_024
SITE_PERIOD_MIN_S = 0.2
"""A snapshot of a large site costs some ten milliseconds."""
ROUTES_PERIOD_S = 0.1
"""Longest that a gateway learns later of a worker."""
EVENTS_AT_ONCE = 1_000
GONE_S = 60.0
"""A watch that could show nothing for so long ends: nobody reads."""

WatchRequest = WatchSite | WatchRoutes | ListEvents


@dataclass(slots=True)
class _Watch:
    session: Session
    ask: int
    request: WatchRequest
    due: Instant
    shown_at: Instant
    cursor: int = 0
    """Events: everything up to this one was shown."""
    shown: Routes | None = None
    is_new: bool = True
    """Nothing was shown yet: the first answer comes at once, also an empty one."""


class Watches:
    """All watches of all sessions."""

    def __init__(
        self,
        desk: ClientDesk,
        site: Callable[[Now], SiteView],
        events: Callable[[int, int], tuple[EventView, ...]],
        routes: Callable[[], Routes],
    ) -> None:
        self._desk = desk
        self._site = site
        self._events = events
        self._routes = routes
        self._watches: dict[tuple[bytes, int], _Watch] = {}

    def __len__(self) -> int:
        return len(self._watches)

    def add(self, session: Session, ask: int, request: WatchRequest, now: Now) -> Denied | None:
        """Begin a watch; the same number again replaces it. Denied at a limit."""
        key = (session.connection, ask)
        self.drop(session, ask)
        if session.watch_count >= MAX_WATCHES_PER_CLIENT or len(self._watches) >= MAX_WATCHES:
            return Denied(
                "busy",
                f"at most {MAX_WATCHES_PER_CLIENT} watches a client and {MAX_WATCHES} together; "
                "end one first",
            )
        session.watch_count += 1
        cursor = request.after if isinstance(request, ListEvents) else 0
        self._watches[key] = _Watch(session, ask, request, now.mono_s, now.mono_s, cursor)
        return None

    def drop(self, session: Session, ask: int) -> None:
        """End a watch, if there is one."""
        if self._watches.pop((session.connection, ask), None) is not None:
            session.watch_count -= 1

    def show(self, now: Now, newest_event: int) -> None:
        """Show what is due to whoever has room. `newest_event`: seq of the newest on disk."""
        site: SiteView | None = None
        for watch in list(self._watches.values()):
            if self._is_gone(watch, now):
                self.drop(watch.session, watch.ask)
                continue
            match watch.request:
                case WatchSite(period_s=period_s) if now.mono_s >= watch.due:
                    site = site or self._site(now)
                    watch.due = Instant(now.mono_s + max(period_s, SITE_PERIOD_MIN_S))
                    self._show(watch, SiteNow(site), now)
                case ListEvents() if watch.is_new or watch.cursor < newest_event:
                    self._show_events(watch, now)
                case WatchRoutes() if now.mono_s >= watch.due:
                    watch.due = Instant(now.mono_s + ROUTES_PERIOD_S)
                    self._show_routes(watch, now)
                case _:
                    watch.shown_at = max(watch.shown_at, self._idle_since(watch, now))

    def _idle_since(self, watch: _Watch, now: Now) -> Instant:
        """A watch with nothing to show is not stuck."""
        return watch.shown_at if isinstance(watch.request, WatchSite) else now.mono_s

    def _is_gone(self, watch: _Watch, now: Now) -> bool:
        is_known = self._desk.sessions.get(watch.session.connection) is watch.session
        return not is_known or now.mono_s - watch.shown_at > GONE_S + _period_s(watch)

    def _show(self, watch: _Watch, answer: Answer, now: Now) -> bool:
        if not self._desk.show(watch.session, watch.ask, answer):
            return False
        watch.shown_at = now.mono_s
        watch.is_new = False
        return True

    def _show_events(self, watch: _Watch, now: Now) -> None:
        events = self._events(watch.cursor, EVENTS_AT_ONCE)
        if self._show(watch, Events(events), now) and events:
            watch.cursor = events[-1].seq

    def _show_routes(self, watch: _Watch, now: Now) -> None:
        routes = self._routes()
        if routes == watch.shown:
            watch.shown_at = now.mono_s
        elif self._show(watch, routes, now):
            watch.shown = routes


def _period_s(watch: _Watch) -> float:
    return watch.request.period_s if isinstance(watch.request, WatchSite) else 0.0
