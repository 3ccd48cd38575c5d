"""One connection of a record stream: records in, answers out in order.

A task reads as long as there is room, one sends. What is in flight is bounded by what was read and
not yet sent, so that a client that does not read is no longer read from either.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from math import inf
from typing import NamedTuple

import msgspec
from starlette.types import Receive, Send

from wattline_runtime.gateway.access.key_ring import ApiKey
from wattline_runtime.gateway.answers.answers import Answers
from wattline_runtime.gateway.errors import STATUS
from wattline_runtime.gateway.events import Outcome, Output, RequestKind
from wattline_runtime.gateway.record_streams.lines import NO_JSON, Lines, LineTooLong, one_line
from wattline_runtime.gateway.record_streams.retries import retry_delay_s
from wattline_runtime.gateway.record_streams.unsent import Unsent
from wattline_runtime.gateway.record_streams.window import SeqReused, Window
from wattline_runtime.wire import MAX_ITEM_BYTES

IN_FLIGHT = 64
FIRST_IN_FLIGHT = 8
"""Before the first answer: its size is not known."""
IN_FLIGHT_BYTES = 1024 * 1024
"""Of records, and of answers if each is as large as the largest so far."""
MAX_LINE_BYTES = MAX_ITEM_BYTES + 1024
SEND_BYTES = 64 * 1024
"""Answers that are ready are sent together, up to so many bytes."""
LINGER_S = 1.0
"""After an early end, the client's further records are read so long, so that it reads the end."""
FINAL = ("deadline", "unknown_service")
EXPECTED = 'expected {"input": …}, optionally with "seq"'

Answer = asyncio.Future[bytes | None]
"""The line of a record; None: the gateway stops, or the connection is to end."""
Count = Callable[[int, str, float], None]
"""Count a record: status, reason, seconds."""


class KeyRevoked(Exception):
    """The key of a stream is no longer valid for its service."""


class RecordLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of a client."""

    input: msgspec.Raw
    seq: int | None = None


_decoder = msgspec.json.Decoder(RecordLine)


def read_record(line: bytes) -> RecordLine | str:
    """The record of a line, or what is wrong with it."""
    try:
        record = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return f"{error}; {EXPECTED}"
    size_bytes = len(bytes(record.input))
    if size_bytes > MAX_ITEM_BYTES:
        return f"the input has {size_bytes} bytes; at most {MAX_ITEM_BYTES} are accepted"
    return record


class End(NamedTuple):
    """Why a stream ends before its client has ended it."""

    reason: str
    message: str


FULL = End(
    "answers_full",
    "the answers that wait for your connections fill the gateway's memory: read faster, or open "
    "fewer; connect again and send the records behind `after`",
)
REVOKED = End("unauthorized", "the API key is no longer valid for this service")


class _InFlight(NamedTuple):
    seq: int
    answer: Answer
    size_bytes: int


class Ask(NamedTuple):
    """What holds for all records of a stream."""

    service: str
    timeout_s: float
    kind: RequestKind
    slow_s: float
    """A client that was lost while an answer waited so long for it did not read."""
    key: Callable[[], ApiKey | None]
    """None: the gateway is open. Raises KeyRevoked."""
    has_left: Callable[[], bool] = lambda: False
    """Whether the client has disconnected, while it is not read from."""
    client: str = ""
    """What its unsent answers are counted by."""


class Computing:
    """Answers records, whether or not their client is still connected."""

    def __init__(
        self, answers: Answers, ask: Ask, window: Window[Answer], count: Count, unsent: Unsent
    ) -> None:
        self._answers, self._ask, self._count = answers, ask, count
        self._window, self.unsent = window, unsent
        self._tasks: set[asyncio.Task[bytes | None]] = set()

    def known(self, seq: int, given: bytes) -> Answer | None:
        """The answer to a record that the window has. Raises SeqReused."""
        return self._window.find(seq, sha256(given).digest())

    def begin(self, seq: int, given: bytes, problem: str) -> Answer:
        """The answer to another one. `problem`: what is wrong with it."""
        task = asyncio.get_running_loop().create_task(self._answer(seq, given, problem))
        self._window.begin(seq, sha256(given).digest(), task)
        self._tasks.add(task)
        task.add_done_callback(lambda ended: self._ended(seq, ended))
        return task

    def cancel(self) -> None:
        """What is computed will not be read."""
        for task in self._tasks:
            task.cancel()

    def _ended(self, seq: int, task: asyncio.Task[bytes | None]) -> None:
        self._tasks.discard(task)
        line = None if task.cancelled() else task.result()
        if line is None:
            self._window.forget(seq)
        else:
            self._window.computed(seq, len(line))

    async def _answer(self, seq: int, data: bytes, problem: str) -> bytes | None:
        start_s, tries = time.monotonic(), 0
        if problem:
            return self._failed(seq, "malformed", problem, start_s)
        deadline_s = start_s + self._ask.timeout_s
        while True:
            tries += 1
            outcome = await self._try(data, deadline_s)
            if isinstance(outcome, Output):
                self._spend(outcome)
                if not self.unsent.admits(seq, len(outcome.body)):
                    return None
                output = None if outcome.is_bytes else one_line(outcome.body)
                if output is None:
                    return self._failed(seq, "model_error", NO_JSON, start_s)
                self._count(200, "", time.monotonic() - start_s)
                return b'{"seq":%d,"output":%b}\n' % (seq, output)
            if outcome is None or outcome.reason == "stopping":
                return None
            is_final = outcome.reason in FINAL
            delay_s = None if is_final else retry_delay_s(outcome.reason, tries)
            if delay_s is None or time.monotonic() + delay_s >= deadline_s:
                return self._failed(seq, outcome.reason, outcome.message, start_s)
            await asyncio.sleep(delay_s)

    async def _try(self, data: bytes, deadline_s: float) -> Outcome | None:
        ask = self._ask
        seen = frozenset({ask.service})
        number, waiter, _ = self._answers.submit(ask.service, data, deadline_s, seen, ask.kind)
        try:
            return await waiter
        except asyncio.CancelledError:
            self._answers.abandon(number)
            raise

    def _spend(self, output: Output) -> None:
        """Out of the token budget of the key; one that was revoked meanwhile has none."""
        with suppress(KeyRevoked):
            if (key := self._ask.key()) is not None:
                key.tokens.spend(output.tokens)
                key.draw(output.energy_uj)

    def _failed(self, seq: int, reason: str, message: str, start_s: float) -> bytes:
        self._count(STATUS[reason], reason, time.monotonic() - start_s)
        error = msgspec.json.encode({"reason": reason, "message": message})
        return b'{"seq":%d,"error":%b}\n' % (seq, error)


class RecordStream:
    """A connection; `run` lasts as long as it does."""

    def __init__(self, computing: Computing, ask: Ask, after: int) -> None:
        self._computing, self._ask = computing, ask
        self._read_seq = self.sent_seq = after
        """Numbers of the newest records that were read, and sent."""
        self.active_s = time.monotonic()
        """When a record or a part of one came, or an answer was sent."""
        self.note = ""
        self._in_flight: deque[_InFlight] = deque()
        self._in_flight_bytes = self._largest_bytes = 0
        self._changed = asyncio.Event()
        self._is_read = self._is_lost = False
        """No further record comes; the client has disconnected."""
        self._end: End | None = None
        self._reading: asyncio.Task[None] | None = None
        self._sending_s: float | None = None
        """Since when an answer waits for the client."""
        self._stuck_s, self._stuck_at_s = 0.0, -inf
        """How long the last one waited that waited for long, and until when."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing is in flight."""
        return not self._in_flight

    def stop(self, end: End) -> None:
        """Read no further; what is in flight is answered, then the client reads why."""
        if self._end is None and not self._is_read:
            self._end = end
            if self._reading is not None:
                self._reading.cancel()

    def replace(self, end: End) -> None:
        """As `stop`, for a client that has another connection, or reads too slowly: nothing in
        flight is sent here."""
        self._note_unread()
        self.stop(end)
        self._end = end
        self._in_flight.clear()
        self._changed.set()

    async def run(self, receive: Receive, send: Send) -> None:
        """Answer records until the client ends the body, leaves, or `stop`."""
        self._reading = asyncio.create_task(self._read(receive), name="records")
        try:
            await self._send_answers(send)
            if not self._is_lost and self._end is not None:
                await self._send_end(receive, send, self._end)
            elif not self._is_lost:
                await send({"type": "http.response.body", "body": b""})
        finally:
            self._reading.cancel()
            (failure,) = await asyncio.gather(self._reading, return_exceptions=True)
        if isinstance(failure, Exception):
            raise failure

    # --- in

    async def _read(self, receive: Receive) -> None:
        try:
            await self._read_records(receive)
        except asyncio.CancelledError:
            if self._end is None:
                raise
        finally:
            self._is_read = True
            self._changed.set()

    async def _read_records(self, receive: Receive) -> None:
        lines, has_more = Lines(MAX_LINE_BYTES), True
        while has_more and self._end is None:
            message = await receive()
            if message["type"] == "http.disconnect":
                self._lost()
                return
            self.active_s = time.monotonic()
            has_more = message.get("more_body", False)
            try:
                whole = lines.feed(message.get("body", b""))
            except LineTooLong as error:
                self._end = End("body_too_large", f"record {self._read_seq + 1}: {error}")
                return
            for line in whole if has_more else [*whole, *lines.last()]:
                if line and not await self._take(line):
                    return

    async def _take(self, line: bytes) -> bool:
        """Begin a record, once there is room and the key's rate admits it."""
        while self._is_full():
            self._changed.clear()
            await self._changed.wait()
        record, seq = read_record(line), self._read_seq + 1
        if not isinstance(record, str) and record.seq not in (None, seq):
            text = f"the next record is {seq}, not {record.seq}; send records from {seq} on"
            self._end = End("malformed", text)
            return False
        given, problem = (line, record) if isinstance(record, str) else (bytes(record.input), "")
        try:
            answer = self._computing.known(seq, given)
            if answer is None:
                if not await self._is_admitted():
                    self._lost()
                    return False
                answer = self._computing.begin(seq, given, problem)
        except KeyRevoked:
            self._end = REVOKED
            return False
        except SeqReused as error:
            self._end = End("seq_reused", f"{error}; begin a stream of another id")
            return False
        self._read_seq = seq
        self._in_flight.append(_InFlight(seq, answer, len(line)))
        self._in_flight_bytes += len(line)
        self._changed.set()
        return True

    def _is_full(self) -> bool:
        largest, most = self._largest_bytes, FIRST_IN_FLIGHT
        if largest:
            most = max(1, min(IN_FLIGHT, IN_FLIGHT_BYTES // largest))
        return len(self._in_flight) >= most or self._in_flight_bytes >= IN_FLIGHT_BYTES

    async def _is_admitted(self) -> bool:
        """Wait for the rate and the budget of the key; False: the client has left meanwhile."""
        key = self._ask.key()
        while key is not None:
            wait_s = key.take_in_turn(1, time.monotonic(), time.time())
            if not wait_s:
                return True
            if self._ask.has_left():
                return False
            await asyncio.sleep(min(wait_s, 1.0) if wait_s < inf else 1.0)
            key = self._ask.key()
        return True

    def _lost(self) -> None:
        """The client has left."""
        self._is_lost = True
        self._note_unread()
        self._changed.set()

    def _note_unread(self) -> None:
        """Note for the next connection that the client of this one did not read."""
        self._note_wait()
        if time.monotonic() - self._stuck_at_s < self._ask.slow_s:
            waited_s = f"{self._stuck_s:.0f} s"
            self.note = f"the client read nothing for {waited_s} and was disconnected"

    def _note_wait(self) -> None:
        now_s = time.monotonic()
        if self._sending_s is not None and now_s - self._sending_s > self._ask.slow_s:
            self._stuck_s, self._stuck_at_s = now_s - self._sending_s, now_s

    # --- out

    async def _send_answers(self, send: Send) -> None:
        while not self._is_lost:
            if not self._in_flight:
                if self._is_read:
                    return
                self._changed.clear()
                await self._changed.wait()
                continue
            ready = await self._ready()
            if ready is None:
                return
            self._sending_s = time.monotonic()
            await send({"type": "http.response.body", "body": ready, "more_body": True})
            self._note_wait()
            self._sending_s, self.active_s = None, time.monotonic()

    async def _ready(self) -> bytes | None:
        """The next answers, one at least; None: the stream is to end before them."""
        ready: list[bytes] = []
        size_bytes = 0
        while self._in_flight and size_bytes < SEND_BYTES and not self._is_lost:
            seq, answer, record_bytes = self._in_flight[0]
            if not answer.done():
                if ready:
                    break
                await self._first_of(answer)
                continue
            line = None if answer.cancelled() else answer.result()
            if line is None:
                text = f"the gateway stops; connect again and send records from {seq} on"
                self._end = self._end or End("stopping", text)
                self._in_flight.clear()
                break
            self._in_flight.popleft()
            self._computing.unsent.sent(seq)
            self._in_flight_bytes -= record_bytes
            self._largest_bytes = max(self._largest_bytes, len(line))
            self.sent_seq = seq
            ready.append(line)
            size_bytes += len(line)
        self._changed.set()
        return b"".join(ready) if ready else None

    async def _first_of(self, answer: Answer) -> None:
        """Wait for the answer, or a change: the client may leave."""
        self._changed.clear()
        answer.add_done_callback(self._note_change)
        try:
            await self._changed.wait()
        finally:
            answer.remove_done_callback(self._note_change)

    def _note_change(self, _: Answer) -> None:
        self._changed.set()

    async def _send_end(self, receive: Receive, send: Send, end: End) -> None:
        last = {"end": end._asdict(), "after": self.sent_seq}
        line = msgspec.json.encode(last) + b"\n"
        await send({"type": "http.response.body", "body": line, "more_body": True})
        try:
            async with asyncio.timeout(LINGER_S):
                while (message := await receive())["type"] == "http.request":
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            pass
        await send({"type": "http.response.body", "body": b""})
