"""Reads of gateways' logs of requests: a query to each gateway, and one page of their answers."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import merge
from operator import attrgetter

from wattline_protocol.ids import Instant, Now, UserName
from wattline_protocol.views.request_logs import (
    MAX_PAGE_BYTES,
    GatewayWithout,
    LogFilter,
    LogPage,
    LogQuery,
    LogRequest,
    LogRow,
    ReadRequestLog,
    ReportLogPage,
    WatchLogQueries,
    status_class,
)
from wattline_protocol.wire.client_messages import Denied, Done
from wattline_scheduler.core.model.effects import Effect, Reply
from wattline_scheduler.core.model.events import ActRefused, BodiesRead, Event
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.shell.clients.client_endpoint import ClientEndpoint, Session

MAX_READS = 8
MAX_READS_OF_USER = 2
"""Reads under way: each may hold a page of every gateway."""

MAX_OWNERS = 100

ANSWER_WITHIN_S = 6.0
"""A gateway reads for half of that at most; one that has not answered by then is left out."""

NOT_CONNECTED = "is not connected, or is of an earlier release"
SILENT = f"did not answer within {ANSWER_WITHIN_S:.0f} s"


@dataclass(slots=True)
class _Read:
    client: bytes
    ask: int
    asker: Asker
    filter: LogFilter
    until: Instant
    waiting: set[str]
    """Gateways that have not answered."""
    pages: list[ReportLogPage] = field(default_factory=list)
    missing: list[GatewayWithout] = field(default_factory=list)


class LogReads:
    """Watches of gateways, and reads under way by the number that gateways will return."""

    def __init__(
        self, state: State, endpoint: ClientEndpoint, handle: Callable[[Event, Now], list[Effect]]
    ) -> None:
        self._state, self._endpoint, self._handle = state, endpoint, handle
        self._watches: dict[str, dict[bytes, tuple[Session, int]]] = {}
        """By gateway and connection, the newest last: a gateway that replaces another one has its
        name, and both may reconnect in any order."""
        self._numbers = itertools.count(1)
        self._reads: dict[int, _Read] = {}

    def answer(
        self, session: Session, ask: int, asker: Asker, request: LogRequest, now: Now
    ) -> list[Effect]:
        """Handle a request about logs."""
        match request:
            case WatchLogQueries():
                self.watch(session, ask)
                return []
            case ReadRequestLog():
                return self.begin(session, ask, asker, request, now)
            case ReportLogPage():
                return self.take(session, ask, request, now)

    def watch(self, session: Session, ask: int) -> None:
        """A gateway takes queries from now on."""
        watches = self._alive(session.user)
        watches.pop(session.connection, None)
        watches[session.connection] = session, ask
        self._watches[session.user] = watches
        self._endpoint.show(session, ask, LogQuery(0))

    def unwatch(self, session: Session, ask: int) -> None:
        """It takes none any more."""
        watches = self._watches.get(session.user, {})
        if watches.get(session.connection) == (session, ask):
            del watches[session.connection]

    def begin(
        self, session: Session, ask: int, asker: Asker, request: ReadRequestLog, now: Now
    ) -> list[Effect]:
        """Pass the query on to all gateways; an answer only if it is refused, or there is none."""
        client, wanted = session.connection, request.filter
        denied = self._denied(asker, wanted)
        if denied is not None:
            reply = Reply(client, ask, denied)
            if denied.kind != "not_allowed":
                return [reply]
            what = f"{asker.role} may not read the {wanted.kind} of {wanted.service}"
            return [*self._handle(ActRefused(asker.user, what, denied.reason), now), reply]
        self._watches = {name: alive for name in self._watches if (alive := self._alive(name))}
        names = sorted({one.name for one in self._state.site.gateways} | self._watches.keys())
        if not names:
            return [Reply(client, ask, Denied("not_found", "the site has no gateway"))]
        number = next(self._numbers)
        query = LogQuery(number, wanted, self._owners(asker, wanted.service))
        until = Instant(now.mono_s + ANSWER_WITHIN_S)
        read = _Read(client, ask, asker, wanted, until, set())
        for name in names:
            if self._pass_on(name, query):
                read.waiting.add(name)
            else:
                read.missing.append(GatewayWithout(name, NOT_CONNECTED))
        if not read.waiting:
            return [Reply(client, ask, _unavailable(read.missing))]
        self._reads[number] = read
        return []

    def _pass_on(self, gateway: str, query: LogQuery) -> bool:
        newest = reversed(self._watches.get(gateway, {}).values())
        return any(self._endpoint.show(session, ask, query) for session, ask in newest)

    def _alive(self, gateway: str) -> dict[bytes, tuple[Session, int]]:
        sessions, watches = self._endpoint.sessions, self._watches.get(gateway, {})
        return {c: watch for c, watch in watches.items() if sessions.get(c) is watch[0]}

    def take(self, session: Session, ask: int, page: ReportLogPage, now: Now) -> list[Effect]:
        """A gateway's answer, and that for the user once it is the last one."""
        done: list[Effect] = [Reply(session.connection, ask, Done(""))]
        read = self._reads.get(page.number)
        if read is None or session.user not in read.waiting:
            return done
        read.waiting.discard(session.user)
        if page.error:
            read.missing.append(GatewayWithout(session.user, page.error))
        else:
            read.pages.append(page)
        return done if read.waiting else [*done, *self._end(page.number, now)]

    def expire(self, now: Now) -> list[Effect]:
        """Answers for reads that some gateway has not answered in time."""
        late = [number for number, read in self._reads.items() if now.mono_s > read.until]
        return [effect for number in late for effect in self._end(number, now)]

    def _end(self, number: int, now: Now) -> list[Effect]:
        read = self._reads.pop(number)
        missing = [*read.missing, *(GatewayWithout(name, SILENT) for name in sorted(read.waiting))]
        if not read.pages:
            return [Reply(read.client, read.ask, _unavailable(missing))]
        page = merged(read.pages, read.filter.limit, tuple(missing))
        effects: list[Effect] = []
        if read.filter.kind == "bodies":
            since = read.filter.since_unix_s
            event = BodiesRead(read.asker.user, read.filter.service, since, len(page.rows))
            effects += self._handle(event, now)  # on disk before the answer is sent
        return [*effects, Reply(read.client, read.ask, page)]

    # --- rights

    def _denied(self, asker: Asker, wanted: LogFilter) -> Denied | None:
        names = self._state.work.services
        try:
            status_class(wanted.status)
        except ValueError as error:
            return Denied("bad_request", str(error))
        if not (asker.is_operator or names.may_use(asker.user, wanted.service)):
            text = f"{wanted.service} belongs to another user; you are {asker.user}"
            return Denied("not_allowed", text)
        own = sum(read.asker.user == asker.user for read in self._reads.values())
        if own >= MAX_READS_OF_USER or len(self._reads) >= MAX_READS:
            text = f"{own} of your reads of logs are under way, {len(self._reads)} of all"
            return Denied("busy", f"{text}; retry later")
        return None

    def _owners(self, asker: Asker, service: str) -> tuple[str, ...]:
        """A name may have belonged to others before: users see what its present users ran."""
        if asker.is_operator:
            return ()
        users = self._state.work.services.listed.get(service, ())
        return users if 0 < len(users) <= MAX_OWNERS else (UserName(asker.user),)


def _unavailable(missing: Sequence[GatewayWithout]) -> Denied:
    text = "; ".join(f"gateway {one.gateway} {one.why}" for one in missing)
    return Denied("unavailable", text)


def merged(
    pages: list[ReportLogPage], limit: int, missing: tuple[GatewayWithout, ...] = ()
) -> LogPage:
    """The newest lines of all gateways. Lines older than what any gateway has reached may lack
    some of it, so they are left for the next page."""
    reached = max((page.reached for page in pages if page.reached is not None), default=None)
    by_position = attrgetter("position")
    in_order = [sorted(page.rows, key=by_position, reverse=True) for page in pages]
    rows: list[LogRow] = []
    size = 0
    for row in merge(*in_order, key=by_position, reverse=True):
        size += len(row.line)
        is_full = len(rows) >= limit or (bool(rows) and size > MAX_PAGE_BYTES)
        if is_full or (reached is not None and row.position < reached):
            reached = rows[-1].position if is_full else reached
            break
        rows.append(row)
    return LogPage(tuple(rows), reached, missing)
