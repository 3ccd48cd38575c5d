"""Authentication of one server socket: decides on connections before any of their data is parsed.

libzmq queries a ZAP handler (RFC 27) with the public key of every CURVE handshake. This is that
handler: one thread per server socket, in a ZeroMQ context of its own, so that handshakes continue
while the program computes, and one socket's allow-list can never apply to another's. libzmq
attaches the User-Id of the reply (the public key) to each message of that connection: the peer
cannot forge another. The thread also reads the socket's monitor, which reports handshakes that
failed before ZAP was queried (no CURVE, wrong server key, garbage).
"""

import threading
from collections.abc import Callable

import zmq
import zmq.utils.monitor
from zmq.utils import z85

from wattline_protocol.trust.refusals import RefusalReason, Refusals

ZAP_ENDPOINT = "inproc://zeromq.zap.01"
_CONTROL_ENDPOINT = "inproc://door-control"
_ZAP_VERSION = b"1.0"
_OK, _DENIED, _FAILED = (b"200", b"400", b"500")
_RAW_KEY_BYTES = 32

Context = zmq.Context[zmq.Socket[bytes]]
Verdict = tuple[RefusalReason, str] | None
"""Why a key is refused (reason, sentence); None: it may connect."""


class ZapHandler:
    """Answers every handshake in `context` by `judge`, in a thread of its own."""

    def __init__(
        self,
        context: Context,
        monitored: zmq.Socket[bytes],
        judge: Callable[[str], Verdict],
        refusals: Refusals,
    ) -> None:
        """`judge` gets a public key (z85). It is called from the handler's thread."""
        self._judge = judge
        self._refusals = refusals
        self._monitored = monitored
        self._failure: BaseException | None = None
        self._zap = context.socket(zmq.REP)
        self._zap.linger = 0
        self._zap.bind(ZAP_ENDPOINT)
        self._control = context.socket(zmq.PAIR)
        self._control.bind(_CONTROL_ENDPOINT)
        self._controlled = context.socket(zmq.PAIR)
        self._controlled.connect(_CONTROL_ENDPOINT)
        # Refusals by ZAP have their own event; a subscription here would count them twice.
        events = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
        self._monitor = monitored.get_monitor_socket(events)
        self._thread = threading.Thread(target=self._run, name="wattline-zap", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises RuntimeError when the handler's thread has ended by an error."""
        if self._failure is not None:
            raise RuntimeError("the thread that admits connections has ended") from self._failure

    def close(self) -> None:
        """Stop answering. The monitor is closed first, while its events are still being read."""
        self._monitored.disable_monitor()
        if self._thread.is_alive():
            self._control.send(b"")
            self._thread.join()
        for socket in (self._control, self._controlled, self._zap, self._monitor):
            socket.close(0)

    def _run(self) -> None:
        try:
            poller = zmq.Poller()
            for socket in (self._zap, self._monitor, self._controlled):
                poller.register(socket, zmq.POLLIN)
            while True:
                ready = dict(poller.poll())
                if self._zap in ready:
                    self._zap.send_multipart(self._reply(self._zap.recv_multipart()))
                if self._monitor in ready and not self._note_event():
                    poller.unregister(self._monitor)
                if self._controlled in ready:
                    return
        except Exception as error:  # stored for check(): the socket's owner must learn of it
            self._failure = error

    def _reply(self, request: list[bytes]) -> list[bytes]:
        request_id = request[1] if len(request) > 1 else b""
        status, text, user = self._answer(request)
        return [_ZAP_VERSION, request_id, status, text.encode(), user.encode(), b""]

    def _answer(self, request: list[bytes]) -> tuple[bytes, str, str]:
        """Status, text and User-Id for one ZAP request."""
        if len(request) != 7 or request[0] != _ZAP_VERSION or request[5] != b"CURVE":
            self._refusals.add("bad_handshake", "unknown", "a handshake without CURVE")
            return _DENIED, "CURVE only", ""
        address, key = request[3].decode(errors="replace"), request[6]
        if len(key) != _RAW_KEY_BYTES:
            self._refusals.add("bad_handshake", address, f"a key of {len(key)} bytes")
            return _DENIED, "not a key", ""
        public_key = z85.encode(key).decode("ascii")
        try:
            verdict = self._judge(public_key)
        except Exception as error:  # one failed look-up must not block all members
            self._refusals.add("door_failed", address, f"looking up {public_key}: {error!r}")
            return _FAILED, "try again later", ""
        if verdict is None:
            return _OK, "OK", public_key
        reason, sentence = verdict
        self._refusals.add(reason, address, sentence)
        return _DENIED, reason, ""

    def _note_event(self) -> bool:
        """Count a failed handshake; False when the monitor has ended."""
        event = zmq.utils.monitor.recv_monitor_message(self._monitor)
        if event["event"] == zmq.EVENT_MONITOR_STOPPED:
            return False
        self._refusals.add(
            "bad_handshake",
            event["endpoint"].decode(errors="replace"),
            "a connection without a CURVE handshake for this server's key",
        )
        return True
