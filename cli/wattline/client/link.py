"""One connection to the scheduler, shared by several threads: the pending requests.

Theory of operation. Only the session's own thread uses the ZeroMQ socket (see `session`); callers
put requests in the outbox and wake it. Every request without its last answer is sent again when a
connection is re-established. Repeating is harmless: reads have no effect, a submission carries a
token, and the acts are idempotent. So a scheduler restart costs a caller only waiting time; watches
continue by themselves.
"""

import itertools
import queue
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field

import zmq

from wattline.client.errors import Refused, WattlineError
from wattline_protocol.wire.client_messages import Answer, ClientWelcome, Request

MAX_ANSWERS_WAITING = 4096
"""Unread answers of one watch; beyond it the oldest are dropped, the newest are valid."""


@dataclass(slots=True)
class Pending:
    """A request without its last answer. The queue has answers, or the error that ended it."""

    ask: int
    request: Request
    answers: "queue.SimpleQueue[Answer | WattlineError]" = field(default_factory=queue.SimpleQueue)

    def put(self, answer: Answer | WattlineError) -> None:
        """Queue `answer` for the caller."""
        while self.answers.qsize() >= MAX_ANSWERS_WAITING:
            self.answers.get()
        self.answers.put(answer)


class Link:
    """State shared by callers and the session's thread. All methods are thread-safe."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]") -> None:
        self.welcome: ClientWelcome | None = None
        self._refused: Refused | None = None
        self._settled = threading.Event()
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._pending: dict[int, Pending] = {}
        self._unsent: deque[int] = deque()
        self._dropped: deque[int] = deque()
        self._seen: deque[int] = deque()
        self.clock_offset_s = 0.0
        """Seconds that this host's wall clock is ahead of the scheduler's."""
        self.closing = False
        self.trouble = ""
        """Why there is no connection, as far as known."""
        self.waiter = context.socket(zmq.PAIR)
        self._waker = context.socket(zmq.PAIR)
        self.waiter.bind("inproc://wake")
        self._waker.connect("inproc://wake")

    def ask(self, request: Request) -> Pending:
        """Send `request` once a connection is established. Raises Refused if it was refused."""
        with self._lock:
            if self._refused is not None:
                raise self._refused
            if self.closing:
                raise WattlineError("this client was closed")
            pending = Pending(next(self._numbers), request)
            self._pending[pending.ask] = pending
            self._unsent.append(pending.ask)
            self._wake()
        return pending

    def drop(self, pending: Pending) -> None:
        """The answers of this request are no longer needed."""
        with self._lock:
            if self._pending.pop(pending.ask, None) is not None and not self.closing:
                self._dropped.append(pending.ask)
                self._wake()

    def seen(self, pending: Pending) -> None:
        """The caller has taken the newest answer of a paced watch."""
        with self._lock:
            if pending.ask in self._pending:
                self._seen.append(pending.ask)
                self._wake()

    def wait_settled(self, timeout_s: float) -> bool:
        """Whether the scheduler has welcomed or refused this client within the time."""
        return self._settled.wait(timeout_s)

    def begin_close(self) -> None:
        """Request the session's thread to end; once it has, call `end_close`."""
        with self._lock:
            self.closing = True
            self._wake()

    def end_close(self) -> None:
        """Close the wake-up sockets and end pending requests."""
        self._end_all(WattlineError("this client was closed"))
        self._waker.close(0)
        self.waiter.close(0)

    def _wake(self) -> None:
        """Never blocks: a full queue means that the thread has been woken already."""
        with suppress(zmq.Again):
            self._waker.send(b"", zmq.NOBLOCK)

    # --- called by the session's thread ---------------------------------------------------

    def take_wakeups(self) -> None:
        """One pass of the thread answers all of them."""
        with suppress(zmq.Again):
            while True:
                self.waiter.recv(zmq.NOBLOCK)

    def take_unsent(self) -> list[Pending]:
        """The requests to send now, each returned once per connection."""
        with self._lock:
            numbers, self._unsent = list(self._unsent), deque()
            return [self._pending[number] for number in numbers if number in self._pending]

    def take_dropped(self) -> list[int]:
        """Numbers of requests whose answers are no longer needed."""
        with self._lock:
            dropped, self._dropped = list(self._dropped), deque()
            return dropped

    def take_seen(self) -> list[int]:
        """Numbers of paced watches whose newest answer was taken."""
        with self._lock:
            seen, self._seen = list(self._seen), deque()
            return seen

    def answered(self, ask: int, answer: Answer, *, is_last: bool) -> None:
        """Pass an answer to its caller; one without a caller is ignored."""
        with self._lock:
            pending = self._pending.pop(ask, None) if is_last else self._pending.get(ask)
        if pending is not None:
            pending.put(answer)

    def welcomed(self, welcome: ClientWelcome) -> None:
        """A connection is established: everything pending is to be sent (again)."""
        with self._lock:
            self.welcome = welcome
            self._unsent = deque(self._pending)
            self._dropped.clear()
            self._seen.clear()
        self._settled.set()

    def renewed(self, welcome: ClientWelcome) -> None:
        """The scheduler says on the same connection that the role is another one."""
        with self._lock:
            self.welcome = welcome

    def refuse(self, error: Refused) -> None:
        """The scheduler refuses this client: every request, now and later, ends so."""
        with self._lock:
            self._refused = error
        self._end_all(error)
        self._settled.set()

    def _end_all(self, error: WattlineError) -> None:
        with self._lock:
            ended, self._pending = list(self._pending.values()), {}
            self._unsent.clear()
        for pending in ended:
            pending.put(error)
