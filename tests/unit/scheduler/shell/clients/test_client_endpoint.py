"""A client that reads slowly gets its answers late; one that does not read loses its session."""

import msgspec
import pytest

from support.core.site_views import job as site_job
from support.programs.client_pipe import Pipe, greeted, taken
from wattline_protocol.ids import Instant, Now, UnixTime
from wattline_protocol.job.spec import JobSpec, Launch
from wattline_protocol.release import SAME_RELEASE, release
from wattline_protocol.wire.agent_messages import PROTOCOL_VERSION
from wattline_protocol.wire.client_messages import (
    Ask,
    ClientHello,
    ClientWelcome,
    Denied,
    Done,
    GetPower,
    Jobs,
    ListEvents,
    Response,
    WhatIf,
)
from wattline_scheduler.shell.clients import client_endpoint
from wattline_scheduler.shell.clients.client_endpoint import STUCK_S
from wattline_scheduler.shell.clients.long_lists import Rows


def answers(pipe: Pipe) -> list[str]:
    tells = [reported for reported in pipe.sent if isinstance(reported, Response)]
    return [reported.answer.text for reported in tells if isinstance(reported.answer, Done)]


def at(mono_s: float) -> Now:
    return Now(Instant(mono_s), UnixTime(mono_s))


def test_answers_wait_for_room_and_keep_their_order() -> None:
    pipe, endpoint = greeted()
    pipe.room = 1
    for number in range(4):
        endpoint.reply(b"c", number, Done(str(number)))
    assert answers(pipe) == ["0"]
    assert endpoint.retry_in_s(Instant(1.0)) == client_endpoint.RETRY_SOON_S
    pipe.room = 2
    endpoint.flush(Instant(1.0))
    assert answers(pipe) == ["0", "1", "2"]
    pipe.room = 9
    endpoint.flush(Instant(2.0))
    endpoint.reply(b"c", 4, Done("4"))
    assert answers(pipe) == ["0", "1", "2", "3", "4"]
    assert endpoint.retry_in_s(Instant(2.0)) is None


def test_a_connection_that_takes_nothing_loses_its_session() -> None:
    pipe, endpoint = greeted()
    pipe.room = 0
    endpoint.reply(b"c", 1, Done("late"))
    endpoint.flush(Instant(10.0))
    assert endpoint.retry_in_s(Instant(11.0)) == client_endpoint.RETRY_LATER_S
    endpoint.flush(Instant(10.0 + STUCK_S))
    assert list(endpoint.sessions) == [b"c"]
    endpoint.flush(Instant(10.1 + STUCK_S))
    assert not endpoint.sessions
    assert endpoint.retry_in_s(Instant(50.0)) is None


def test_a_backlog_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_endpoint, "MAX_BACKLOG", 3)
    pipe, endpoint = greeted()
    pipe.room = 0
    for number in range(3):
        endpoint.reply(b"c", number, Done(""))
    assert list(endpoint.sessions) == [b"c"]
    endpoint.reply(b"c", 3, Done(""))
    assert not endpoint.sessions


def test_beyond_the_limit_the_longest_unheard_session_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_endpoint, "MAX_SESSIONS", 2)
    pipe, endpoint = greeted(b"1")
    endpoint.sessions[b"1"].watch_count = 1
    for connection in (b"2", b"3"):
        pipe.arrives(ClientHello(PROTOCOL_VERSION, "t"), connection)
    assert taken(endpoint) == []
    assert list(endpoint.sessions) == [b"1", b"3"]


def test_a_user_with_many_connections_loses_its_own_and_not_those_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_endpoint, "MAX_SESSIONS_OF_USER", 2)
    pipe, endpoint = greeted(b"1", "bob")
    for connection in (b"2", b"3", b"4"):
        pipe.arrives(ClientHello(PROTOCOL_VERSION, "t"), connection)
    assert taken(endpoint) == []
    assert list(endpoint.sessions) == [b"1", b"3", b"4"]


def test_a_backlog_has_a_limit_over_all_connections_of_a_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_endpoint, "MAX_BACKLOG_BYTES_OF_USER", 3_000)
    pipe, endpoint = greeted(b"1")
    for connection, user in ((b"2", "ada"), (b"3", "bob")):
        pipe.arrives(ClientHello(PROTOCOL_VERSION, "t"), connection, user=user)
    assert taken(endpoint) == []
    pipe.room = 0
    for connection in (b"1", b"2", b"3"):
        endpoint.reply(connection, 1, Done("x" * 1_600))
    assert list(endpoint.sessions) == [b"1", b"3"]


def test_a_request_without_room_is_answered_so_that_its_client_does_not_wait_for_ever() -> None:
    pipe, endpoint = greeted()
    pipe.arrives(Ask(7, ListEvents()))
    (incoming,) = endpoint.receive()
    endpoint.reject(incoming)
    assert pipe.refused == ["rate"]
    ((ask, answer),) = ((reported.ask, reported.answer) for reported in pipe.responses())
    assert ask == 7
    assert isinstance(answer, Denied)
    assert answer.kind == "busy"


@pytest.mark.parametrize("data", [b"junk", b"x" * (client_endpoint.MAX_BUSY_BYTES + 1)])
def test_what_is_no_request_or_large_is_turned_away_without_a_word(data: bytes) -> None:
    pipe, endpoint = greeted()
    pipe.arrives(Ask(7, ListEvents()))
    (incoming,) = endpoint.receive()
    endpoint.reject(incoming._replace(data=data))
    assert (pipe.refused, pipe.sent) == (["rate"], [])


@pytest.mark.parametrize(
    ("client", "more"),
    [
        (
            "wattline 99.0",
            f"; the client is wattline 99.0, the scheduler {release()}: {SAME_RELEASE}",
        ),
        (release(), ""),
    ],
)
def test_a_key_that_only_a_newer_client_knows_is_refused_with_its_name_and_both_releases(
    client: str, more: str
) -> None:
    pipe, endpoint = greeted()
    pipe.arrives(ClientHello(PROTOCOL_VERSION, client))
    ask = msgspec.to_builtins(Ask(7, WhatIf(JobSpec("x", ("true",)))))
    ask["request"]["spec"]["launch"]["warp"] = 9
    pipe.arrives(Ask(7, ListEvents()))
    pipe.arriving[-1] = pipe.arriving[-1]._replace(data=msgspec.msgpack.encode(ask))
    assert taken(endpoint) == []
    (response,) = pipe.responses()
    assert response.answer == Denied("bad_request", f"the key launch.warp is not known{more}")


def test_an_answer_has_the_keys_of_a_job_that_differ_from_their_defaults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A client of an earlier release knows these alone."""
    pipe, endpoint = greeted()
    spec = JobSpec("x", ("true",), launch=Launch("torchrun"))
    view = msgspec.structs.replace(site_job(3, "x", "RUNNING"), spec=spec)
    sent: list[bytes] = []

    def send(routing_id: bytes, data: bytes) -> bool:
        del routing_id
        sent.append(data)
        return True

    monkeypatch.setattr(pipe, "send", send)
    endpoint.reply(b"c", 1, Jobs((view,)))
    (row,) = msgspec.msgpack.decode(sent[0])["answer"]["jobs"]
    assert row["spec"] == {"name": "x", "command": ["true"], "launch": {"how": "torchrun"}}


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_list_of_encoded_rows_is_sent_as_it_is(
    monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Without rows it has one byte, as a list of one job would have one job."""
    pipe, endpoint = greeted()
    rows = Rows()
    for number in range(count):
        assert rows.add(site_job(number + 1, "x", "RUNNING"))
    sent: list[bytes] = []

    def send(routing_id: bytes, data: bytes) -> bool:
        del routing_id
        sent.append(data)
        return True

    monkeypatch.setattr(pipe, "send", send)
    endpoint.reply(b"c", 1, Jobs(rows.packed()))
    jobs = msgspec.msgpack.decode(sent[0])["answer"]["jobs"]
    assert [row["id"] for row in jobs] == list(range(1, count + 1))


def test_what_waited_of_a_member_that_was_removed_is_not_heard() -> None:
    pipe, endpoint = greeted()
    pipe.arrives(Ask(1, ListEvents()))
    pipe.removed.add("ada")
    assert taken(endpoint) == []


def test_a_role_that_was_changed_counts_from_the_next_request() -> None:
    pipe, endpoint = greeted()
    pipe.arrives(Ask(1, ListEvents()), role="submitter")
    ((session, ask),) = taken(endpoint)
    assert (session.role, ask.ask) == ("submitter", 1)


def test_a_client_is_told_once_when_its_role_has_changed() -> None:
    pipe, endpoint = greeted()
    for role in ("admin", "submitter", "submitter"):
        pipe.arrives(Ask(1, GetPower()), role=role)
    assert [session.role for session, _ in taken(endpoint)] == ["submitter"] * 3
    assert [one.role for one in pipe.sent if isinstance(one, ClientWelcome)] == ["submitter"]
