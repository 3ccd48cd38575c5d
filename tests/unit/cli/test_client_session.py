"""A scheduler that says anything ends asks with an error; no caller is left waiting."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, cast

import msgspec
import pytest
import zmq

from support.core.site_views import job
from wattline.client.errors import Refused, WattlineError
from wattline.client.link import Link
from wattline.client.session import Session
from wattline_bench.abuse.extremes import extremes
from wattline_protocol.job.spec import JobSpec, Resources
from wattline_protocol.release import SAME_RELEASE, release
from wattline_protocol.wire.agent_messages import PROTOCOL_VERSION
from wattline_protocol.wire.client_messages import (
    Ask,
    ClientWelcome,
    Denied,
    GetPower,
    Jobs,
    Response,
    Submit,
    ToClient,
    WhatIf,
)
from wattline_protocol.wire.transport import ClientSocket
from wattline_protocol.wire.transport import Link as Standing

STEP = 25
"""One of so many messages."""
ANSWER_S = 30.0


class Wire:
    """A socket on which a test says raw bytes."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]") -> None:
        self.socket, self.monitor = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
        self.link = Standing("connected", connections=1)
        self.said: list[bytes] = []
        self.fails: Callable[[], None] = lambda: None

    def recv_batch(self) -> list[bytes]:
        self.fails()
        said, self.said = self.said, []
        return said

    def send(self, data: bytes) -> bool:
        return True

    def close(self) -> None:
        self.socket.close(0)
        self.monitor.close(0)


@pytest.fixture
def made() -> Iterator[tuple[Link, Wire, Session]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    link, wire = Link(context), Wire(context)
    session = Session(link, cast("ClientSocket", wire), "ada")
    yield link, wire, session
    link.begin_close()
    if session.thread.ident is not None:
        session.thread.join(ANSWER_S)
    link.end_close()
    wire.close()
    context.term()


def ask_again(link: Link) -> int:
    """An ask in flight; where the one before was refused, as a new client would have it."""
    with contextlib.suppress(Refused):
        return link.ask(GetPower()).ask
    link._refused = None  # a new client's link has met no refusal
    return link.ask(GetPower()).ask


def test_extremes_of_a_scheduler_are_answers_or_refusals(made: tuple[Link, Wire, Session]) -> None:
    link, _, session = made
    walked = refused = 0
    for one in extremes(ToClient, step=STEP):
        message: dict[str, Any] = one.message
        if one.path[0] != "ask" and "ask" in message:
            message = {**message, "ask": ask_again(link)}
        session._receive(msgspec.msgpack.encode(message))
        walked += 1
        refused += link._refused is not None
        link._refused = None
    assert walked > 1_000
    assert walked > refused > 200


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x93" * 2_000, b"\x81" * 100_000, b"\xdf" * 64])
def test_bytes_that_are_no_message_end_asks_with_an_error(
    data: bytes, made: tuple[Link, Wire, Session]
) -> None:
    link, wire, session = made
    pending = link.ask(GetPower())
    wire.said.append(data)
    session.thread.start()
    answer = pending.answers.get(timeout=ANSWER_S)
    assert isinstance(answer, Refused)
    assert "cannot read" in str(answer)


def test_a_fault_of_the_thread_ends_every_ask_and_the_next_ones(
    made: tuple[Link, Wire, Session],
) -> None:
    link, wire, session = made

    def fail() -> None:
        raise ZeroDivisionError("a fault")

    wire.fails = fail
    pending = link.ask(GetPower())
    session.thread.start()
    assert isinstance(pending.answers.get(timeout=ANSWER_S), WattlineError)
    assert link.wait_settled(ANSWER_S)
    with pytest.raises(Refused, match="this is a bug of Wattline"):
        link.ask(GetPower())


def receive(session: Session, message: ToClient) -> None:
    session._receive(msgspec.msgpack.encode(message))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (
            "Object contains unknown field `image` - at `$.request.spec.launch`",
            "the key launch.image",
        ),
        ("Object contains unknown field `slo` - at `$.request.spec`", "the key slo"),
        (
            "Invalid enum value 'ray' - at `$.request.spec.launch.how`",
            "the value ray of launch.how",
        ),
        ("Invalid value 'get_rollout' - at `$.request.t`", "the request get_rollout"),
    ],
    ids=["key", "key of a job", "value", "request"],
)
def test_the_refusal_of_an_earlier_scheduler_names_the_word_and_both_releases(
    text: str, word: str, made: tuple[Link, Wire, Session]
) -> None:
    link, _, session = made
    receive(session, ClientWelcome(PROTOCOL_VERSION, "test", "ada", "admin"))
    ours, other = link.ask(GetPower()), link.ask(GetPower())
    receive(session, Response(ours.ask, Denied("bad_request", text)))
    receive(session, Response(other.ask, Denied("bad_request", "priority is 101")))
    assert ours.answers.get() == Denied(
        "bad_request",
        f"the scheduler does not know {word}; the client is {release()}, "
        f"the scheduler of an earlier release: {SAME_RELEASE}",
    )
    assert other.answers.get() == Denied("bad_request", "priority is 101")


@pytest.mark.parametrize(
    "kind", [WhatIf, lambda spec: Submit(spec, "t")], ids=["what if", "submit"]
)
def test_a_job_is_sent_with_the_keys_that_differ_from_their_defaults(
    kind: Callable[[JobSpec], WhatIf | Submit], made: tuple[Link, Wire, Session]
) -> None:
    """A scheduler of an earlier release knows these alone."""
    _, _, session = made
    ask = Ask(1, kind(JobSpec("x", ("true",), resources=Resources(nodes=2))))
    data = session._checked(ask)
    sent = msgspec.msgpack.decode(data)["request"]["spec"]
    assert sent == {"name": "x", "command": ["true"], "resources": {"nodes": 2}}
    assert msgspec.msgpack.decode(data, type=Ask) == ask


def test_an_answer_with_keys_of_a_newer_scheduler_is_refused_with_both_releases(
    made: tuple[Link, Wire, Session],
) -> None:
    link, _, session = made
    welcome = ClientWelcome(PROTOCOL_VERSION, "test", "ada", "admin", 1.0, "wattline 99.0")
    receive(session, welcome)
    pending = link.ask(GetPower())
    view = msgspec.structs.replace(job(3, "x", "RUNNING"), spec=JobSpec("x", ("true",)))
    message = msgspec.to_builtins(Response(pending.ask, Jobs((view,))))
    message["answer"]["jobs"][0]["spec"]["launch"]["warp"] = 9
    session._receive(msgspec.msgpack.encode(message))
    refused = pending.answers.get()
    assert isinstance(refused, Refused)
    assert str(refused) == (
        "the scheduler sent what this client cannot read (the key answer.jobs[0].spec.launch.warp "
        f"is not known); the client is {release()}, the scheduler wattline 99.0: {SAME_RELEASE}"
    )


def test_another_role_on_the_same_connection_repeats_no_request(
    made: tuple[Link, Wire, Session],
) -> None:
    link, _, session = made
    receive(session, ClientWelcome(PROTOCOL_VERSION, "test", "ada", "operator", 1.0))
    pending = link.ask(GetPower())
    assert link.take_unsent() == [pending]
    receive(session, ClientWelcome(PROTOCOL_VERSION, "test", "ada", "submitter", 2.0))
    assert link.welcome is not None
    assert link.welcome.role == "submitter"
    assert link.take_unsent() == []
