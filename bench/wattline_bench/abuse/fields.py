"""Every field of every message with extremes, by the key of a submitter and by that of an agent."""

import itertools
import secrets
import time
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from wattline_bench.abuse.attack import Attack, Target
from wattline_bench.abuse.extremes import Extreme, extremes
from wattline_bench.abuse.stolen import Connection, hello
from wattline_protocol.trust.keys import JoinBundle
from wattline_protocol.wire.agent_messages import PROTOCOL_VERSION, FromAgent, ToAgent, Welcome
from wattline_protocol.wire.client_messages import FromClient
from wattline_protocol.wire.codec import Codec

IN: Codec[ToAgent] = Codec(ToAgent)

PER_S = 800
"""Fewer than are taken of one member: what is above that is dropped unread."""
PACE = 40
PASSES = 7
"""An attack that ends early has come by every field; 45 s are enough for all values of each."""
WELCOME_MS = 500


def _paced(some: Iterable[Extreme], until_s: float) -> Iterator[Extreme]:
    """As many a second as are read, until then."""
    began_s = time.monotonic()
    for number, one in enumerate(some):
        if number % PACE == 0:
            time.sleep(max(0.0, began_s + number / PER_S - time.monotonic()))
        if time.monotonic() >= until_s:
            return
        yield one


def _chosen(union: Any, step: int | None) -> Iterator[Extreme]:
    """One of so many; None: all of them, in passes that each come by every field."""
    if step is not None:
        return extremes(union, step=step)
    passes = (extremes(union, step=PASSES, first=number) for number in range(PASSES))
    return itertools.chain.from_iterable(passes)


def by_submitter(bundle: JoinBundle, until_s: float, *, step: int | None = None) -> int:
    """Of what a client may say; how many were sent."""
    sent = 0
    with Connection(bundle, bundle.client_endpoint) as connection:
        connection.say(hello(), until_s)
        for sent, one in enumerate(_paced(_chosen(FromClient, step), until_s), 1):
            message = one.message
            if one.path[0] != "ask" and "ask" in message:
                message = {**message, "ask": sent}
            connection.say(msgspec.msgpack.encode(message), until_s)
            connection.heard()
    return sent


class Impostor:
    """A connection with an agent's key that is welcome, whatever it says."""

    def __init__(self, bundle: JoinBundle, connection: Connection, until_s: float) -> None:
        self._node, self._connection, self._until_s = bundle.name, connection, until_s
        self._numbers = itertools.count(1)
        self._welcome: Welcome | None = None

    def greet(self) -> None:
        """Say Hello, and adopt what comes of it."""
        self.say(
            {
                "t": "hello",
                "protocol": PROTOCOL_VERSION,
                "agent_version": "x",
                "boot_id": "x",
                "hostname": "x",
                "cpus": 64,
                "memory_bytes": 2**36,
                "gpus": [],
            },
            ("cpus",),
        )
        self._take(self._connection.heard(WELCOME_MS))

    def say(self, message: dict[str, Any], walked: tuple[str | int, ...]) -> None:
        """With the names under which it is believed, but for what is walked."""
        given = {
            "node": self._node,
            "nonce": secrets.token_bytes(16),
            "protocol": PROTOCOL_VERSION,
            "seq": next(self._numbers),
        }
        if self._welcome is not None:
            given |= {"epoch": self._welcome.epoch, "incarnation": self._welcome.incarnation}
        named = {name: value for name, value in given.items() if _may_name(message, name, walked)}
        self._connection.say(msgspec.msgpack.encode({**message, **named}), self._until_s)

    def listen(self) -> None:
        """Take in what came."""
        self._take(self._connection.heard())

    def _take(self, batch: list[bytes]) -> None:
        welcomes = [one for data in batch if isinstance(one := IN.decode(data), Welcome)]
        if welcomes:
            self._welcome = welcomes[-1]
            adopted = {"t": "adopted", "holding_mw": 0, "caps_mw": [], "tasks": []}
            self.say({**adopted, "epoch": 0, "incarnation": 0}, ("tasks",))


def _may_name(message: dict[str, Any], name: str, walked: tuple[str | int, ...]) -> bool:
    is_hello = message.get("t") == "hello" and name in ("node", "nonce", "protocol")
    return walked[0] != name and (name in message or is_hello)


def by_agent(bundle: JoinBundle, until_s: float, *, step: int | None = None) -> int:
    """Of what an agent may say; how many were sent."""
    sent = 0
    with Connection(bundle, bundle.agent_endpoint) as connection:
        impostor = Impostor(bundle, connection, until_s)
        impostor.greet()
        for one in _paced(_chosen(FromAgent, step), until_s):
            sent += 1
            impostor.say(one.message, one.path)
            impostor.listen()
    return sent


def submitter(target: Target, until_s: float) -> int:
    """Attack with the key of a submitter."""
    return by_submitter(target.submitter, until_s)


def agent(target: Target, until_s: float) -> int:
    """Attack with the key of an agent."""
    return by_agent(target.agent, until_s)


FIELDS = (
    Attack("fields by a submitter's key", submitter),
    Attack("fields by an agent's key", agent),
)
