"""Clients' endpoint: sessions, greetings, and backlogs of answers for slow readers.

An answer that a connection cannot take is queued in its session, up to a limit; snapshots of
watches are never queued behind others (see `subscriptions`). A client that stops reading loses only
its session.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from wattline_protocol.ids import Instant, UserName
from wattline_protocol.job.sent_keys import sent_keys
from wattline_protocol.release import SAME_RELEASE, release
from wattline_protocol.site.model import Role
from wattline_protocol.text.visible import visible_line
from wattline_protocol.wire.agent_messages import PROTOCOL_VERSION, Refused
from wattline_protocol.wire.bounds import Serial
from wattline_protocol.wire.client_messages import (
    Answer,
    Ask,
    ClientHello,
    ClientWelcome,
    Denied,
    FromClient,
    Jobs,
    Response,
    ToClient,
)
from wattline_protocol.wire.codec import Codec, MalformedMessage
from wattline_protocol.wire.transport import Incoming, ServerSocket, SocketLimits
from wattline_scheduler.shell.clients.truncate import fit
from wattline_scheduler.shell.protocol_version import refused_version

CLIENT_LIMITS = SocketLimits(send_queue=16, messages_per_s=50_000.0, burst=50_000)
"""Few messages in the socket: a slow reader gets the newest snapshot, not a queue of old ones. The
requests of a member are limited by their cost (see `client_turns`)."""

RETRY_SOON_S = 0.001
RETRY_LATER_S = 0.05
SOON_S = 0.25
"""Retry intervals: short for a connection that has just become full, long for a stuck one."""

MAX_BATCH = 500
"""Maximum of messages received at once."""

MAX_BUSY_BYTES = 16 * 1024
"""A larger message beyond the limits is dropped without an answer and without decoding."""

MAX_SESSIONS = 4_096
MAX_SESSIONS_OF_USER = 512
"""Maximum of sessions; beyond it the one unheard longest without a watch is dropped, of all or of
the user's own. Its client sends its hello again."""

MAX_BACKLOG = 10_000
MAX_BACKLOG_BYTES = 16 * 1024 * 1024
"""Answers queued for one slow reader; beyond it the session ends."""

MAX_BACKLOG_BYTES_OF_USER = 64 * 1024 * 1024
"""The same over all sessions of one user."""

STUCK_S = 30.0
"""A session whose connection accepts nothing for this long is ended."""


_TOO_MANY = "too many unanswered requests; wait for answers before sending more"


class _AnyAsk(msgspec.Struct, frozen=True, tag_field="t", tag="ask"):
    """A request of which only the number can be decoded."""

    ask: Serial[int]


_ask = msgspec.msgpack.Decoder(_AnyAsk)


@dataclass(slots=True)
class Session:
    """One connection of one user."""

    connection: bytes
    user: UserName
    role: Role
    release: str = ""
    """Of its client, as that names it."""
    backlog: deque[bytes] = field(default_factory=deque)
    backlog_bytes: int = 0
    stuck_since: Instant | None = None
    watch_count: int = 0


class ClientEndpoint:
    """Receives requests and sends answers."""

    def __init__(
        self, socket: ServerSocket, site: str, unix_s: Callable[[], float] = time.time
    ) -> None:
        self._socket = socket
        self._site = site
        self._unix_s = unix_s
        self._in: Codec[FromClient] = Codec(FromClient)
        self._out: Codec[ToClient] = Codec(ToClient)
        self.sessions: OrderedDict[bytes, Session] = OrderedDict()
        self._waiting: dict[bytes, Session] = {}
        """Sessions with a backlog."""

    def receive(self) -> list[Incoming]:
        """Messages received since the last call, not decoded yet."""
        return self._socket.recv_batch(MAX_BATCH)

    def reject(self, incoming: Incoming) -> None:
        """Refuse a message for lack of space, so that its client does not wait for ever."""
        self._socket.refuse(incoming, "rate", "too many queued requests")
        if len(incoming.data) > MAX_BUSY_BYTES or incoming.routing_id not in self.sessions:
            return
        ask = _number_of(incoming.data)
        if ask is not None:
            self.reply(incoming.routing_id, ask, Denied("busy", _TOO_MANY))

    def admit(self, received: Incoming) -> tuple[Session, Ask] | None:
        """The decoded request, if its sender is still authorized; greetings and refusals are
        answered here."""
        incoming = self._socket.still_heard(received)
        return None if incoming is None else self._read(incoming)

    def _read(self, incoming: Incoming) -> tuple[Session, Ask] | None:
        refusal = refused_version(self._socket, incoming)
        if refusal:
            self._refuse(incoming, refusal)
            return None
        try:
            message = self._in.decode(incoming.data)
        except MalformedMessage as error:
            self._socket.refuse(incoming, "malformed", str(error))
            self._deny(incoming, str(error))
            return None
        if isinstance(message, ClientHello):
            self._greet(incoming, message)
            return None
        session = self.sessions.get(incoming.routing_id)
        if session is None:
            self._refuse(incoming, "the first message must be ClientHello")
            return None
        self.sessions.move_to_end(incoming.routing_id)
        role = _client_role(incoming)
        if role != session.role:
            session.role = role
            self._welcome(session)
        return session, message

    def _greet(self, incoming: Incoming, hello: ClientHello) -> None:
        user, role = UserName(incoming.member.name), _client_role(incoming)
        connection = incoming.routing_id
        self.sessions.setdefault(connection, Session(connection, user, role)).release = hello.client
        self.sessions.move_to_end(connection)
        self._forget_some(user)
        self._welcome(self.sessions[connection])

    def _welcome(self, session: Session) -> None:
        """Send user and role to a client: at its greeting, and when its role has changed."""
        welcome = ClientWelcome(
            PROTOCOL_VERSION, self._site, session.user, session.role, self._unix_s(), release()
        )
        self._send(session, self._out.encode(welcome))

    def of_user(self, user: UserName) -> list[Session]:
        """Sessions of a user, the longest unheard first."""
        return [one for one in self.sessions.values() if one.user == user]

    def _forget_some(self, user: UserName) -> None:
        own = self.of_user(user)
        if len(own) > MAX_SESSIONS_OF_USER:
            self._forget_one(own)
        if len(self.sessions) > MAX_SESSIONS:
            self._forget_one(list(self.sessions.values()))

    def _forget_one(self, among: list[Session]) -> None:
        idle = (one for one in among if one.watch_count == 0)
        self.end(next(idle, among[0]))

    def _deny(self, incoming: Incoming, error: str) -> None:
        """Answer an invalid message: with the number of its request, if it is one.

        Our client checks what it sends, so that a client of another release is the likely cause.
        """
        ask, session = _number_of(incoming.data), self.sessions.get(incoming.routing_id)
        if ask is None or session is None:
            self._refuse(incoming, f"a message that cannot be read: {error}")
            return
        if session.release != release():
            error = (
                f"{error}; the client is {visible_line(session.release)}, the scheduler "
                f"{release()}: {SAME_RELEASE}"
            )
        self.reply(incoming.routing_id, ask, Denied("bad_request", error))

    def _refuse(self, incoming: Incoming, reason: str) -> None:
        refused = self._out.encode(Refused(PROTOCOL_VERSION, reason))
        self._socket.send(incoming.routing_id, refused)

    def reply(self, connection: bytes, ask: int, answer: Answer, *, is_last: bool = True) -> None:
        """Send an answer; it is queued in the session while the connection is full."""
        session = self.sessions.get(connection)
        if session is not None:
            self._send(session, self._encoded(ask, answer, is_last=is_last))

    def show(self, session: Session, ask: int, answer: Answer) -> bool:
        """Send one answer of a watch now, or not at all: False when the connection is full."""
        if session.backlog:
            return False
        return self._socket.send(session.connection, self._encoded(ask, answer, is_last=False))

    def _encoded(self, ask: int, answer: Answer, *, is_last: bool) -> bytes:
        sent = _with_keys_sent(answer)
        return fit(sent, lambda fitted: self._out.encode(Response(ask, fitted, is_last)))

    def _send(self, session: Session, data: bytes) -> None:
        if not session.backlog and self._socket.send(session.connection, data):
            session.stuck_since = None
            return
        self._waiting[session.connection] = session
        session.backlog.append(data)
        session.backlog_bytes += len(data)
        if self._is_too_slow(session):
            self.end(session)

    def _is_too_slow(self, session: Session) -> bool:
        if len(session.backlog) > MAX_BACKLOG or session.backlog_bytes > MAX_BACKLOG_BYTES:
            return True
        own = (one for one in self._waiting.values() if one.user == session.user)
        return sum(one.backlog_bytes for one in own) > MAX_BACKLOG_BYTES_OF_USER

    def flush(self, now: Instant) -> None:
        """Send queued answers, and end sessions that have accepted nothing for long."""
        for session in list(self._waiting.values()):
            while session.backlog and self._socket.send(session.connection, session.backlog[0]):
                session.backlog_bytes -= len(session.backlog.popleft())
                session.stuck_since = None
            if not session.backlog:
                del self._waiting[session.connection]
                continue
            session.stuck_since = session.stuck_since or now
            if now - session.stuck_since > STUCK_S:
                self.end(session)

    def retry_in_s(self, now: Instant) -> float | None:
        """When to flush next without input; None where nothing is queued."""
        if not self._waiting:
            return None
        newest = max(one.stuck_since or now for one in self._waiting.values())
        return RETRY_SOON_S if now - newest < SOON_S else RETRY_LATER_S

    def end(self, session: Session) -> None:
        """Remove a session; its client sends its hello again if it still exists."""
        self.sessions.pop(session.connection, None)
        self._waiting.pop(session.connection, None)


def _with_keys_sent(answer: Answer) -> Answer:
    """One job with its specification as a client of an earlier release can read it."""
    match answer:
        case Jobs(jobs=(job,)) if job.spec is not None:  # no list: its rows are encoded bytes
            return Jobs((msgspec.structs.replace(job, spec=sent_keys(job.spec)),), answer.is_cut)
        case _:
            return answer


def _number_of(data: bytes) -> int | None:
    """Number of a request of any kind; None = it is none."""
    try:
        return _ask.decode(data).ask
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _client_role(incoming: Incoming) -> Role:
    role = incoming.member.role
    if role == "worker":
        raise AssertionError("the client socket serves no workers")
    return role
