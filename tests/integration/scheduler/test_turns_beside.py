"""The loop over real sockets: others are answered between the parts of a question."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from support.core.sites import job
from support.programs.live_scheduler import WITHIN_S, SiteDirectory, WireClient, until
from wattline_protocol.ids import Instant, Now
from wattline_protocol.trust.keys import JoinBundle, load_keys
from wattline_protocol.trust.members import AUTHORIZED, SCHEDULER_KEY, Authorized
from wattline_protocol.wire.agent_messages import PROTOCOL_VERSION
from wattline_protocol.wire.client_messages import (
    ClientHello,
    ClientWelcome,
    Explain,
    Explained,
    GetPower,
    GetSite,
    ListEvents,
    ListJobs,
    Power,
    Request,
    Submit,
    Submitted,
    Tell,
    ToClient,
)
from wattline_scheduler.shell.background import Background
from wattline_scheduler.shell.clients.client_turns import CLIENTS_S
from wattline_scheduler.shell.config import SchedulerConfig
from wattline_scheduler.shell.fatal_messages import FATAL_NAME, Fatal
from wattline_scheduler.shell.http_api.http_bridge import HttpBridge
from wattline_scheduler.shell.loop import Loop, Sockets
from wattline_scheduler.shell.run import open_sockets, read_clock, read_site, restore


class Slow:
    """A clock by which a step's time for clients is over after one thing was served."""

    def __init__(self) -> None:
        self._looks = 0

    def __call__(self) -> Now:
        self._looks += 1
        now = read_clock()
        return Now(Instant(now.mono_s + self._looks * CLIENTS_S), now.unix_s)


class Stepped:
    """A loop that takes a step when it is told to, and clients of it."""

    def __init__(self, loop: Loop, sockets: Sockets, stack: ExitStack) -> None:
        self._loop, self._sockets, self._stack = loop, sockets, stack
        self.steps = 0

    def client(self, bundle: JoinBundle) -> WireClient:
        """One more, which is welcome."""
        client = self._stack.enter_context(WireClient(bundle))
        assert client.socket.wait_connected(WITHIN_S).state == "connected", client.socket.link
        client.send(ClientHello(PROTOCOL_VERSION, "test"))
        assert isinstance(self.next(client), ClientWelcome)
        return client

    def step(self) -> None:
        self._loop.step()
        self.steps += 1

    def comes_in(self) -> None:
        """Wait until the scheduler has something to read."""
        assert self._sockets.clients.socket.poll(int(WITHIN_S * 1000))

    def next(self, client: WireClient) -> ToClient:
        """What it is told next, after as many steps as that takes."""
        until(lambda: self.step_until_told(client), "an answer")
        return client.inbox.pop(0)

    def step_until_told(self, client: WireClient) -> bool:
        """Whether it was told something; if not, one more step was taken."""
        if client.receive():
            return True
        self.step()
        return False

    def ask(self, client: WireClient, request: Request) -> Tell:
        client.start(request)
        told = self.next(client)
        assert isinstance(told, Tell)
        return told


@pytest.fixture
def stepped(directory: SiteDirectory, state: Path) -> Iterator[Stepped]:
    site, clock = read_site(directory.path), Slow()
    members = Authorized(directory.path / AUTHORIZED, site.roles)
    with ExitStack() as stack:
        sockets = open_sockets(site, load_keys(directory.path / SCHEDULER_KEY), members)
        stack.callback(sockets.close)
        door = stack.enter_context(closing(HttpBridge(site.http)))
        config = SchedulerConfig(site_dir=directory.path, state_dir=state)
        store, saved, cluster = restore(config, site, "")
        stack.callback(store.close)
        beside = stack.enter_context(closing(Background.of(site, door, store, saved, clock)))
        beside.start(store)
        fatal = Fatal(state / FATAL_NAME, 0.0)
        loop = Loop(cluster, store, sockets, members, beside, clock, fatal)
        stack.enter_context(closing(loop))
        yield Stepped(loop, sockets, stack)


def test_others_are_answered_between_the_parts_of_a_question(
    stepped: Stepped, directory: SiteDirectory
) -> None:
    ada, bob = (stepped.client(directory.bundle(name)) for name in ("ada", "bob"))
    submitted = stepped.ask(ada, Submit(job().build(), "token")).answer
    assert isinstance(submitted, Submitted)
    ada.start(Explain(submitted.job))
    stepped.comes_in()
    stepped.step()
    assert isinstance(stepped.ask(bob, GetPower()).answer, Power)
    assert not ada.receive()
    explained = stepped.next(ada)
    assert isinstance(explained, Tell)
    assert isinstance(explained.answer, Explained)
    assert explained.answer.explain.state == "PENDING"


FLOOD = 40
ROUND = 10
"""Steps in each of which one thing is served: of two lanes of another member, and of its own."""


def test_a_flood_of_one_member_costs_another_one_a_round_of_turns(
    stepped: Stepped, directory: SiteDirectory
) -> None:
    ada, *floods = (stepped.client(directory.bundle(name)) for name in ("ada", "bob", "bob"))
    for request in (ListEvents(-10_000, 10_000), ListJobs(), GetSite(), GetPower()) * FLOOD:
        for flood in floods:
            flood.start(request)
    stepped.comes_in()
    stepped.step()
    for number in range(5):
        began = stepped.steps
        submitted = stepped.ask(ada, Submit(job().build(), str(number))).answer
        assert isinstance(submitted, Submitted)
        assert stepped.steps - began <= ROUND, "2 × 4 × 40 requests of another member wait"
    until(lambda: stepped.step_until_told(floods[0]), "the flood is answered beside it")
