"""A real scheduler process on loopback, and agents and clients that talk to it over CURVE."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Self

import msgspec

from support.programs.fake_agents import FakeAgent
from support.programs.ports import free_ports
from wattline_protocol.ids import NodeId
from wattline_protocol.site.model import Role, RunAs, Site
from wattline_protocol.site.text import format_site
from wattline_protocol.trust.keys import JoinBundle
from wattline_protocol.trust.members import enroll, init_site_keys
from wattline_protocol.wire.agent_messages import PROTOCOL_VERSION, FromAgent, Refused, ToAgent
from wattline_protocol.wire.client_messages import (
    Answer,
    Ask,
    ClientHello,
    ClientWelcome,
    FromClient,
    Request,
    Response,
    ToClient,
)
from wattline_protocol.wire.codec import Codec
from wattline_protocol.wire.transport import ClientSocket

WITHIN_S = 60.0
"""Everything on loopback happens well before; the machine may be busy."""
LOOK_AGAIN_S = 0.005
"""A client that asks without a pause is refused for its rate, and starves what it waits for."""


def until(true: Callable[[], object], what: str, within_s: float = WITHIN_S) -> None:
    """Wait until `true()`; `what` names it when time is up."""
    deadline = time.monotonic() + within_s
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {what}")
        time.sleep(LOOK_AGAIN_S)


def free_endpoints(count: int) -> list[str]:
    """Loopback endpoints that nothing listens on."""
    first = free_ports(count)
    return [f"tcp://127.0.0.1:{port}" for port in range(first, first + count)]


MEMBERS: dict[str, Role] = {
    "ada": "submitter",
    "bob": "submitter",
    "ops": "operator",
    "gate": "gateway",
    "z9": "agent",
}
"""Enrolled in every site directory, beside an agent for each node; z9 is no node of the site."""


class SiteDirectory:
    """A site directory with members, as `wattline init` and `enroll` leave it."""

    def __init__(self, path: Path, site: Site) -> None:
        self.path = path
        agents, clients = free_endpoints(2)
        self.site = msgspec.structs.replace(
            site,
            agent_endpoint=agents,
            client_endpoint=clients,
            run_as=site.run_as or RunAs(others="keeper"),  # tests of ours, also as root
        )
        path.mkdir(parents=True)
        (path / "site.toml").write_text(format_site(self.site), encoding="utf-8")
        self.keys = init_site_keys(path)
        roles: dict[str, Role] = {**MEMBERS, **{node.id: "agent" for node in site.nodes}}
        self._bundles = {name: self._enroll(name, role) for name, role in roles.items()}

    def bundle(self, name: str) -> JoinBundle:
        """A member's bundle."""
        return self._bundles[name]

    def _enroll(self, name: str, role: Role) -> JoinBundle:
        return enroll(
            self.path,
            name,
            role,
            site=self.site.name,
            agent_endpoint=self.site.agent_endpoint,
            client_endpoint=self.site.client_endpoint,
            bundle_path=self.path / f"{name}.bundle",
        )


class SchedulerProcess:
    """`python -m wattline_scheduler`; its log lines are kept."""

    def __init__(
        self, site: Path, state: Path, *options: str, within: tuple[str, ...] = ()
    ) -> None:
        """`within`: see `small_disk`."""
        command = [*within, sys.executable, "-m", "wattline_scheduler", "--site", str(site)]
        self.process = subprocess.Popen(
            [*command, "--state", str(state), *options],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONDEVMODE": ""},
        )
        self.lines: list[dict[str, Any]] = []
        self._fresh: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                reported = (
                    json.loads(line) if line.startswith("{") else {"event": "raw", "text": line}
                )
                self.lines.append(reported)
                self._fresh.put(reported)

    def wait_for(self, event: str, within_s: float = WITHIN_S) -> dict[str, Any]:
        """The next log line of that name."""
        deadline = time.monotonic() + within_s
        while True:
            try:
                line = self._fresh.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                raise AssertionError(f"no {event} in the log: {self.lines}") from None
            if line["event"] == event:
                return line

    def ready(self) -> Self:
        """Wait until it serves."""
        self.wait_for("scheduler_ready")
        return self

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.gone()

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.gone()

    def gone(self, within_s: float = WITHIN_S) -> int:
        """Wait for its end; the exit status."""
        status = self.process.wait(within_s)
        self._reader.join(within_s)
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.gone()


class WireClient:
    """A client that asks one thing after the other."""

    def __init__(self, bundle: JoinBundle, *, protocol: int = PROTOCOL_VERSION) -> None:
        self.socket = ClientSocket(bundle.client_endpoint, bundle.keys, bundle.scheduler_public_key)
        self._out: Codec[FromClient] = Codec(FromClient)
        self._in: Codec[ToClient] = Codec(ToClient)
        self._asks = 0
        self.protocol = protocol
        self.inbox: list[ToClient] = []

    def greet(self) -> ClientWelcome | Refused:
        """Say hello; what was answered."""
        assert self.socket.wait_connected(WITHIN_S).state == "connected", self.socket.link
        self.send(ClientHello(self.protocol, "test"))
        answer = self.next()
        assert isinstance(answer, ClientWelcome | Refused), answer
        return answer

    def welcomed(self) -> Self:
        """Say hello, and be welcome."""
        assert isinstance(self.greet(), ClientWelcome)
        return self

    def send(self, message: FromClient) -> None:
        self.send_bytes(self._out.encode(message))

    def send_bytes(self, data: bytes) -> None:
        assert self.socket.send(data)

    def start(self, request: Request) -> int:
        """Ask without waiting; the ask's number."""
        self._asks += 1
        self.send(Ask(self._asks, request))
        return self._asks

    def ask(self, request: Request) -> Answer:
        """Ask and wait for the answer."""
        number = self.start(request)
        while True:
            reported = self.next()
            assert isinstance(reported, Response), reported
            if reported.ask == number:
                return reported.answer

    def next(self, within_s: float = WITHIN_S) -> ToClient:
        """The next message."""
        until(self.receive, "an answer", within_s)
        return self.inbox.pop(0)

    def receive(self) -> bool:
        """Take in what has come; whether anything is there."""
        if not self.inbox and self.socket.poll(0.05):
            self.inbox += [self._in.decode(data) for data in self.socket.recv_batch()]
        return bool(self.inbox)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


class WireAgent:
    """A fake agent on a real socket."""

    def __init__(self, bundle: JoinBundle, **changes: Any) -> None:
        self.fake = FakeAgent(NodeId(bundle.name), **changes)
        self.socket = ClientSocket(bundle.agent_endpoint, bundle.keys, bundle.scheduler_public_key)
        self._out: Codec[FromAgent] = Codec(FromAgent)
        self._in: Codec[ToAgent] = Codec(ToAgent)
        self.heard: list[ToAgent] = []

    def connected(self) -> Self:
        """Wait for the connection."""
        assert self.socket.wait_connected(WITHIN_S).state == "connected", self.socket.link
        return self

    def join(self) -> Self:
        """Hello until adopted."""
        self.connected()
        self.fake.say_hello()
        until(lambda: self.pump() and self.fake.incarnation > 0, "a Welcome")
        return self

    def send(self, message: FromAgent) -> None:
        self.send_bytes(self._out.encode(message))

    def send_bytes(self, data: bytes) -> None:
        assert self.socket.send(data)

    def pump(self, wait_s: float = 0.02) -> bool:
        """Deliver both ways what there is now."""
        said, self.fake.said = self.fake.said, []
        for message in said:
            self.send(message)
        if self.socket.poll(wait_s):
            for data in self.socket.recv_batch():
                reported = self._in.decode(data)
                self.heard.append(reported)
                self.fake.deliver(reported)
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def pump_until(
    agents: Sequence[WireAgent], true: Callable[[], object], what: str, within_s: float = WITHIN_S
) -> None:
    """Let agents talk, with a beat each half second, until `true()`."""
    beat_at = time.monotonic()

    def step() -> object:
        nonlocal beat_at
        if time.monotonic() >= beat_at:
            beat_at = time.monotonic() + 0.5
            for agent in agents:
                if agent.fake.incarnation:
                    agent.fake.say_beat()
        for agent in agents:
            agent.pump()
        return true()

    until(step, what, within_s)
