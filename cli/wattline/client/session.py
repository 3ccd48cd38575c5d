"""The thread that owns a client's socket: greeting, requests out, answers in."""

import logging
import threading
import time

import msgspec
import zmq

from wattline.client.errors import Refused
from wattline.client.link import Link
from wattline_protocol.job.sent_keys import sent_keys
from wattline_protocol.release import SAME_RELEASE, release
from wattline_protocol.wire.agent_messages import PROTOCOL_VERSION
from wattline_protocol.wire.agent_messages import Refused as RefusedMessage
from wattline_protocol.wire.client_messages import (
    Answer,
    Ask,
    ClientHello,
    ClientWelcome,
    Denied,
    FromClient,
    Response,
    Submit,
    ToClient,
    WhatIf,
)
from wattline_protocol.wire.codec import Codec, MalformedMessage
from wattline_protocol.wire.malformed import unknown_word
from wattline_protocol.wire.subscriptions import Seen, Unwatch
from wattline_protocol.wire.transport import ClientSocket

log = logging.getLogger(__name__)

REHELLO_PERIOD_S = 1.0
"""Interval of greeting a scheduler that does not know this connection (any more)."""

POLL_MS = 250
"""The thread checks by itself this often; everything else wakes it at once."""

MAX_TEXT_SHOWN = 60
"""Characters shown of a text that cannot be sent."""

EARLIER = "of an earlier release"
"""Schedulers that do not name theirs."""

UNWATCH_ASK = 0
"""Number of requests whose answers are not needed."""


class Session:
    """Serves one link over `socket` until the link is closing, in a thread of its own."""

    def __init__(self, link: Link, socket: ClientSocket, user: str) -> None:
        self._link, self._socket, self._user = link, socket, user
        self._connections = 0
        self._is_welcome = False
        self._scheduler = EARLIER
        """Its release."""
        self._greeted_mono_s = 0.0
        self._out: Codec[FromClient] = Codec(FromClient)
        self._in: Codec[ToClient] = Codec(ToClient)
        self.thread = threading.Thread(target=self._run, name="wattline-client", daemon=True)

    def _run(self) -> None:
        try:
            self._serve()
        except Exception as error:
            # A caller that waits for an answer would wait for ever.
            log.exception("the thread of the client failed")
            self._link.refuse(Refused(f"the client failed: {error!r}; this is a bug of Wattline"))
        finally:
            self._socket.close()

    def _serve(self) -> None:
        poller = zmq.Poller()
        for readable in (self._socket.socket, self._socket.monitor, self._link.waiter):
            poller.register(readable, zmq.POLLIN)
        while not self._link.closing:
            ready = dict(poller.poll(POLL_MS))
            if self._link.waiter in ready:
                self._link.take_wakeups()
            self._track_connection()
            for data in self._socket.recv_batch():
                self._receive(data)
            self._send_waiting()

    def _track_connection(self) -> None:
        state = self._socket.link
        if state.state == "refused":
            self._link.refuse(
                Refused(
                    f"{state.detail}; this is the key of {self._user}. "
                    "An admin makes a new bundle with `wattline enroll`"
                )
            )
        elif state.state == "connecting":
            self._is_welcome = False
            self._link.trouble = state.detail
        elif state.connections != self._connections:
            self._connections = state.connections
            self._is_welcome = False
            self._greet()
        elif not self._is_welcome and self._since_greeting_s() >= REHELLO_PERIOD_S:
            self._greet()

    def _since_greeting_s(self) -> float:
        return time.monotonic() - self._greeted_mono_s

    def _greet(self) -> None:
        self._greeted_mono_s = time.monotonic()
        self._send(ClientHello(PROTOCOL_VERSION, release()))

    def _receive(self, data: bytes) -> None:
        try:
            message = self._in.decode(data)
        except MalformedMessage as error:
            self._link.refuse(
                Refused(
                    f"the scheduler sent what this client cannot read ({error}); {self._releases()}"
                )
            )
        else:
            self._take(message)

    def _take(self, message: ToClient) -> None:
        match message:
            case ClientWelcome() if self._is_welcome:
                self._link.renewed(message)
            case ClientWelcome():
                self._is_welcome = True
                self._scheduler = message.release or EARLIER
                self._note_clock(message)
                self._link.welcomed(message)
            case Response(ask=ask, answer=answer, is_last=is_last):
                self._link.answered(ask, self._in_words(answer), is_last=is_last)
            case RefusedMessage(reason=reason) if not self._is_welcome:
                self._link.refuse(Refused(f"the scheduler refused this client: {reason}"))
            case RefusedMessage():
                # The scheduler has lost this connection: greet it again, everything is sent again.
                self._is_welcome = False

    def _releases(self) -> str:
        """Two releases that do not understand each other, and what helps."""
        return f"the client is {release()}, the scheduler {self._scheduler}: {SAME_RELEASE}"

    def _in_words(self, answer: Answer) -> Answer:
        """The refusal of an earlier scheduler, which repeats its decoder's text alone."""
        word = unknown_word(answer.reason) if isinstance(answer, Denied) else ""
        if not isinstance(answer, Denied) or not word:
            return answer
        text = f"the scheduler does not know {word}; {self._releases()}"
        return msgspec.structs.replace(answer, reason=text)

    def _note_clock(self, welcome: ClientWelcome) -> None:
        """Cristian's estimate: the scheduler read its clock half way between request and answer.

        Off by half of the round-trip time, at most.
        """
        if welcome.unix_s:
            half_way_s = self._since_greeting_s() / 2
            self._link.clock_offset_s = time.time() - half_way_s - welcome.unix_s

    def _send_waiting(self) -> None:
        if not self._is_welcome:
            return
        for ask in self._link.take_dropped():
            self._send(Ask(UNWATCH_ASK, Unwatch(ask)))
        for ask in self._link.take_seen():
            self._send(Ask(UNWATCH_ASK, Seen(ask)))
        for pending in self._link.take_unsent():
            try:
                self._send_bytes(self._checked(Ask(pending.ask, pending.request)))
            except (TypeError, ValueError) as error:  # its caller gets the error; others continue
                denied = Denied("bad_request", f"the request cannot be sent: {_why_not(error)}")
                self._link.answered(pending.ask, denied, is_last=True)

    def _checked(self, ask: Ask) -> bytes:
        """Decoded as by the scheduler, which drops invalid messages without an answer.

        Raises TypeError or ValueError for an invalid message: a value of another type, too large,
        or text that is not UTF-8.
        """
        request = ask.request
        if isinstance(request, Submit | WhatIf):
            request = msgspec.structs.replace(request, spec=sent_keys(request.spec))
        data = self._out.encode(msgspec.structs.replace(ask, request=request))
        self._out.decode(data)
        return data

    def _send(self, message: FromClient) -> None:
        self._send_bytes(self._out.encode(message))

    def _send_bytes(self, data: bytes) -> None:
        if not self._socket.send(data):
            # No connection (any more): the next welcome sends everything again.
            self._is_welcome = False


def _why_not(error: TypeError | ValueError) -> str:
    if isinstance(error, UnicodeEncodeError):
        return f"{error.object[:MAX_TEXT_SHOWN]!a} is not UTF-8"
    return str(error)
