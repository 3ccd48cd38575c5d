"""A message that ends a run is refused by the next one, with an alarm; what only asks ends none."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.core.sites import job
from support.programs.live_scheduler import WITHIN_S, SiteDirectory, WireAgent, WireClient, until
from support.programs.stepped_loop import SteppedLoop, stepped_loop
from wattline_protocol.ids import (
    AttemptNo,
    Epoch,
    Incarnation,
    JobId,
    NodeId,
    Sequence,
    TaskNo,
    TaskRef,
)
from wattline_protocol.trust.keys import JoinBundle
from wattline_protocol.wire.agent_messages import Refused
from wattline_protocol.wire.agents.data_messages import MAX_OUTPUTS, HoldData, OutputToPublish
from wattline_protocol.wire.client_messages import (
    Answer,
    Denied,
    GetPower,
    ListEvents,
    Power,
    Request,
    Shed,
    Submit,
    Submitted,
)
from wattline_protocol.wire.subscriptions import WatchSite
from wattline_scheduler.core.agents import handshake
from wattline_scheduler.core.model.effects import Send
from wattline_scheduler.core.requests import shed, submit
from wattline_scheduler.shell.clients.pictures.site_feed import SiteFeed
from wattline_scheduler.shell.clients.questions import Reads
from wattline_scheduler.shell.fatal_messages import FATAL_NAME
from wattline_scheduler.shell.run import Stop, run_until_stopped

POISON = Submit(job(name="poison").build(), "poison")
SOUND = Submit(job(name="sound").build(), "sound")
OTHER = job(name="other").build()


class Run(SteppedLoop):
    """One run of a scheduler."""

    def agent(self, bundle: JoinBundle) -> WireAgent:
        agent = self.stack.enter_context(WireAgent(bundle))
        assert agent.socket.wait_connected(WITHIN_S).state == "connected"
        return agent

    def refuses(self, agent: WireAgent) -> None:
        """The agent says Hello and is refused."""
        agent.fake.say_hello()

        def is_refused() -> bool:
            agent.pump()
            self.step()
            return any(isinstance(message, Refused) for message in agent.heard)

        until(is_refused, "a refusal")

    def until(self, true: Callable[[], object], what: str) -> None:
        """As many steps as that takes."""

        def is_true() -> bool:
            self.step()
            return bool(true())

        until(is_true, what)

    def answer(self, client: WireClient, request: Request) -> Answer:
        return self.ask(client, request).answer

    def ends_by(self, error: type[Exception]) -> None:
        """It runs on as a process does, until something ends it."""
        with pytest.raises(error):
            run_until_stopped(self.loop, self.fatal, Stop())


@contextmanager
def running(directory: SiteDirectory, state: Path) -> Iterator[Run]:
    with stepped_loop(Run, directory, state) as run:
        run.loop.refuse_again()
        yield run


def breaks(*_: object, **__: object) -> None:
    raise RuntimeError("a fault of ours")


def alarms(run: Run, client: WireClient) -> dict[str, str]:
    found = run.answer(client, ListEvents(-100, 100))
    return {one.kind: one.text for one in found.events if one.level == "alarm"}  # type: ignore[union-attr]


def test_a_request_that_ended_a_run_is_refused_by_the_next_one(
    directory: SiteDirectory, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(directory, state) as run, monkeypatch.context() as patch:
        client = run.client(directory.bundle("ada"))
        assert isinstance(run.answer(client, SOUND), Submitted)
        patch.setattr(submit, "_accept", breaks)
        client.start(POISON)
        run.ends_by(RuntimeError)
    with running(directory, state) as run:
        client = run.client(directory.bundle("ada"))
        denied = run.answer(client, POISON)
        assert isinstance(denied, Denied)
        assert denied.kind == "internal"
        assert "crashed the scheduler (RuntimeError: a fault of ours" in denied.reason
        assert "Submit of ada crashed the scheduler" in alarms(run, client)["request_refused"]
        again = run.answer(client, Submit(POISON.spec, "by hand once more"))
        assert isinstance(again, Denied), "the same job under another token"
        assert isinstance(run.answer(client, Submit(OTHER, "other")), Submitted)
        other = run.client(directory.bundle("bob"))
        assert isinstance(run.answer(other, POISON), Submitted), "the same of another user"


def test_a_node_whose_message_ended_a_run_is_not_heard_and_counts_in_full(
    directory: SiteDirectory, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(directory, state) as run, monkeypatch.context() as patch:
        agent = run.agent(directory.bundle("a1"))
        patch.setattr(handshake, "_issue", breaks)
        agent.fake.say_hello()
        agent.pump()
        run.ends_by(RuntimeError)
    with running(directory, state) as run:
        agent = run.agent(directory.bundle("a1"))
        run.refuses(agent)
        client = run.client(directory.bundle("ada"))
        assert "counts in full" in alarms(run, client)["message_refused"]
        assert run.loop._state.books.entry(NodeId("a1")).standing == "full"


@pytest.mark.parametrize("request_", [POISON, Shed(domain=None, fraction=0.1)])
def test_a_check_that_fails_is_a_refusal_and_an_alarm(
    directory: SiteDirectory, state: Path, monkeypatch: pytest.MonkeyPatch, request_: Request
) -> None:
    monkeypatch.setattr(submit, "malformed", breaks)
    monkeypatch.setattr(shed, "_problem", breaks)
    with running(directory, state) as run:
        client = run.client(directory.bundle("ops"))
        denied = run.answer(client, request_)
        assert isinstance(denied, Denied)
        assert denied.kind == "internal"
        assert "a fault of ours" in denied.reason
        assert "check_failed" in alarms(run, client)
        assert not (state / FATAL_NAME).exists()


@pytest.mark.parametrize(
    ("request_", "broken", "text", "alarm"),
    [
        (GetPower(), (Reads, "answer", breaks), "a fault of ours", "GetPower of ada"),
        (
            GetPower(),
            (Reads, "answer", lambda *_: Submitted(JobId(2**64))),
            "answer Submitted cannot be encoded (OverflowError",
            "answer Submitted of ada",
        ),
        (
            WatchSite(deltas=True),
            (SiteFeed, "_refresh_jobs", breaks),
            "a fault of ours",
            "WatchSite of ada",
        ),
    ],
    ids=["read", "unencodable answer", "picture"],
)
def test_what_fails_for_one_request_is_a_refusal_and_an_alarm(
    directory: SiteDirectory,
    state: Path,
    monkeypatch: pytest.MonkeyPatch,
    request_: Request,
    broken: tuple[type, str, Callable[..., object]],
    text: str,
    alarm: str,
) -> None:
    with running(directory, state) as run:
        client = run.client(directory.bundle("ada"))
        with monkeypatch.context() as patch:
            patch.setattr(*broken)
            denied = run.answer(client, request_)
        assert isinstance(denied, Denied)
        assert denied.kind == "internal"
        assert text in denied.reason
        assert isinstance(run.answer(client, GetPower()), Power)
        assert alarm in alarms(run, client)["check_failed"]


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_what_no_message_is_to_blame_for_refuses_nothing(
    directory: SiteDirectory,
    state: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
) -> None:
    def ends(*_: object) -> None:
        raise error

    with running(directory, state) as run, monkeypatch.context() as patch:
        client = run.client(directory.bundle("ada"))
        patch.setattr(submit, "_accept", ends)
        client.start(POISON)
        with pytest.raises(error):
            run_until_stopped(run.loop, run.fatal, Stop())
    assert not (state / FATAL_NAME).exists()


def test_a_read_over_http_that_fails_is_a_refusal_and_an_alarm(
    directory: SiteDirectory, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(directory, state) as run:
        client, found = run.client(directory.bundle("ada")), list[Answer]()
        with monkeypatch.context() as patch:
            patch.setattr(Reads, "answer", breaks)
            run.loop._services.http_api.ask(GetPower(), found.append)
            run.until(lambda: found, "an answer")
        assert isinstance(found[0], Denied)
        assert "a fault of ours" in found[0].reason
        assert "a fault of ours" in alarms(run, client)["check_failed"]


def test_a_message_to_a_node_that_is_over_the_limit_is_an_alarm(
    directory: SiteDirectory, state: Path
) -> None:
    """As many outputs as one node publishes, with the longest directories of jobs."""
    output = OutputToPublish(
        TaskRef(JobId(1), TaskNo(0), AttemptNo(1)), store="/", workdir="/" + "\U0001f600" * 4_095
    )
    message = HoldData(Epoch(1), Incarnation(1), Sequence(1), (), outputs=(output,) * MAX_OUTPUTS)
    with running(directory, state) as run:
        agent, client = run.agent(directory.bundle("a1")), run.client(directory.bundle("ada"))
        agent.fake.say_hello()
        run.until(lambda: agent.pump() and agent.heard, "a Welcome")
        run.loop._carry_out([Send(NodeId("a1"), message)])
        assert "HoldData to a1 was not sent" in alarms(run, client)["check_failed"]
