"""The scheduler's loop over real sockets, in the test's thread, a step at a time."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from support.programs.live_scheduler import WITHIN_S, SiteDirectory, WireClient, until
from wattline_protocol.ids import Now
from wattline_protocol.trust.keys import JoinBundle, load_keys
from wattline_protocol.trust.members import AUTHORIZED, SCHEDULER_KEY, Authorized
from wattline_protocol.wire.agent_messages import PROTOCOL_VERSION
from wattline_protocol.wire.client_messages import ClientHello, ClientWelcome, Request, Response
from wattline_scheduler.shell.background import Background
from wattline_scheduler.shell.config import SchedulerConfig
from wattline_scheduler.shell.fatal_messages import FATAL_NAME, FatalMessages
from wattline_scheduler.shell.http_api.http_bridge import HttpBridge
from wattline_scheduler.shell.loop import Loop
from wattline_scheduler.shell.run import open_sockets, read_clock, read_site, restore
from wattline_scheduler.shell.sockets import Sockets


class SteppedLoop:
    """A loop that takes a step on request, and clients of it."""

    def __init__(
        self, loop: Loop, sockets: Sockets, fatal: FatalMessages, stack: ExitStack
    ) -> None:
        self.loop, self.sockets, self.fatal, self.stack = loop, sockets, fatal, stack
        self.steps = 0

    def client(self, bundle: JoinBundle) -> WireClient:
        """One more, which is welcome."""
        client = self.stack.enter_context(WireClient(bundle))
        assert client.socket.wait_connected(WITHIN_S).state == "connected", client.socket.link
        client.send(ClientHello(PROTOCOL_VERSION, "test"))
        assert isinstance(self.next(client), ClientWelcome)
        return client

    def step(self) -> None:
        """One step."""
        self.loop.step()
        self.steps += 1

    def next(self, peer: Any) -> Any:
        """What a peer gets next, after as many steps as that takes."""
        until(lambda: self.step_until_told(peer), "an answer")
        return peer.inbox.pop(0)

    def step_until_told(self, peer: Any) -> bool:
        """Whether it got something; if not, one more step was taken."""
        if peer.receive():
            return True
        self.step()
        return False

    def ask(self, client: WireClient, request: Request) -> Response:
        """Ask, and step until it is answered."""
        client.start(request)
        reported = self.next(client)
        assert isinstance(reported, Response)
        return reported


L = TypeVar("L", bound=SteppedLoop)


@contextmanager
def stepped_loop(
    kind: type[L], directory: SiteDirectory, state: Path, clock: Callable[[], Now] = read_clock
) -> Iterator[L]:
    """Such a loop for a block. What it opens is closed, but not the loop itself."""
    site = read_site(directory.path)
    members = Authorized(directory.path / AUTHORIZED, site.roles)
    with ExitStack() as stack:
        sockets = open_sockets(site, load_keys(directory.path / SCHEDULER_KEY), members)
        stack.callback(sockets.close)
        door = stack.enter_context(closing(HttpBridge(site.http)))
        config = SchedulerConfig(site_dir=directory.path, state_dir=state)
        store, saved, cluster = restore(config, site, {})
        stack.callback(store.close)
        beside = stack.enter_context(closing(Background.of(site, door, store, saved, clock)))
        beside.start(store)
        fatal = FatalMessages(state / FATAL_NAME, read_clock().unix_s)
        yield kind(
            Loop(cluster, store, sockets, members, beside, clock, fatal), sockets, fatal, stack
        )
