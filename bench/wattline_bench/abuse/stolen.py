"""A connection made with a stolen key, from the attacker's address: says any bytes."""

import time
from collections.abc import Callable
from typing import Self

import zmq

from wattline_bench.abuse.attack import SOURCE
from wattline_protocol.trust.keys import JoinBundle
from wattline_protocol.wire.agent_messages import PROTOCOL_VERSION
from wattline_protocol.wire.client_messages import (
    Answer,
    Ask,
    ClientHello,
    FromClient,
    Request,
    Response,
    ToClient,
)
from wattline_protocol.wire.codec import Codec

OUT: Codec[FromClient] = Codec(FromClient)
IN: Codec[ToClient] = Codec(ToClient)

POLL_MS = 20
RECEIVE_AT_ONCE = 100
RECEIVE_BYTES = 4096
"""Of a connection that is not read."""


def from_source(endpoint: str) -> str:
    """`endpoint` for `zmq_connect`, from the attacker's address."""
    return endpoint.replace("tcp://", f"tcp://{SOURCE}:0;", 1)


def hello() -> bytes:
    """A client's first word."""
    return OUT.encode(ClientHello(PROTOCOL_VERSION, "attacker"))


def asked(number: int, request: Request) -> bytes:
    """One request as bytes."""
    return OUT.encode(Ask(number, request))


class Connection:
    """A DEALER without any of the limits that honest programs keep."""

    def __init__(self, bundle: JoinBundle, endpoint: str, *, is_read: bool = True) -> None:
        """`is_read`: False takes next to nothing from the network until `heard` is called."""
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.curve_serverkey = bundle.scheduler_public_key.encode()
        self._socket.curve_publickey = bundle.public_key.encode()
        self._socket.curve_secretkey = bundle.secret_key.encode()
        self._socket.immediate = True
        if not is_read:
            self._socket.rcvhwm, self._socket.rcvbuf = 1, RECEIVE_BYTES
        self._socket.connect(from_source(endpoint))

    def say(self, data: bytes, until_s: float) -> bool:
        """Send, waiting for room until then."""
        while time.monotonic() < until_s:
            try:
                self._socket.send(data, zmq.DONTWAIT)
            except zmq.Again:
                self._socket.poll(POLL_MS, zmq.POLLOUT)
                continue
            return True
        return False

    def heard(self, wait_ms: int = 0) -> list[bytes]:
        """What came in, waiting for the first one at most so long."""
        batch: list[bytes] = []
        if wait_ms and not self._socket.poll(wait_ms):
            return batch
        for _ in range(RECEIVE_AT_ONCE):
            try:
                batch.append(self._socket.recv(zmq.DONTWAIT))
            except zmq.Again:
                break
        return batch

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._context.term()


def responses(batch: list[bytes]) -> list[Response]:
    """Those of what came in."""
    return [one for data in batch if isinstance(one := IN.decode(data), Response)]


def answered(
    connection: Connection, number: int, request: Request, until_s: float
) -> Answer | None:
    """The first answer to a request; None = there was none by then."""
    connection.say(asked(number, request), until_s)
    while time.monotonic() < until_s:
        for response in responses(connection.heard(POLL_MS)):
            if response.ask == number:
                return response.answer
    return None


def flood(
    bundle: JoinBundle, until_s: float, request: Callable[[int], Request], *, under_way: int
) -> int:
    """Keep so many requests under way until then; how many were sent."""
    with Connection(bundle, bundle.client_endpoint) as connection:
        connection.say(hello(), until_s)
        sent, answered = 0, -1  # the first answer is the greeting's
        while time.monotonic() < until_s:
            if sent - answered < under_way:
                sent += connection.say(asked(sent, request(sent)), until_s)
                answered += len(connection.heard())
            else:
                answered += len(connection.heard(POLL_MS))
        return sent
