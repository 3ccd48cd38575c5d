"""Reads of gateways' logs: who may, what gateways are asked, and one page of their answers."""

from typing import cast

import pytest

from support.core.harness import Harness, joined
from support.core.sites import job, site
from support.programs.client_pipe import Pipe, taken
from wattline_protocol.ids import Instant, Now, UnixTime, UserName
from wattline_protocol.site.model import Role
from wattline_protocol.views.request_logs import (
    LogFilter,
    LogKind,
    LogPage,
    LogPosition,
    LogQuery,
    LogRow,
    ReadRequestLog,
    ReportLogPage,
)
from wattline_protocol.wire.agent_messages import PROTOCOL_VERSION
from wattline_protocol.wire.client_messages import ClientHello, Denied, Done, Response
from wattline_protocol.wire.transport import ServerSocket
from wattline_scheduler.core.model.effects import Effect, Reply
from wattline_scheduler.core.model.events import Event
from wattline_scheduler.core.requests.selection import Asker
from wattline_scheduler.shell.clients import log_reads
from wattline_scheduler.shell.clients.client_endpoint import ClientEndpoint
from wattline_scheduler.shell.clients.log_reads import ANSWER_WITHIN_S, LogReads, merged


class Desk:
    """Reads over a site with two gateways in its file, and sessions of members."""

    def __init__(self) -> None:
        gateways = site().rack("a", 4)
        for name in ("g1", "g2"):
            gateways = gateways.gateway("tcp://127.0.0.1:7080", name)
        self.h: Harness = joined(gateways.build())
        self.pipe = Pipe()
        self.endpoint = ClientEndpoint(cast("ServerSocket", self.pipe), "test")
        self.now_s = 100.0
        self.reads = LogReads(self.h.cluster.state, self.endpoint, self._handle)

    def _handle(self, event: Event, now: Now) -> list[Effect]:
        del now
        return self.h.handle(event)

    @property
    def now(self) -> Now:
        return Now(Instant(self.now_s), UnixTime(self.now_s))

    def session(self, name: str, role: Role) -> bytes:
        self.pipe.arrives(ClientHello(PROTOCOL_VERSION, "t"), name.encode(), role, name)
        assert taken(self.endpoint) == []
        return name.encode()

    def gateway(self, name: str) -> None:
        """It watches, and has begun."""
        self.reads.watch(self.endpoint.sessions[self.session(name, "gateway")], 1)
        assert self.queries()[-1].number == 0

    def queries(self) -> list[LogQuery]:
        reported = [one.answer for one in self.pipe.sent if isinstance(one, Response)]
        return [answer for answer in reported if isinstance(answer, LogQuery)]

    def ask(
        self,
        user: str,
        role: Role = "submitter",
        kind: LogKind = "requests",
        status: str = "",
        before_s: float | None = None,
    ) -> list[object]:
        """Answers that are ready at once."""
        session = self.endpoint.sessions[self.session(user, role)]
        before = None if before_s is None else LogPosition(before_s)
        wanted = ReadRequestLog(LogFilter("echo", 50.0, kind, status=status, before=before))
        asker = Asker(UserName(user), role)
        return answers(self.reads.begin(session, 7, asker, wanted, self.now))

    def report(self, gateway: str, *ended_s: float, error: str = "") -> object:
        """What the user gets when this gateway has answered the newest query; None: it waits."""
        number = self.queries()[-1].number
        rows = tuple(row(one, gateway) for one in ended_s)
        page = ReportLogPage(number, rows, None, error)
        session = self.endpoint.sessions[gateway.encode()]
        first, *rest = answers(self.reads.take(session, 3, page, self.now))
        assert first == Done("")
        return rest[0] if rest else None


def row(ended_s: float, gateway: str = "g") -> LogRow:
    return LogRow(LogPosition(ended_s, f"{gateway}-{ended_s}"), f"{ended_s}".encode())


def answers(effects: list[Effect]) -> list[object]:
    return [effect.answer for effect in effects if isinstance(effect, Reply)]


def times(page: object) -> list[float]:
    assert isinstance(page, LogPage)
    return [one.position.ended_unix_s for one in page.rows]


def echo(desk: Desk, user: str = "ada") -> None:
    desk.h.submit(job("echo").gpus(1).service(1), user=user)


def test_lines_of_all_gateways_are_merged_newest_first() -> None:
    desk = Desk()
    echo(desk)
    desk.gateway("g1")
    desk.gateway("g2")
    assert desk.ask("ada") == []
    assert len({query.number for query in desk.queries() if query.number}) == 1
    assert desk.report("g1", 90.0, 70.0) is None
    page = desk.report("g2", 80.0, 60.0)
    assert times(page) == [90.0, 80.0, 70.0, 60.0]
    assert isinstance(page, LogPage)
    assert (page.reached, page.missing) == (None, ())


def test_a_gateway_that_is_away_or_silent_or_keeps_no_log_is_named() -> None:
    desk = Desk()
    desk.gateway("g1")
    assert desk.ask("ops", "operator") == []
    page = desk.report("g1", 90.0)
    assert isinstance(page, LogPage)
    assert [(one.gateway, one.why) for one in page.missing] == [("g2", log_reads.NOT_CONNECTED)]
    desk.gateway("g2")
    desk.ask("ops", "operator")
    assert desk.report("g1", 90.0) is None
    desk.now_s += ANSWER_WITHIN_S + 1
    (late,) = answers(desk.reads.expire(desk.now))
    assert isinstance(late, LogPage)
    assert [(one.gateway, one.why) for one in late.missing] == [("g2", log_reads.SILENT)]
    assert desk.report("g2", 80.0) is None  # nobody waits for it any more
    desk.ask("ops", "operator")
    desk.report("g1", error="keeps no access log")
    denied = desk.report("g2", error="keeps no access log")
    assert isinstance(denied, Denied)
    assert denied.kind == "unavailable"
    assert "gateway g1 keeps no access log; gateway g2 keeps no access log" in denied.reason


def test_without_a_gateway_that_watches_there_is_no_answer_to_wait_for() -> None:
    (denied,) = Desk().ask("ops", "operator")
    assert isinstance(denied, Denied)
    away = log_reads.NOT_CONNECTED
    assert denied.reason == f"gateway g1 {away}; gateway g2 {away}"


def test_owners_see_what_they_ran_and_operators_all() -> None:
    desk = Desk()
    desk.gateway("g1")
    echo(desk)
    desk.ask("ada")
    assert desk.queries()[-1].owners == ("ada",)
    desk.report("g1")
    desk.ask("ops", "operator")
    assert desk.queries()[-1].owners == ()
    desk.report("g1")
    asked = len(desk.queries())
    (denied,) = desk.ask("bob")
    assert isinstance(denied, Denied)
    assert denied.kind == "not_allowed"
    assert len(desk.queries()) == asked
    assert "may not read the requests of echo" in desk.h.acts()[-1].text


def test_a_status_that_is_none_is_refused_in_words() -> None:
    desk = Desk()
    desk.gateway("g1")
    (denied,) = desk.ask("ops", "operator", status="5x")
    assert isinstance(denied, Denied)
    assert denied.reason == "'5x' is neither a status, as in 504, nor a class, as in 4xx or 5xx"


def test_bodies_are_read_on_record() -> None:
    desk = Desk()
    desk.gateway("g1")
    echo(desk)
    desk.ask("ada", kind="bodies")
    desk.report("g1", 90.0, 80.0)
    newest = desk.h.acts()[-1]
    assert (newest.kind, newest.actor) == ("bodies_read", "ada")
    assert newest.text.startswith("2 requests with bodies of service echo, since 1970-01-01 00:00")
    recorded = len(desk.h.acts())
    desk.ask("ada")
    desk.report("g1", 90.0)
    assert len(desk.h.acts()) == recorded


@pytest.mark.parametrize("before_s", [None, 95.0], ids=["newest", "until"])
def test_a_read_that_finds_no_bodies_is_on_record(before_s: float | None) -> None:
    desk = Desk()
    desk.gateway("g1")
    desk.ask("ops", "operator", kind="bodies", before_s=before_s)
    assert times(desk.report("g1")) == []
    newest = desk.h.acts()[-1]
    assert (newest.kind, newest.actor) == ("bodies_read", "ops")
    assert newest.text.startswith("0 requests with bodies of service echo")


def test_reads_under_way_are_bounded() -> None:
    desk = Desk()
    desk.gateway("g1")
    for user in ("op1", "op2", "op3", "op4"):
        assert desk.ask(user, "operator") == desk.ask(user, "operator") == []
        (denied,) = desk.ask(user, "operator")
        assert isinstance(denied, Denied)
        assert denied.kind == "busy"
    (denied,) = desk.ask("op5", "operator")
    assert isinstance(denied, Denied)
    assert "0 of your reads of logs are under way, 8 of all" in denied.reason


def test_a_gateway_that_has_left_is_asked_no_more() -> None:
    desk = Desk()
    desk.gateway("g1")
    desk.endpoint.end(desk.endpoint.sessions[b"g1"])
    (denied,) = desk.ask("ops", "operator")
    assert isinstance(denied, Denied)
    desk.gateway("g1")
    desk.reads.unwatch(desk.endpoint.sessions[b"g1"], 1)
    (denied,) = desk.ask("ops", "operator")
    assert isinstance(denied, Denied)


def test_a_gateway_that_has_replaced_another_one_is_asked() -> None:
    desk = Desk()
    for connection in (b"new", b"old"):
        desk.pipe.arrives(ClientHello(PROTOCOL_VERSION, "t"), connection, "gateway", "g1")
        assert taken(desk.endpoint) == []
        desk.reads.watch(desk.endpoint.sessions[connection], 1)
    desk.endpoint.end(desk.endpoint.sessions[b"old"])
    assert desk.ask("ops", "operator") == []
    assert desk.queries()[-1].number == 1


@pytest.mark.parametrize(
    ("limit", "expected", "reached"),
    [(10, [90.0, 85.0, 80.0], 80.0), (2, [90.0, 85.0], 85.0)],
)
def test_lines_that_a_gateway_may_lack_are_left_for_the_next_page(
    limit: int, expected: list[float], reached: float
) -> None:
    full = ReportLogPage(1, (row(90.0), row(80.0)), LogPosition(80.0, "g-80.0"))
    page = merged([full, ReportLogPage(1, (row(85.0), row(75.0)))], limit)
    assert times(page) == expected
    assert page.reached is not None
    assert page.reached.ended_unix_s == reached


def test_a_page_has_a_bounded_number_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_reads, "MAX_PAGE_BYTES", 9)
    page = merged([ReportLogPage(1, tuple(row(t) for t in (90.0, 80.0, 70.0)))], 10)
    assert times(page) == [90.0, 80.0]
    assert page.reached == row(80.0).position
