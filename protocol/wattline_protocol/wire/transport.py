"""Secure sockets between Wattline's programs: CURVE over ZeroMQ, one reader each.

A `ServerSocket` is a ROUTER that accepts only keys its `allow` knows, in the roles it serves. The
sender of a message is identified by the key that its connection proved (see `zap_handler`), never
by the message, and is looked up again for every batch: a removed key is ignored at once. A
`ClientSocket` is a DEALER that reconnects by itself and carries messages only while it is
connected: the layers above repeat what matters, and old reports are worthless.

Both belong to one thread, which polls and then drains in batches. Neither ever blocks in `send`.
"""

import socket as system_socket
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection
from typing import Literal, NamedTuple, cast

import msgspec
import zmq
import zmq.utils.monitor

from wattline_protocol.text.endpoints import split_endpoint
from wattline_protocol.trust.keys import KeyPair
from wattline_protocol.trust.members import Member
from wattline_protocol.trust.refusals import RateLimit, Refusal, RefusalReason, Refusals
from wattline_protocol.trust.zap_handler import Context, Verdict, ZapHandler
from wattline_protocol.wire.codec import MAX_MESSAGE_BYTES

MAX_BATCH = 1000
"""Messages received at once: enough to make batches cheap, few enough to stay responsive."""
MAX_ROUTES = 65_536
"""Connections remembered for sending; the longest unheard are dropped first."""
MAX_RATE_BUCKETS = 65_536

_GENERATED_ROUTE_BYTES = 5


class TransportError(RuntimeError):
    """A socket that cannot be created; the text names endpoint, reason and remedy."""


class SocketLimits(msgspec.Struct, frozen=True):
    """Bounds of one socket and of each of its connections."""

    max_message_bytes: int = MAX_MESSAGE_BYTES
    """Larger messages are refused; over twice this the connection is cut unread."""
    receive_queue: int = 100
    """Queued messages of a connection; beyond it TCP blocks the sender."""
    send_queue: int = 200
    """Messages queued for a slow reader; beyond it `send` returns False."""
    messages_per_s: float = 1000.0
    """A member's sustained rate over all its connections; messages above it are lost."""
    burst: int = 5000
    handshake_s: float = 10.0
    """A connection that has not proved a key by then is cut."""
    heartbeat_s: float = 10.0
    silence_s: float = 30.0
    """A peer that sends and acknowledges nothing for this long is disconnected."""
    reconnect_first_s: float = 0.1
    reconnect_most_s: float = 5.0


DEFAULT_LIMITS = SocketLimits()


class Incoming(NamedTuple):
    """One message and its sender."""

    routing_id: bytes
    """The connection, for answers. A new connection has a new one."""
    member: Member
    data: bytes


def has_message(socket: zmq.Socket[bytes]) -> bool:
    """Whether a message can be received now. Costs a quarter of the exception of one that cannot,
    so a batch of one asks this; further messages of a batch are received until it is raised."""
    return bool(int(socket.get(zmq.EVENTS)) & zmq.POLLIN)


class ServerSocket:
    """A CURVE ROUTER with an allow-list of its own."""

    def __init__(
        self,
        endpoint: str,
        keys: KeyPair,
        allow: Callable[[str], Member | None],
        roles: Collection[str],
        limits: SocketLimits = DEFAULT_LIMITS,
        clock: Callable[[], float] = time.monotonic,
        listener: system_socket.socket | None = None,
    ) -> None:
        """Bind `endpoint` ("tcp://HOST:PORT"; port "*": any free one, see `endpoint`).

        `listener`: a socket that listens there already, and stays its owner's. `allow` returns the
        member with a public key (z85) at present; it is called for every handshake, from the
        handler's thread, and for every batch, from the owner's: must be quick and thread-safe.
        Raises TransportError when the endpoint cannot be bound.
        """
        self._allow = allow
        self._roles = frozenset(roles)
        self._limits = limits
        self._clock = clock
        self._refusals = Refusals()
        self._rate = RateLimit(limits.messages_per_s, limits.burst)
        self._routes: OrderedDict[bytes, str] = OrderedDict()
        self._context: Context = zmq.Context()
        self.socket: zmq.Socket[bytes] = self._context.socket(zmq.ROUTER)
        """For `zmq.Poller`; receive and send through this object only."""
        self._prepare(endpoint, keys)
        self._handler = ZapHandler(self._context, self.socket, self._judge, self._refusals)
        try:
            if listener is None:
                self.socket.bind(_numeric(endpoint))
            else:
                self._listen(listener)
        except zmq.ZMQError as error:
            self.close()
            is_taken = error.errno == zmq.EADDRINUSE
            why = "another program listens there already" if is_taken else error
            raise TransportError(f"cannot listen on {endpoint}: {why}") from error
        except TransportError:
            self.close()
            raise

    @property
    def endpoint(self) -> str:
        """The address of this socket, with its assigned port."""
        return cast("bytes", self.socket.getsockopt(zmq.LAST_ENDPOINT)).rstrip(b"\0").decode()

    @property
    def refused(self) -> Counter[RefusalReason]:
        """Connections and messages refused since the start, by reason."""
        return self._refusals.counts

    def take_refusals(self) -> list[Refusal]:
        """Refusals since the last call, for the log; see MAX_UNTAKEN."""
        return self._refusals.take()

    def refuse(self, incoming: Incoming, reason: RefusalReason, detail: str) -> None:
        """Count a message that its reader could not accept, e.g. a malformed one."""
        self._refusals.add(reason, incoming.member.name, detail)

    def recv_batch(self, max_messages: int = MAX_BATCH) -> list[Incoming]:
        """Messages received so far, at most `max_messages`; never blocks.

        More may be queued: poll again. Refused messages are counted and skipped.
        """
        self._handler.check()
        now_s = self._clock()
        if len(self._rate) > MAX_RATE_BUCKETS:
            self._rate.forget_full(now_s)
        senders: dict[str, Member | None] = {}
        batch: list[Incoming] = []
        for _ in range(max_messages):
            try:
                frames = self.socket.recv_multipart(zmq.DONTWAIT, copy=False)
            except zmq.Again:
                break
            incoming = self._admitted(frames, senders, now_s)
            if incoming is not None:
                batch.append(incoming)
            if len(batch) == 1 and not has_message(self.socket):
                break
        return batch

    def still_heard(self, incoming: Incoming) -> Incoming | None:
        """A message queued since `recv_batch`, with its sender's present record; None when it is no
        longer authorized (which is counted)."""
        member = self._allow(incoming.member.public_key)
        if member is incoming.member:
            return incoming  # an unchanged member was admitted before
        verdict = self._verdict(member)
        if verdict is None and member is not None:
            return incoming._replace(member=member)
        self.refuse(incoming, *(verdict or ("revoked", "")))
        return None

    def send(self, routing_id: bytes, data: bytes) -> bool:
        """Queue `data` for a known connection. Never blocks, never raises for a peer.

        False: the connection is closed, its key was removed, or its queue is full.
        """
        public_key = self._routes.get(routing_id)
        if public_key is None or self._verdict(self._allow(public_key)) is not None:
            self._routes.pop(routing_id, None)
            return False
        try:
            self.socket.send_multipart((routing_id, data), zmq.DONTWAIT)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self._routes.pop(routing_id, None)
            return False
        return True

    def close(self, linger_s: float = 0.0) -> None:
        """Close; queued messages get `linger_s` to be sent."""
        if not self.socket.closed:
            self._handler.close()
            self.socket.close(int(linger_s * 1000))
            self._context.term()

    def _prepare(self, endpoint: str, keys: KeyPair) -> None:
        _set_limits(self.socket, endpoint, self._limits)
        self.socket.curve_server = True
        self.socket.curve_secretkey = keys.secret.encode("ascii")
        self.socket.zap_domain = b"wattline"
        # Without these two, libzmq would accept every key when no handler answers.
        self.socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        self.socket.router_mandatory = True
        # No ROUTER_HANDOVER: with it a member could take over another's connection by naming its
        # routing id. Peers choose no ids, so it is not needed.
        self.socket.setsockopt(zmq.HANDSHAKE_IVL, int(self._limits.handshake_s * 1000))
        self.socket.setsockopt(zmq.BACKLOG, 1024)

    def _listen(self, listener: system_socket.socket) -> None:
        self.socket.setsockopt(zmq.USE_FD, listener.dup().detach())
        host, port = listener.getsockname()[:2]
        # libzmq binds nothing: the address is only the name of the endpoint.
        self.socket.bind(f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}")
        self.socket.setsockopt(zmq.USE_FD, -1)

    def _judge(self, public_key: str) -> Verdict:
        """Judges a handshake; called in the handler's thread."""
        member = self._allow(public_key)
        if member is None:
            return "unknown_key", f"key {public_key} is not enrolled"
        return self._verdict(member)

    def _verdict(self, member: Member | None) -> Verdict:
        if member is None:
            return "revoked", "its key was removed from the allow-list"
        if member.role not in self._roles:
            served = " or ".join(sorted(self._roles))
            return "wrong_role", f"{member.name} is {member.role}; this socket serves {served}"
        return None

    def _admitted(
        self, frames: list[zmq.Frame], senders: dict[str, Member | None], now_s: float
    ) -> Incoming | None:
        """The message in `frames`; None when it is refused (and counted)."""
        public_key = str(frames[-1].get("User-Id"))
        if public_key not in senders:
            senders[public_key] = self._allow(public_key)
        member = senders[public_key]
        verdict = self._verdict(member) or self._fault(frames)
        if verdict is not None or member is None:
            reason, detail = verdict or ("revoked", "")
            self._refusals.add(reason, member.name if member else public_key, detail)
            return None
        if not self._rate.allows(public_key, now_s):
            over = f"over {self._limits.messages_per_s:g} messages a second"
            self._refusals.add("rate", member.name, over)
            return None
        incoming = Incoming(frames[0].bytes, member, frames[1].bytes)
        self._remember(incoming.routing_id, public_key)
        return incoming

    def _fault(self, frames: list[zmq.Frame]) -> Verdict:
        """Error in the form of a message."""
        if len(frames) != 2:
            return "frames", f"a message of {len(frames) - 1} frames instead of one"
        route = frames[0].buffer
        if len(route) != _GENERATED_ROUTE_BYTES or route[0] != 0:
            return "chosen_identity", "a connection with its own routing id"
        size = len(frames[1].buffer)
        if size > self._limits.max_message_bytes:
            return "oversize", f"{size} bytes, at most {self._limits.max_message_bytes} allowed"
        return None

    def _remember(self, routing_id: bytes, public_key: str) -> None:
        self._routes[routing_id] = public_key
        self._routes.move_to_end(routing_id)
        if len(self._routes) > MAX_ROUTES:
            self._routes.popitem(last=False)


class Link(msgspec.Struct, frozen=True):
    """State of a client's connection."""

    state: Literal["connecting", "connected", "refused"] = "connecting"
    detail: str = ""
    """Why it is not connected, as far as known."""
    connections: int = 0
    """Increases with each new connection: send hello again when it does."""


class ClientSocket:
    """A CURVE DEALER to one server; reconnects by itself, with increasing delays."""

    def __init__(
        self,
        endpoint: str,
        keys: KeyPair,
        server_public_key: str,
        limits: SocketLimits = DEFAULT_LIMITS,
        context: Context | None = None,
    ) -> None:
        """Start to connect. Raises TransportError when `endpoint` is invalid.

        `context`: shared by many clients of one process; None: a separate one.
        """
        _parts(endpoint)
        self._endpoint = endpoint
        self._limits = limits
        self._own_context = zmq.Context() if context is None else None
        self.socket: zmq.Socket[bytes] = (context or cast("Context", self._own_context)).socket(
            zmq.DEALER
        )
        """For `zmq.Poller`, as is `monitor`; receive and send through this object only."""
        _set_limits(self.socket, endpoint, limits)
        _set_heartbeats(self.socket, limits)
        self.socket.curve_serverkey = server_public_key.encode("ascii")
        self.socket.curve_publickey = keys.public.encode("ascii")
        self.socket.curve_secretkey = keys.secret.encode("ascii")
        self.socket.immediate = True  # queue only for a connection that has been accepted
        self.socket.reconnect_ivl = int(limits.reconnect_first_s * 1000)
        self.socket.reconnect_ivl_max = int(limits.reconnect_most_s * 1000)
        self._link = Link()
        self.monitor = self.socket.get_monitor_socket(_LINK_EVENTS)
        """Readable when `link` may have changed."""
        self.socket.connect(endpoint)

    @property
    def link(self) -> Link:
        """Current state of the connection."""
        while self.monitor.poll(0):
            event = zmq.utils.monitor.recv_monitor_message(self.monitor)
            self._link = _after(self._link, event["event"], self._endpoint)
        return self._link

    def wait_connected(self, timeout_s: float) -> Link:
        """Wait until connected or refused, at most `timeout_s`; returns the state then."""
        until_s = time.monotonic() + timeout_s
        while self.link.state == "connecting" and (left_s := until_s - time.monotonic()) > 0:
            self.monitor.poll(int(left_s * 1000) + 1)
        return self.link

    def poll(self, timeout_s: float) -> bool:
        """Wait at most `timeout_s` for a message; True when there is one."""
        return bool(self.socket.poll(int(timeout_s * 1000)))

    def recv_batch(self, max_messages: int = MAX_BATCH) -> list[bytes]:
        """Messages received so far, at most `max_messages`; never blocks."""
        batch: list[bytes] = []
        for _ in range(max_messages):
            try:
                frames = self.socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                break
            batch.append(frames[-1])
            if len(batch) == 1 and not has_message(self.socket):
                break
        return batch

    def send(self, data: bytes) -> bool:
        """Send `data`. False: not connected now, or the queue is full. Never blocks.

        Data sent while a connection breaks may be lost: repeat what must arrive.
        """
        try:
            self.socket.send(data, zmq.DONTWAIT)
        except zmq.Again:
            return False
        return True

    def close(self, linger_s: float = 0.0) -> None:
        """Close; queued messages get `linger_s` to be sent."""
        if not self.socket.closed:
            self.socket.disable_monitor()
            self.monitor.close(0)
            self.socket.close(int(linger_s * 1000))
            if self._own_context is not None:
                self._own_context.term()


_LINK_EVENTS = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CLOSED
)


def _after(link: Link, event: int, endpoint: str) -> Link:
    """`link` after one event of the socket's monitor."""
    if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
        return Link("connected", "", link.connections + 1)
    if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
        detail = f"{endpoint} refused this key: not enrolled, or with another role"
        return Link("refused", detail, link.connections)
    if event in (zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL):
        detail = f"{endpoint} answers with another server key than expected"
        return Link("connecting", detail, link.connections)
    if event == zmq.EVENT_DISCONNECTED:
        keep = link if link.state == "refused" else Link("connecting", link.detail)
        return Link(
            keep.state, keep.detail or f"{endpoint} closed the connection", link.connections
        )
    return Link(link.state, link.detail or f"nothing answers at {endpoint}", link.connections)


def _set_limits(socket: zmq.Socket[bytes], endpoint: str, limits: SocketLimits) -> None:
    socket.ipv6 = "[" in endpoint
    socket.maxmsgsize = 2 * limits.max_message_bytes
    socket.rcvhwm = limits.receive_queue
    socket.sndhwm = limits.send_queue
    socket.linger = 0
    socket.tcp_keepalive = 1
    socket.tcp_keepalive_idle = max(1, int(limits.heartbeat_s))
    socket.tcp_keepalive_intvl = max(1, int(limits.heartbeat_s / 2))
    socket.tcp_keepalive_cnt = 3
    socket.setsockopt(zmq.TCP_MAXRT, int(limits.silence_s * 1000))


def _set_heartbeats(socket: zmq.Socket[bytes], limits: SocketLimits) -> None:
    """Of clients only: the server answers them, and ends the connection of a client without them.

    Its own would abort it: libzmq 4.3.5 sends a heartbeat that is due on a connection that has
    failed while its queue of received messages was full, and asserts that it has not (#4841).
    """
    socket.setsockopt(zmq.HEARTBEAT_IVL, int(limits.heartbeat_s * 1000))
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, int(limits.silence_s * 1000))
    socket.setsockopt(zmq.HEARTBEAT_TTL, int(limits.silence_s * 1000))


def _parts(endpoint: str) -> tuple[str, str]:
    """Host and port. Raises TransportError for an invalid endpoint."""
    try:
        return split_endpoint(endpoint)
    except ValueError as error:
        raise TransportError(str(error)) from error


def _numeric(endpoint: str) -> str:
    """`endpoint` with its host as an address: ZeroMQ binds addresses only."""
    host, port = _parts(endpoint)
    if host == "*" or host.startswith("["):
        return endpoint
    try:
        found = system_socket.getaddrinfo(host, None, system_socket.AF_INET)
    except OSError as error:
        raise TransportError(f"cannot listen on {endpoint}: {host}: {error.strerror}") from error
    return f"tcp://{found[0][4][0]}:{port}"
