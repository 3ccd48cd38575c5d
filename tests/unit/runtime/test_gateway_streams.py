"""Streams in the gateway's core: chunks, back-pressure, lost workers, methods, versions."""

from dataclasses import dataclass

import msgspec
import pytest

from support.programs.serving import GatewayBench, name
from wattline_runtime.gateway import events as e
from wattline_runtime.gateway.streams.chunks import outcome
from wattline_runtime.wire import (
    CHUNK_WINDOW,
    CHUNK_WINDOW_BYTES,
    MAX_ITEM_BYTES,
    MAX_TOKENS,
    Chunk,
    Failure,
    GatewayBeat,
    Infer,
    MoreChunks,
    Reply,
    WorkerBeat,
    WorkerRefused,
    common_version,
)

CHAT = ("chat",)
STREAM = e.RequestKind("chat", is_stream=True)


@dataclass
class StreamBench(GatewayBench):
    """A bench whose requests are streams of `chat`."""

    def stream(self, *ids: int, within_s: float = 10.0, kind: e.RequestKind = STREAM) -> None:
        for number in ids:
            deadline_s = self.now_s + within_s
            self.happens(e.Submitted(number, "svc", b"in", deadline_s, kind=kind))

    def chunk(self, task: int, number: int, data: bytes = b"a") -> None:
        self.happens(e.WorkerMessage(name(task), f"key-{task}", Chunk(number, data)))

    def fail(self, task: int, message: Failure) -> None:
        self.happens(e.WorkerMessage(name(task), f"key-{task}", message))

    def chunks(self) -> list[bytes]:
        return [x.data for x in self.other if isinstance(x, e.SendChunk)]


@pytest.fixture
def bench() -> StreamBench:
    return StreamBench()


def test_chunks_reach_the_client_and_the_reply_ends_them(bench: StreamBench) -> None:
    bench.routes(1).worker(1, newest=2, methods=CHAT)
    bench.stream(1)
    [(_, infer)] = [(c, m) for c, m in bench.sent if isinstance(m, Infer)]
    assert (infer.method, infer.stream) == ("chat", True)
    bench.chunk(1, 1, b"a")
    bench.chunk(1, 1, b"b")
    assert bench.outcomes == {}
    bench.reply(1, 1)
    assert bench.chunks() == [b"a", b"b"]
    assert bench.outcomes == {1: "out"}
    bench.chunk(1, 1, b"late")
    assert bench.chunks() == [b"a", b"b"]


@pytest.mark.parametrize("tokens", [-1, -(2**62), MAX_TOKENS + 1, 2**64 - 1])
def test_a_count_of_tokens_that_is_none_counts_as_unknown(tokens: int) -> None:
    """Sums of them are in reports to the scheduler, and divide the budgets of all keys."""
    assert outcome(Reply(1, b"1", tokens=tokens)) == e.Output(b"1")
    assert outcome(Reply(1, b"1", tokens=MAX_TOKENS)) == e.Output(b"1", tokens=MAX_TOKENS)


def test_what_the_client_reads_its_worker_may_send_again(bench: StreamBench) -> None:
    bench.routes(1).worker(1, newest=2, methods=CHAT)
    bench.stream(1)
    for _ in range(CHUNK_WINDOW):
        bench.chunk(1, 1)
    bench.happens(e.ChunksRead(1, 2, 2))
    assert (name(1), MoreChunks(1, 2)) in bench.sent
    bench.chunk(1, 1)
    bench.chunk(1, 1)
    assert bench.outcomes == {}
    bench.chunk(1, 1)
    assert bench.outcomes == {1: "model_error"}, "more than the window: the worker is at fault"
    assert bench.cancelled(1) == [1]


def test_large_chunks_that_are_not_read_end_a_stream_and_those_of_an_honest_worker_do_not(
    bench: StreamBench,
) -> None:
    """Its client reads nothing: 32 chunks as large as a frame would be 128 MiB of each stream."""
    bench.routes(1).worker(1, newest=2, methods=CHAT)
    bench.stream(1)
    sizes = CHUNK_WINDOW_BYTES - 1, *[MAX_ITEM_BYTES] * 3
    for size in sizes:
        bench.chunk(1, 1, b"x" * size)
    assert bench.outcomes == {}, "the most that a worker sends: its last two chunks need no window"
    bench.happens(e.ChunksRead(1, 2, sum(sizes[:2])))
    bench.chunk(1, 1, b"x" * sum(sizes[:2]))
    assert bench.outcomes == {}
    bench.chunk(1, 1, b"xx")
    assert bench.outcomes == {1: "model_error"}
    assert bench.cancelled(1) == [1]


def test_an_output_larger_than_one_may_be_is_refused() -> None:
    assert outcome(Reply(1, b"x" * MAX_ITEM_BYTES)) == e.Output(b"x" * MAX_ITEM_BYTES)
    refused = outcome(Reply(1, b"x" * (MAX_ITEM_BYTES + 1)))
    assert isinstance(refused, e.Refusal)
    assert refused.reason == "output_too_large"


def test_a_worker_lost_before_the_first_chunk_is_replaced(bench: StreamBench) -> None:
    bench.routes(1, 2).worker(1, newest=2, methods=CHAT).worker(2, newest=2, methods=CHAT)
    bench.stream(1)
    bench.happens(e.WorkerDisconnected(name(1)))
    assert bench.inferred(2) == [1]
    bench.chunk(2, 1)
    bench.reply(2, 1)
    assert bench.outcomes == {1: "out"}


@pytest.mark.parametrize("ends_by", ["its connection", "its drain"])
def test_a_worker_lost_after_the_first_chunk_ends_the_stream(
    bench: StreamBench, ends_by: str
) -> None:
    bench.routes(1, 2).worker(1, newest=2, methods=CHAT).worker(2, newest=2, methods=CHAT)
    bench.stream(1)
    bench.chunk(1, 1)
    if ends_by == "its drain":
        bench.fail(1, Failure(1, "draining"))
    else:
        bench.happens(e.WorkerDisconnected(name(1)))
    assert bench.outcomes == {1: "worker_lost"}
    assert bench.inferred(2) == []


def test_each_chunk_gives_the_next_one_as_much_time(bench: StreamBench) -> None:
    bench.routes(1).worker(1, newest=2, methods=CHAT)
    bench.stream(1, within_s=2.0)
    bench.later(1.5)
    bench.chunk(1, 1)
    bench.worker(1, newest=2, methods=CHAT, running=1).later(1.5)
    assert bench.outcomes == {}
    bench.worker(1, newest=2, methods=CHAT, running=1).later(0.6)
    assert bench.outcomes == {1: "deadline"}
    assert bench.cancelled(1) == [1]


def test_a_client_that_leaves_cancels_its_generation(bench: StreamBench) -> None:
    bench.routes(1).worker(1, newest=2, methods=CHAT)
    bench.stream(1)
    bench.chunk(1, 1)
    bench.happens(e.Abandoned(1))
    assert bench.cancelled(1) == [1]
    bench.chunk(1, 1)
    assert len(bench.chunks()) == 1


def test_the_first_chunk_of_a_stalled_worker_takes_the_request_out_of_the_queue(
    bench: StreamBench,
) -> None:
    bench.routes(1, 2).worker(1, capacity=1, newest=2, methods=CHAT)
    bench.worker(2, capacity=1, newest=2, methods=CHAT)
    bench.stream(1, 2, within_s=60.0)
    bench.chunk(2, 2)  # the second worker works
    for _ in range(11):
        bench.worker(1, capacity=1, newest=2, methods=CHAT, running=1)
        bench.worker(2, capacity=1, newest=2, methods=CHAT, running=1)
        bench.chunk(2, 2)
        bench.happens(e.ChunksRead(2, 1, 1))
        bench.later(2.0)
    assert any(isinstance(x, e.WorkerStalled) for x in bench.other)
    bench.chunk(1, 1)
    bench.reply(2, 2)
    assert bench.inferred(2) == [2], "the first worker has begun to answer"
    bench.reply(1, 1)
    assert bench.outcomes == {1: "out", 2: "out"}


def test_a_stream_that_has_begun_is_neither_hedged_nor_moved(bench: StreamBench) -> None:
    bench.routes(1, 2).worker(1, newest=2, methods=CHAT).worker(2, newest=2, methods=CHAT)
    bench.stream(1, within_s=3.0)
    bench.chunk(1, 1)
    for _ in range(2):
        bench.worker(1, newest=2, methods=CHAT, running=1).worker(2, newest=2, methods=CHAT)
        bench.later(1.2)
    assert bench.inferred(2) == []


def test_a_method_that_no_worker_offers_is_refused(bench: StreamBench) -> None:
    bench.routes(1).worker(1)
    effects = bench.gateway.handle(e.Submitted(1, "svc", b"", 200.0, kind=STREAM), 100.0)
    [answer] = effects
    assert isinstance(answer, e.Answer)
    assert isinstance(answer.outcome, e.Refusal)
    assert answer.outcome.reason == "no_method"
    assert answer.outcome.message == (
        "service 'svc' does not offer the method 'chat'; it offers: predict"
    )
    bench.stream(2, kind=e.RequestKind(is_bytes=True))
    assert bench.outcomes == {2: "no_method"}


def test_requests_that_waited_for_a_worker_learn_that_it_does_not_offer_their_method() -> None:
    bench = StreamBench(hold_s=5.0)
    bench.routes(1)
    bench.stream(1)
    bench.submit(2)
    bench.worker(1)
    assert bench.outcomes == {1: "no_method"}
    assert bench.inferred(1) == [2]


def test_each_request_goes_to_a_worker_that_offers_its_method(bench: StreamBench) -> None:
    bench.routes(1, 2).worker(1).worker(2, newest=2, methods=("predict", "chat"))
    bench.stream(1, 2)
    assert bench.inferred(2) == [1, 2]
    bench.submit(3, 4)
    assert bench.inferred(1) == [3, 4]


@pytest.mark.parametrize(
    ("oldest", "newest", "shared"),
    [(1, 0, 1), (1, 1, 1), (1, 2, 2), (2, 2, 2), (1, 9, 2), (2, 9, 2), (3, 9, 0), (0, 0, 0)],
)
def test_peers_use_the_newest_version_that_both_speak(
    bench: StreamBench, oldest: int, newest: int, shared: int
) -> None:
    assert common_version(oldest, newest) == shared
    beat = WorkerBeat(oldest, "svc", 2, 0, 0, newest=newest)
    bench.routes(1).happens(e.WorkerMessage(name(1), "key-1", beat))
    [(_, first), *_] = bench.sent
    if shared:
        assert first == GatewayBeat(1, newest=2)
    else:
        assert isinstance(first, WorkerRefused)
        theirs = f"{oldest} to {newest}" if newest > oldest else f"{oldest}"
        assert first.reason == (
            f"this gateway speaks versions 1 to 2 of the worker protocol, the worker {theirs}"
        )


def test_a_worker_of_version_one_gets_frames_as_before() -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode([Infer(1, 5, b"x"), Reply(1, b"y")])) == [
        {"t": "infer", "id": 1, "budget_ms": 5, "input": b"x"},
        {"t": "reply", "id": 1, "output": b"y"},
    ]


def test_what_a_worker_returns_is_tried_with_another_one_once(bench: StreamBench) -> None:
    bench.routes(1, 2).worker(1, newest=2, methods=CHAT).worker(2, newest=2, methods=CHAT)
    bench.stream(1)
    bench.fail(1, Failure(1, "draining"))
    assert bench.inferred(1) == [1], "never the same one again while there is another"
    assert bench.inferred(2) == [1]
    bench.fail(2, Failure(1, "overloaded"))
    assert bench.outcomes == {1: "worker_lost"}


def test_the_only_worker_gets_what_it_returned_again(bench: StreamBench) -> None:
    bench.routes(1).worker(1, newest=2, methods=CHAT)
    bench.stream(1)
    bench.fail(1, Failure(1, "draining"))
    assert bench.inferred(1) == [1, 1]
    bench.reply(1, 1)
    assert bench.outcomes == {1: "out"}
