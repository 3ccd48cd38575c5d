"""The thread that owns a client's socket: handshake, greeting, asks out, answers in."""

import threading
import time
from importlib.metadata import version

import zmq
from wattline_protocol.codec import Codec, MalformedMessage
from wattline_protocol.messages import PROTOCOL_VERSION
from wattline_protocol.messages import Refused as RefusedMessage
from wattline_protocol.requests import (
    Ask,
    ClientHello,
    ClientWelcome,
    FromClient,
    Tell,
    ToClient,
    Unwatch,
)
from zmq.utils.monitor import parse_monitor_message

from wattline.client.errors import Refused
from wattline.client.link import Link, Pending

REHELLO_PERIOD_S = 1.0
"""A scheduler that forgot this connection is greeted again at most this often."""

POLL_MS = 1000
"""The thread looks round by itself this often; everything else wakes it at once."""

UNWATCH_ASK = 0
"""Number of the asks whose answers nobody waits for."""


class Session:
    """Serves one link over `socket` until the link is closing. `run` is the thread's whole life."""

    def __init__(self, link: Link, socket: "zmq.Socket[bytes]", address: str, who: str) -> None:
        self._link, self._socket, self._address, self._who = link, socket, address, who
        self._is_welcome = False
        self._greeted_mono_s = float("-inf")
        self._codec_out: Codec[FromClient] = Codec(FromClient)
        self._codec_in: Codec[ToClient] = Codec(ToClient)
        self.thread = threading.Thread(target=self.run, name="wattline-client", daemon=True)

    def run(self) -> None:
        """Serve until the link closes."""
        socket, waiter = self._socket, self._link.waiter
        monitor = socket.get_monitor_socket()
        socket.connect(self._address)
        poller = zmq.Poller()
        for readable in (socket, monitor, waiter):
            poller.register(readable, zmq.POLLIN)
        try:
            while not self._link.closing:
                ready = dict(poller.poll(POLL_MS))
                if monitor in ready:
                    self._connection_changed(monitor)
                if socket in ready:
                    self._receive()
                if waiter in ready:
                    waiter.recv()
                self._send_waiting()
        finally:
            socket.disable_monitor()
            monitor.close(0)
            socket.close(0)

    def _connection_changed(self, monitor: "zmq.Socket[bytes]") -> None:
        change = parse_monitor_message(monitor.recv_multipart())["event"]
        if change == zmq.Event.HANDSHAKE_SUCCEEDED:
            self._greeted_mono_s = float("-inf")
            self._greet()
        elif change == zmq.Event.DISCONNECTED:
            self._is_welcome = False
        elif change == zmq.Event.HANDSHAKE_FAILED_AUTH:
            self._link.refuse(
                Refused(
                    f"the scheduler at {self._address} does not admit the key of {self._who}; "
                    "ask an admin for a new bundle (`wattline enroll`)"
                )
            )

    def _greet(self) -> None:
        now_s = time.monotonic()
        if now_s - self._greeted_mono_s >= REHELLO_PERIOD_S:
            self._greeted_mono_s = now_s
            self._send(ClientHello(PROTOCOL_VERSION, f"wattline {version('wattline')}"))

    def _receive(self) -> None:
        while True:
            try:
                data = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                message = self._codec_in.decode(data)
            except MalformedMessage as error:
                self._link.refuse(
                    Refused(
                        f"the scheduler at {self._address} sent what this version cannot read "
                        f"({error}); install the same version on both sides"
                    )
                )
                return
            self._take(message)

    def _take(self, message: ToClient) -> None:
        match message:
            case ClientWelcome():
                self._is_welcome = True
                self._link.welcomed(message)
            case Tell(ask=ask, answer=answer, is_last=is_last):
                self._link.answered(ask, answer, is_last=is_last)
            case RefusedMessage(reason=reason) if self._is_welcome:
                # A scheduler that was restarted behind a proxy, or dropped us while idle.
                self._is_welcome = False
                self._greet()
                del reason
            case RefusedMessage(reason=reason):
                self._link.refuse(Refused(f"the scheduler refused this client: {reason}"))

    def _send_waiting(self) -> None:
        if not self._is_welcome:
            return
        for ask in self._link.take_dropped():
            self._send(Ask(UNWATCH_ASK, Unwatch(ask)))
        for pending in self._link.take_unsent():
            self._send_ask(pending)

    def _send_ask(self, pending: Pending) -> None:
        self._send(Ask(pending.ask, pending.request))

    def _send(self, message: FromClient) -> None:
        try:
            self._socket.send(self._codec_out.encode(message), zmq.NOBLOCK)
        except zmq.Again:
            # No connection (any more): the next welcome sends everything again.
            self._is_welcome = False
