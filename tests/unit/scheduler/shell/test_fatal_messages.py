"""Which messages a run refuses, by what earlier runs wrote."""

import os
from pathlib import Path

from support.core.sites import job
from wattline_protocol.ids import Instant, NodeId, Now, UnixTime, UserName
from wattline_protocol.wire.agent_messages import Farewell
from wattline_protocol.wire.client_messages import Submit
from wattline_scheduler.core.model.events import AgentMessage, ClientRequest, TimePassed
from wattline_scheduler.shell.fatal_messages import MAX_ENTRIES, REFUSED_FOR_S, FatalMessages

T0 = 1.7e9
ERROR = RuntimeError("a fault of ours")


def asks(name: str, user: str = "ada", token: str = "t1") -> ClientRequest:
    request = Submit(job(name).build(), token)
    return ClientRequest(name.encode(), 1, UserName(user), "submitter", request)


def at(seconds: float = 0.0) -> Now:
    return Now(Instant(seconds), UnixTime(T0 + seconds))


def run_ends(
    path: Path, *events: ClientRequest | AgentMessage, is_certain: bool, s: float = 0
) -> None:
    fatal = FatalMessages(path, T0 + s)
    for event in events:
        fatal.enter(event)
        if not is_certain:
            fatal.leave()
    fatal.write(ERROR, at(s))


def test_what_was_being_handled_is_refused_for_an_hour(tmp_path: Path) -> None:
    path = tmp_path / "fatal.json"
    run_ends(path, asks("a"), is_certain=True)
    fatal = FatalMessages(path, T0 + 10)
    refused = fatal.refusal(asks("a"), at(10))
    assert refused is not None
    assert refused.what == "Submit"
    assert "a fault of ours" in refused.error
    assert fatal.refusal(asks("b"), at(10)) is None
    assert fatal.refusal(asks("a", "bob"), at(10)) is None
    assert fatal.refusal(TimePassed(), at(10)) is None
    assert fatal.refusal(asks("a"), at(REFUSED_FOR_S)) is None
    assert FatalMessages(path, T0 + REFUSED_FOR_S).refused == ()
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_same_job_submitted_by_hand_once_more_is_the_same_request(tmp_path: Path) -> None:
    path = tmp_path / "fatal.json"
    run_ends(path, asks("a"), is_certain=True)
    assert FatalMessages(path, T0).refusal(asks("a", token="t2"), at()) is not None


def test_of_an_agent_everything_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fatal.json"
    run_ends(path, AgentMessage(NodeId("n1"), Farewell(1, 2)), is_certain=True)  # type: ignore[arg-type]
    fatal = FatalMessages(path, T0)
    other = AgentMessage(NodeId("n1"), Farewell(3, 4))  # type: ignore[arg-type]
    refused = fatal.refusal(other, at())
    assert refused is not None
    assert refused.fault().node == "n1"
    assert fatal.refusal(AgentMessage(NodeId("n2"), other.message), at()) is None


def test_one_of_several_is_refused_once_it_was_there_twice(tmp_path: Path) -> None:
    path = tmp_path / "fatal.json"
    run_ends(path, asks("a"), asks("b"), is_certain=False)
    assert FatalMessages(path, T0).refused == ()
    run_ends(path, asks("a"), asks("c"), is_certain=False, s=5)
    fatal = FatalMessages(path, T0 + 6)
    assert fatal.refusal(asks("a"), at(6)) is not None
    assert fatal.refusal(asks("b"), at(6)) is None


def test_what_is_on_disk_is_no_suspect(tmp_path: Path) -> None:
    fatal = FatalMessages(tmp_path / "fatal.json", T0)
    fatal.enter(asks("a"))
    fatal.leave()
    fatal.settle()
    fatal.write(ERROR, at())
    assert not (tmp_path / "fatal.json").exists()


def test_the_file_is_bounded_and_a_damaged_one_refuses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "fatal.json"
    run_ends(path, *(asks(str(n)) for n in range(2 * MAX_ENTRIES)), is_certain=False)
    run_ends(path, *(asks(str(n)) for n in range(2 * MAX_ENTRIES)), is_certain=False)
    assert len(FatalMessages(path, T0).refused) == MAX_ENTRIES
    path.write_bytes(path.read_bytes()[:-20])
    damaged = FatalMessages(path, T0)
    assert damaged.refused == ()
    assert str(path) in damaged.problem


def test_a_pipe_in_its_place_holds_no_start_up(tmp_path: Path) -> None:
    path = tmp_path / "fatal.json"
    os.mkfifo(path)
    assert "no message is refused" in FatalMessages(path, T0).problem
