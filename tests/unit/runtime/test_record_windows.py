"""What a gateway keeps of record streams for clients that reconnect."""

import asyncio
from functools import partial
from math import inf
from types import SimpleNamespace
from typing import Any

import pytest

from wattline_protocol.http.unread import UnreadAnswers
from wattline_protocol.wire.api_keys import ApiKeyGrant
from wattline_runtime.gateway.access.key_ring import ApiKey
from wattline_runtime.gateway.events import PLAIN, Output
from wattline_runtime.gateway.record_streams import record_stream
from wattline_runtime.gateway.record_streams.kept_streams import (
    KEPT_S,
    MOST_OF_KEY,
    KeptStreams,
    Name,
)
from wattline_runtime.gateway.record_streams.record_stream import (
    FULL,
    Ask,
    Computing,
    End,
    RecordStream,
)
from wattline_runtime.gateway.record_streams.unsent import SMALL_BYTES, Unsent
from wattline_runtime.gateway.record_streams.window import SeqReused, Window


def filled(window: Window[str], *seqs: int, size_bytes: int = 10) -> Window[str]:
    for seq in seqs:
        window.begin(seq, b"d%d" % seq, f"answer {seq}")
        window.computed(seq, size_bytes)
    return window


def test_a_record_is_answered_from_the_window_until_it_is_acknowledged() -> None:
    window = filled(Window(), 1, 2, 3)
    assert window.find(2, b"d2") == "answer 2"
    with pytest.raises(SeqReused, match="record 2"):
        window.find(2, b"other")
    window.begin(4, b"d4", "waits")
    assert window.acknowledge(2) == []
    assert window.find(2, b"other") is None
    assert (window.find(3, b"d3"), window.size_bytes) == ("answer 3", 10)
    assert window.acknowledge(9) == ["waits"]


def test_the_oldest_answers_go_first_and_none_that_is_waited_for() -> None:
    window: Window[str] = Window(most=3, most_bytes=25)
    window.begin(1, b"d1", "waits")
    filled(window, 2, 3, 4)
    assert [window.find(seq, b"d%d" % seq) for seq in range(1, 5)] == [
        "waits",
        None,
        "answer 3",
        "answer 4",
    ]
    window.computed(1, 10)
    assert window.find(1, b"d1") is None
    window.begin(5, b"d5", "fails")
    window.forget(5)
    window.forget(6)
    assert window.find(5, b"x") is None
    window.acknowledge(9)
    window.computed(4, 10)  # acknowledged while it was computed
    assert window.size_bytes == 0


def test_streams_are_kept_for_a_time_after_their_connection() -> None:
    streams: KeptStreams[str, object] = KeptStreams()
    name, other = Name("key", "svc", "a"), Name("other", "svc", "a")
    kept, before = streams.open(name)
    kept.holder = first = object()
    filled(kept.window, 1)
    assert before is None
    assert streams.open(other)[0].window.find(1, b"x") is None  # ids belong to their key
    again, before = streams.open(name)
    assert (again, before) == (kept, first)
    again.holder = second = object()
    streams.close(name, first, "old", 5.0)  # it was replaced before
    streams.expire(1e9)
    assert (len(streams), kept.holder) == (1, second)
    streams.close(name, second, "lost", 10.0)
    streams.expire(9.9 + KEPT_S)
    assert streams.open(name)[0].note == "lost"
    kept.holder = None
    streams.expire(10.0 + KEPT_S)
    assert len(streams) == 0


def test_a_key_drops_its_own_streams_first() -> None:
    streams: KeptStreams[str, object] = KeptStreams()
    streams.open(Name("quiet", "svc", "a"))
    for number in range(3 * MOST_OF_KEY):
        streams.open(Name("loud", "svc", f"{number}"))
    assert len(streams) == MOST_OF_KEY + 1
    assert len(streams.take_dropped()) == 2 * MOST_OF_KEY
    assert streams.take_dropped() == []


def test_the_answers_of_all_streams_are_bounded() -> None:
    streams: KeptStreams[str, object] = KeptStreams()
    for number in range(20):
        filled(streams.open(Name("key", "svc", f"{number}"))[0].window, 1, size_bytes=4 * 2**20)
    streams.expire(0.0)
    assert len(streams) == 16  # 64 MiB
    assert streams.open(Name("key", "svc", "19"))[0].window.find(1, b"d1") is not None
    assert streams.open(Name("key", "svc", "0"))[0].window.find(1, b"d1") is None


@pytest.mark.parametrize("unread_s", [0.5, 2.0])
async def test_a_client_that_returns_before_its_end_is_seen_learns_that_it_did_not_read(
    monkeypatch: pytest.MonkeyPatch, unread_s: float
) -> None:
    clock = [0.0]
    monkeypatch.setattr(record_stream, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    is_sending = asyncio.Event()

    class Answered:
        unsent = Unsent("", UnreadAnswers(1))

        def known(self, *_: object) -> asyncio.Future[bytes | None]:
            found = asyncio.get_running_loop().create_future()
            found.set_result(b"{}\n")
            return found

    parts = iter([{"type": "http.request", "body": b'{"input":1}\n', "more_body": True}])

    async def receive() -> Any:
        for part in parts:
            return part
        return await asyncio.Event().wait()

    async def send(_: object) -> None:
        is_sending.set()
        await asyncio.Event().wait()

    computing: Any = Answered()
    stream = RecordStream(computing, Ask("svc", 9.0, PLAIN, 1.0, lambda: None), 0)
    running = asyncio.create_task(stream.run(receive, send))
    await is_sending.wait()
    clock[0] += unread_s
    stream.replace(End("superseded", "another connection"))
    assert ("read nothing for 2 s" in stream.note) is (unread_s > 1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_client_that_left_while_its_key_had_no_rate_is_not_waited_for() -> None:
    key = ApiKey(ApiKeyGrant("k", "", ("svc",)), frozenset({"svc"}), inf)
    key.tokens.left = 0
    parts = iter([{"type": "http.request", "body": b'{"input":1}\n', "more_body": True}])
    sent: list[object] = []

    async def receive() -> Any:
        return next(parts)

    async def send(message: object) -> None:
        sent.append(message)

    computing: Any = SimpleNamespace(known=lambda *_: None)
    ask = Ask("svc", 9.0, PLAIN, 1.0, lambda: key, has_left=lambda: True)
    await asyncio.wait_for(RecordStream(computing, ask, 0).run(receive, send), 30)
    assert sent == []
    assert key.requests == 0


def test_of_too_many_unsent_answers_a_stream_of_the_client_that_holds_most_ends() -> None:
    total = UnreadAnswers(10 * SMALL_BYTES)
    ended: list[int] = []
    streams = [
        Unsent(client, total, partial(ended.append, number))
        for number, client in enumerate(("a", "a", "b"))
    ]
    first, second, other = streams
    assert all(first.admits(seq, SMALL_BYTES) for seq in range(4))
    assert all(other.admits(seq, SMALL_BYTES) for seq in range(4))
    assert second.admits(1, SMALL_BYTES)
    first.sent(0)
    assert second.admits(2, 2 * SMALL_BYTES)
    assert second.admits(3, SMALL_BYTES) is False
    assert (ended, second.is_over) == ([1], True)
    assert not second.admits(4, 1), "what it still computes is dropped"
    assert other.admits(9, SMALL_BYTES)
    second.close()
    assert first.admits(9, SMALL_BYTES), "its memory is free"
    for one in streams:
        one.close()
    assert total == UnreadAnswers(10 * SMALL_BYTES)
    assert first.admits(5, 100 * SMALL_BYTES), "what is kept of a named stream has its own bound"


async def test_a_stream_whose_answers_have_no_memory_ends_and_holds_none() -> None:
    """Its client reads nothing, so that its end does not wait for what is before it."""
    total = UnreadAnswers(2 * SMALL_BYTES)
    output = b"1" * SMALL_BYTES

    class Answered:
        def submit(self, *_: object) -> tuple[int, asyncio.Future[Output], bool]:
            waiter: asyncio.Future[Output] = asyncio.get_running_loop().create_future()
            waiter.set_result(Output(output))
            return 0, waiter, True

    lines = b"".join(b'{"input":%d}\n' % n for n in range(8))
    parts = iter([{"type": "http.request", "body": lines, "more_body": True}])
    sent: list[bytes] = []

    async def receive() -> Any:
        for part in parts:
            return part
        if not sent:
            await asyncio.Event().wait()
        return {"type": "http.request", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))

    ask = Ask("svc", 9.0, PLAIN, 1.0, lambda: None, client="a")
    answers: Any = Answered()
    unsent = Unsent("a", total)
    computing = Computing(answers, ask, Window(), lambda *_: None, unsent)
    stream = RecordStream(computing, ask, 0)
    unsent.end = partial(stream.replace, FULL)
    await asyncio.wait_for(stream.run(receive, send), 30)
    assert unsent.is_over
    unsent.close()
    assert total == UnreadAnswers(2 * SMALL_BYTES)
    assert stream.is_idle
    assert b'"reason":"answers_full"' in b"".join(sent)
