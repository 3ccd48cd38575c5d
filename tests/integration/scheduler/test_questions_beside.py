"""The loop over real sockets: others are answered between the parts of a question."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from support.live_scheduler import WITHIN_S, SiteDirectory, WireClient, until
from support.sites import job
from wattline_protocol.ids import Instant, Now
from wattline_protocol.keys import JoinBundle, load_keys
from wattline_protocol.members import AUTHORIZED, SCHEDULER_KEY, Authorized
from wattline_protocol.messages import PROTOCOL_VERSION
from wattline_protocol.requests import (
    Answer,
    ClientHello,
    ClientWelcome,
    Explain,
    Explained,
    ListNodes,
    Nodes,
    Request,
    Submit,
    Submitted,
    Tell,
    ToClient,
)
from wattline_scheduler.shell.beside import Beside
from wattline_scheduler.shell.config import SchedulerConfig
from wattline_scheduler.shell.door.desk import DoorDesk
from wattline_scheduler.shell.loop import Loop, Sockets
from wattline_scheduler.shell.questions import TURN_S
from wattline_scheduler.shell.run import open_sockets, read_clock, read_site, restore


class Slow:
    """A clock by which a turn is over at each second look."""

    def __init__(self) -> None:
        self._looks = 0

    def __call__(self) -> Now:
        self._looks += 1
        now = read_clock()
        return Now(Instant(now.mono_s + self._looks * TURN_S), now.unix_s)


class Stepped:
    """A loop that takes a step when it is told to, and a client of it."""

    def __init__(self, loop: Loop, sockets: Sockets, client: WireClient) -> None:
        self._loop, self._sockets, self.client = loop, sockets, client

    def step_with(self, request: Request) -> int:
        """One step, in which the request comes in; the ask's number."""
        ask = self.client.start(request)
        assert self._sockets.clients.socket.poll(int(WITHIN_S * 1000))
        self._loop.step()
        return ask

    def next(self) -> ToClient:
        """What the client is told next, after as many steps as that takes."""
        until(self._is_told, "an answer")
        return self.client.inbox.pop(0)

    def _is_told(self) -> bool:
        self._loop.step()
        return self.client.receive()

    def ask(self, request: Request) -> Answer:
        self.client.start(request)
        told = self.next()
        assert isinstance(told, Tell)
        return told.answer


@pytest.fixture
def stepped(directory: SiteDirectory, state: Path, ada: JoinBundle) -> Iterator[Stepped]:
    site, clock = read_site(directory.path), Slow()
    members = Authorized(directory.path / AUTHORIZED, site.roles)
    with ExitStack() as stack:
        sockets = open_sockets(site, load_keys(directory.path / SCHEDULER_KEY), members)
        stack.callback(sockets.close)
        door = stack.enter_context(closing(DoorDesk(site.http)))
        config = SchedulerConfig(site_dir=directory.path, state_dir=state)
        store, saved, cluster = restore(config, site, "")
        stack.callback(store.close)
        beside = stack.enter_context(closing(Beside.of(site, door, store, saved, clock)))
        beside.start(store)
        loop = stack.enter_context(closing(Loop(cluster, store, sockets, members, beside, clock)))
        client = stack.enter_context(WireClient(ada))
        stepped = Stepped(loop, sockets, client)
        assert client.socket.wait_connected(WITHIN_S).state == "connected", client.socket.link
        client.send(ClientHello(PROTOCOL_VERSION, "test"))
        assert isinstance(stepped.next(), ClientWelcome)
        yield stepped


def test_others_are_answered_between_the_parts_of_a_question(stepped: Stepped) -> None:
    submitted = stepped.ask(Submit(job().build(), "token"))
    assert isinstance(submitted, Submitted)
    asked = stepped.step_with(Explain(submitted.job))
    listed = stepped.step_with(ListNodes())
    first, second = stepped.client.next(), stepped.next()
    assert isinstance(first, Tell)
    assert isinstance(second, Tell)
    assert (first.ask, second.ask) == (listed, asked)
    assert isinstance(first.answer, Nodes)
    assert isinstance(second.answer, Explained)
    assert second.answer.explain.state == "PENDING"
