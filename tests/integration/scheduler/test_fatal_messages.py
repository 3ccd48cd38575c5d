"""A message that ends a run is refused by the next one, with an alarm; what only asks ends none."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.core.sites import job
from support.programs.live_scheduler import WITHIN_S, SiteDirectory, WireAgent, WireClient, until
from wattline_protocol.ids import NodeId
from wattline_protocol.trust.keys import JoinBundle, load_keys
from wattline_protocol.trust.members import AUTHORIZED, SCHEDULER_KEY, Authorized
from wattline_protocol.wire.agent_messages import PROTOCOL_VERSION, Refused
from wattline_protocol.wire.client_messages import (
    Answer,
    ClientHello,
    ClientWelcome,
    Denied,
    GetPower,
    ListEvents,
    Power,
    Request,
    Shed,
    Submit,
    Submitted,
    Tell,
)
from wattline_scheduler.core.agents import handshake
from wattline_scheduler.core.requests import shed, submit
from wattline_scheduler.shell.background import Background
from wattline_scheduler.shell.clients.questions import Reads
from wattline_scheduler.shell.config import SchedulerConfig
from wattline_scheduler.shell.fatal_messages import FATAL_NAME, Fatal
from wattline_scheduler.shell.http_api.http_bridge import HttpBridge
from wattline_scheduler.shell.loop import Loop, Sockets
from wattline_scheduler.shell.run import (
    Stop,
    open_sockets,
    read_clock,
    read_site,
    restore,
    run_until_stopped,
)

POISON = Submit(job(name="poison").build(), "poison")
SOUND = Submit(job(name="sound").build(), "sound")
OTHER = job(name="other").build()


class Run:
    """One run of a scheduler, step by step."""

    def __init__(self, loop: Loop, sockets: Sockets, fatal: Fatal, stack: ExitStack) -> None:
        self.loop, self.sockets, self.fatal, self._stack = loop, sockets, fatal, stack

    def client(self, bundle: JoinBundle) -> WireClient:
        client = self._stack.enter_context(WireClient(bundle))
        assert client.socket.wait_connected(WITHIN_S).state == "connected"
        client.send(ClientHello(PROTOCOL_VERSION, "test"))
        assert isinstance(self.told(client), ClientWelcome)
        return client

    def agent(self, bundle: JoinBundle) -> WireAgent:
        agent = self._stack.enter_context(WireAgent(bundle))
        assert agent.socket.wait_connected(WITHIN_S).state == "connected"
        return agent

    def told(self, peer: Any) -> Any:
        def is_told() -> bool:
            if peer.receive():
                return True
            self.loop.step()
            return False

        until(is_told, "an answer")
        return peer.inbox.pop(0)

    def refuses(self, agent: WireAgent) -> None:
        """The agent says Hello and is refused."""
        agent.fake.say_hello()

        def is_refused() -> bool:
            agent.pump()
            self.loop.step()
            return any(isinstance(message, Refused) for message in agent.heard)

        until(is_refused, "a refusal")

    def ask(self, client: WireClient, request: Request) -> Answer:
        client.start(request)
        told = self.told(client)
        assert isinstance(told, Tell)
        return told.answer

    def ends_by(self, error: type[Exception]) -> None:
        """It runs on as a process does, until something ends it."""
        with pytest.raises(error):
            run_until_stopped(self.loop, self.fatal, Stop())


@contextmanager
def running(directory: SiteDirectory, state: Path) -> Iterator[Run]:
    site = read_site(directory.path)
    members = Authorized(directory.path / AUTHORIZED, site.roles)
    with ExitStack() as stack:
        sockets = open_sockets(site, load_keys(directory.path / SCHEDULER_KEY), members)
        stack.callback(sockets.close)
        door = stack.enter_context(closing(HttpBridge(site.http)))
        config = SchedulerConfig(site_dir=directory.path, state_dir=state)
        store, saved, cluster = restore(config, site, "")
        stack.callback(store.close)
        beside = stack.enter_context(closing(Background.of(site, door, store, saved, read_clock)))
        beside.start(store)
        fatal = Fatal(state / FATAL_NAME, read_clock().unix_s)
        loop = Loop(cluster, store, sockets, members, beside, read_clock, fatal)
        loop.refuse_again()
        yield Run(loop, sockets, fatal, stack)


def breaks(*_: object, **__: object) -> None:
    raise RuntimeError("a fault of ours")


def alarms(run: Run, client: WireClient) -> dict[str, str]:
    found = run.ask(client, ListEvents(-100, 100))
    return {one.kind: one.text for one in found.events if one.level == "alarm"}  # type: ignore[union-attr]


def test_a_request_that_ended_a_run_is_refused_by_the_next_one(
    directory: SiteDirectory, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(directory, state) as run, monkeypatch.context() as patch:
        client = run.client(directory.bundle("ada"))
        assert isinstance(run.ask(client, SOUND), Submitted)
        patch.setattr(submit, "_accept", breaks)
        client.start(POISON)
        run.ends_by(RuntimeError)
    with running(directory, state) as run:
        client = run.client(directory.bundle("ada"))
        denied = run.ask(client, POISON)
        assert isinstance(denied, Denied)
        assert denied.kind == "internal"
        assert "ended the scheduler (RuntimeError: a fault of ours" in denied.reason
        assert "Submit of ada ended the scheduler" in alarms(run, client)["request_refused"]
        again = run.ask(client, Submit(POISON.spec, "by hand once more"))
        assert isinstance(again, Denied), "the same job under another token"
        assert isinstance(run.ask(client, Submit(OTHER, "other")), Submitted)
        other = run.client(directory.bundle("bob"))
        assert isinstance(run.ask(other, POISON), Submitted), "the same of another user"


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
        denied = run.ask(client, request_)
        assert isinstance(denied, Denied)
        assert denied.kind == "internal"
        assert "a fault of ours" in denied.reason
        assert "check_failed" in alarms(run, client)
        assert not (state / FATAL_NAME).exists()


def test_a_read_that_fails_is_a_refusal_and_an_alarm(
    directory: SiteDirectory, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(directory, state) as run:
        client = run.client(directory.bundle("ada"))
        with monkeypatch.context() as patch:
            patch.setattr(Reads, "answer", breaks)
            denied = run.ask(client, GetPower())
        assert isinstance(denied, Denied)
        assert denied.kind == "internal"
        assert isinstance(run.ask(client, GetPower()), Power)
        assert "check_failed" in alarms(run, client)


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
