"""Reports beside the loop: made one after the other by a process, few of each user."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from support.core.harness import Harness
from support.programs.live_scheduler import until
from support.store.stores import opened
from wattline_protocol.ids import UserName
from wattline_protocol.views.report_views import GetReport, Report
from wattline_protocol.wire.client_messages import Denied, Response
from wattline_scheduler.core.model.effects import Reply
from wattline_scheduler.report import ReportOrder
from wattline_scheduler.shell.clients.report_worker import (
    MAX_OUTSTANDING,
    MAX_OUTSTANDING_OF_USER,
    ReportWorker,
    report_order,
)

ADA, BOB = UserName("ada"), UserName("bob")


@pytest.fixture
def endpoint() -> Iterator[ReportWorker]:
    endpoint = ReportWorker()
    yield endpoint
    endpoint.close()


@pytest.fixture
def order(h: Harness, tmp_path: Path) -> Iterator[ReportOrder]:
    store = opened(tmp_path)
    yield report_order(h.cluster.state, store.path, (), GetReport(), h.now)
    store.close()


def made(endpoint: ReportWorker, count: int) -> list[Reply]:
    replies: list[Reply] = []

    def are_all_there() -> bool:
        replies.extend(endpoint.take())
        return len(replies) == count

    until(are_all_there, f"{count} reports")
    return replies


def test_a_report_is_what_its_reader_expects(endpoint: ReportWorker, order: ReportOrder) -> None:
    assert endpoint.order(b"c", 7, ADA, lambda: order) is None
    (reply,) = made(endpoint, 1)
    assert (reply.client, reply.ask) == (b"c", 7)
    reported = msgspec.msgpack.decode(
        msgspec.msgpack.encode(Response(7, reply.answer)), type=Response
    )
    assert isinstance(reported.answer, Report)
    assert reported.answer.report.until_unix_s == order.until_unix_s


def test_of_one_user_few_are_made_at_a_time_and_others_have_room(
    endpoint: ReportWorker, order: ReportOrder
) -> None:
    refused = [endpoint.order(b"a", ask, ADA, lambda: order) for ask in range(4)]
    assert [reply is not None for reply in refused] == [False, False, True, True]
    denied = refused[-1]
    assert denied is not None
    assert isinstance(denied.answer, Denied)
    assert denied.answer.kind == "busy"
    assert endpoint.order(b"b", 9, BOB, lambda: order) is None
    assert [(reply.client, reply.ask) for reply in made(endpoint, 3)] == [
        (b"a", 0),
        (b"a", 1),
        (b"b", 9),
    ]


def test_of_all_users_so_many_wait_at_most(endpoint: ReportWorker, order: ReportOrder) -> None:
    users = [UserName(f"u{number}") for number in range(MAX_OUTSTANDING + 1)]
    refused = [endpoint.order(b"c", 1, user, lambda: order) for user in users]
    assert [reply is not None for reply in refused] == [False] * MAX_OUTSTANDING + [True]
    assert MAX_OUTSTANDING_OF_USER < MAX_OUTSTANDING


def test_a_store_that_cannot_be_read_is_said(endpoint: ReportWorker, order: ReportOrder) -> None:
    lost = msgspec.structs.replace(order, path=order.path.with_name("none.db"))
    endpoint.order(b"c", 1, ADA, lambda: lost)
    (reply,) = made(endpoint, 1)
    assert isinstance(reply.answer, Denied)
    assert reply.answer.kind == "unavailable"
    assert "none.db" in reply.answer.reason


def test_a_report_whose_process_cannot_be_started_is_denied(
    endpoint: ReportWorker, order: ReportOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_descriptor_is_left(name: str) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    assert endpoint.order(b"a", 1, ADA, lambda: order) is None
    assert endpoint.order(b"b", 2, BOB, lambda: order) is None
    with monkeypatch.context() as patch:
        patch.setattr(os, "memfd_create", no_descriptor_is_left)
        report, denied = made(endpoint, 2)
        assert isinstance(report.answer, Report)
        assert (denied.client, denied.ask) == (b"b", 2)
        assert isinstance(denied.answer, Denied)
        assert "Too many open files; retry later" in denied.answer.reason
        at_once = endpoint.order(b"b", 3, BOB, lambda: order)
    assert at_once is not None
    assert isinstance(at_once.answer, Denied)
    assert endpoint.order(b"b", 4, BOB, lambda: order) is None
    assert isinstance(made(endpoint, 1)[0].answer, Report)


def test_a_report_that_is_not_made_does_not_keep_the_scheduler(
    endpoint: ReportWorker, order: ReportOrder
) -> None:
    endpoint.order(b"c", 1, ADA, lambda: order)
    endpoint.order(b"c", 2, ADA, lambda: order)
    endpoint.close()
    assert endpoint.take() == []
