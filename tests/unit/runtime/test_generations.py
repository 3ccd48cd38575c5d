"""Generations in the worker: which run, and how the model's generators are taken in turns."""

import gc
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pytest

from support.programs.serving_stack import wait_for
from wattline_runtime.serve import generations as g
from wattline_runtime.serve.backend import EXIT_HUNG
from wattline_runtime.serve.batch_times import SHORTEST_LIMIT_S
from wattline_runtime.serve.batcher import Answer, Failed, Key, Outcome, Output
from wattline_runtime.serve.calls import CallEnded, CallNews, Calls, ChunkMade
from wattline_runtime.serve.model import InputRefused
from wattline_runtime.serve.model_backend import ModelBackend
from wattline_runtime.serve.openai import Finish
from wattline_runtime.wire import CHUNK_WINDOW, COMPARE, MAX_ITEM_BYTES, Infer


def call(number: int, *, stream: bool = True, deadline_s: float = 1e9, **body: Any) -> g.Call:
    request = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **body}
    data = msgspec.json.encode(request)
    return g.Call(Key(1, number), deadline_s, "chat", data, stream)


def started(effects: list[g.Effect]) -> list[int]:
    return [e.call.key.id for e in effects if isinstance(e, g.StartCall)]


def reasons(effects: list[g.Effect]) -> dict[int, str]:
    return {
        e.key.id: e.outcome.reason if isinstance(e.outcome, Failed) else "output"
        for e in effects
        if isinstance(e, Answer)
    }


@pytest.fixture
def books() -> g.Generations:
    return g.Generations(limit=2, queue_limit=2)


def test_so_many_run_at_once_and_the_others_wait_in_order(books: g.Generations) -> None:
    assert [started(books.arrived(call(n), 0.0)) for n in (1, 2, 3, 4)] == [[1], [2], [], []]
    assert reasons(books.arrived(call(5), 0.0)) == {5: "overloaded"}
    ended = books.ended(Key(1, 1), Output(b""), 0.0)
    assert (reasons(ended), started(ended)) == ({1: "output"}, [3])
    assert books.arrived(call(3), 0.0) == [], "a repeat"


def test_what_waited_too_long_does_not_start(books: g.Generations) -> None:
    for number in (1, 2):
        books.arrived(call(number), 0.0)
    books.arrived(call(3, deadline_s=5.0), 0.0)
    assert reasons(books.pump(5.0)) == {3: "expired"}


def test_a_cancelled_one_is_answered_when_the_model_has_ended_it(books: g.Generations) -> None:
    for number in (1, 2, 3):
        books.arrived(call(number), 0.0)
    assert reasons(books.cancelled(Key(1, 3))) == {3: "cancelled"}
    assert books.cancelled(Key(1, 1)) == [g.EndCall(Key(1, 1))]
    assert books.cancelled(Key(1, 1)) == []
    assert reasons(books.ended(Key(1, 1), Output(b"x"), 0.0)) == {1: "cancelled"}
    assert books.gateway_lost(1) == [g.EndCall(Key(1, 2))]


def test_a_drained_worker_returns_what_is_left(books: g.Generations) -> None:
    for number in (1, 2, 3):
        books.arrived(call(number), 0.0)
    books.drain()
    assert reasons(books.arrived(call(4), 0.0)) == {4: "draining"}
    assert reasons(books.hand_back()) == dict.fromkeys((1, 2, 3), "draining")
    assert (books.queued, books.running) == (0, 0)
    assert books.ended(Key(1, 1), Output(b""), 0.0) == []


class Counter:
    """Yields numbers up to the content of the message, and notes what was closed."""

    def __init__(self) -> None:
        self.closed: list[str] = []

    def chat(self, request: dict[str, Any]) -> Iterator[str | dict[str, Any] | Finish]:
        text = request["messages"][0]["content"]
        if text == "refuse":
            raise InputRefused("no such colour")
        try:
            for number in range(int(text)):
                yield f"{number} "
            yield Finish(prompt_tokens=3, completion_tokens=int(text), reason="length")
        finally:
            self.closed.append(text)


class Bench:
    def __init__(self, model: object) -> None:
        self.news: list[CallNews] = []
        self.calls = Calls(model, self.news.append)

    def run(self, *calls: g.Call, steps: int = 100) -> None:
        for one in calls:
            self.calls.start(one)
        for _ in range(steps):
            if not self.calls.can_step:
                break
            self.calls.step()

    def chunks(self, number: int) -> list[dict[str, Any]]:
        made = [n.data for n in self.news if isinstance(n, ChunkMade) and n.key.id == number]
        return [msgspec.json.decode(data) for data in made]

    def outcome(self, number: int) -> Outcome:
        [found] = [n.outcome for n in self.news if isinstance(n, CallEnded) and n.key.id == number]
        return found


def ask(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_a_stream_is_chunks_as_openais_clients_read_them() -> None:
    bench = Bench(Counter())
    bench.run(call(1, messages=ask("2"), stream_options={"include_usage": True}))
    chunks = bench.chunks(1)
    assert [c["choices"] for c in chunks] == [
        [{"index": 0, "delta": {"role": "assistant", "content": "0 "}, "finish_reason": None}],
        [{"index": 0, "delta": {"content": "1 "}, "finish_reason": None}],
        [{"index": 0, "delta": {}, "finish_reason": "length"}],
        [],
    ]
    assert {c["object"] for c in chunks} == {"chat.completion.chunk"}
    assert len({c["id"] for c in chunks}) == 1
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    assert [c.get("usage") for c in chunks] == [None, None, None, usage]
    assert bench.outcome(1) == Output(b"", tokens=5)


def test_without_stream_it_is_one_body() -> None:
    bench = Bench(Counter())
    bench.run(call(1, stream=False, messages=ask("3")))
    outcome = bench.outcome(1)
    assert isinstance(outcome, Output)
    body = msgspec.json.decode(outcome.body)
    assert body["object"] == "chat.completion"
    message = {"role": "assistant", "content": "0 1 2 "}
    assert body["choices"] == [{"index": 0, "message": message, "finish_reason": "length"}]
    assert body["usage"]["total_tokens"] == outcome.tokens == 6
    assert bench.chunks(1) == []


def test_generations_take_turns() -> None:
    bench = Bench(Counter())
    bench.run(call(1, messages=ask("3")), call(2, messages=ask("3")), steps=3)
    assert [n.key.id for n in bench.news] == [1, 2, 1, 2, 1, 2]


def test_a_slow_client_pauses_its_own_generation_only() -> None:
    bench = Bench(Counter())
    bench.run(call(1, messages=ask("500")), call(2, messages=ask("5")))
    read = len(bench.chunks(1))
    assert read <= CHUNK_WINDOW
    assert bench.outcome(2) == Output(b"", tokens=8)
    assert not bench.calls.can_step
    while bench.calls.can_step or read:
        bench.calls.release(Key(1, 1), read)
        before = len(bench.chunks(1))
        bench.run()
        read = len(bench.chunks(1)) - before
        assert read <= CHUNK_WINDOW
    assert bench.outcome(1) == Output(b"", tokens=503)


def test_a_cancelled_generation_is_closed_between_two_pieces() -> None:
    model = Counter()
    bench = Bench(model)
    bench.run(call(1, messages=ask("9")), steps=2)
    bench.calls.end(Key(1, 1))
    assert model.closed == ["9"]
    assert bench.outcome(1) == Failed("cancelled")
    assert not bench.calls.can_step


class Odd:
    """Gives what its message says."""

    def __init__(self, given: object) -> None:
        self.given = given

    def chat(self, request: dict[str, Any]) -> Any:
        return self.given


@pytest.mark.parametrize(
    ("model", "body", "reason", "text"),
    [
        (Counter(), {"messages": ask("refuse")}, "bad_input", "no such colour"),
        (Counter(), {"messages": ask("many")}, "model_error", "raised ValueError"),
        (Counter(), {"messages": []}, "bad_input", "`messages`"),
        (Counter(), {"messages": "hi"}, "bad_input", "`messages`"),
        (Counter(), {"n": 2}, "bad_input", "`n`"),
        (Odd(7), {}, "model_error", "raised TypeError"),
        (Odd([7]), {}, "model_error", "int, neither text nor Finish"),
        (Odd("x" * MAX_ITEM_BYTES), {}, "output_too_large", "exceeds"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_failures_are_named(
    model: object, body: dict[str, Any], reason: str, text: str, *, stream: bool
) -> None:
    bench = Bench(model)
    bench.run(call(1, stream=stream, **body))
    outcome = bench.outcome(1)
    assert isinstance(outcome, Failed)
    assert outcome.reason == reason
    assert text in outcome.detail


def test_a_plain_text_is_an_answer_too() -> None:
    bench = Bench(Odd("hello"))
    bench.run(call(1, stream=False))
    outcome = bench.outcome(1)
    assert isinstance(outcome, Output)
    assert msgspec.json.decode(outcome.body)["choices"][0]["message"]["content"] == "hello"


# --- comparisons ----------------------------------------------------------------------------------


class Comparing:
    """Numbers are the same if they differ by one at most."""

    def load(self, args: Any) -> None: ...

    def predict(self, batch: list[Any]) -> list[Any]:
        return batch

    def compare(self, old: Any, new: Any) -> Any:
        if isinstance(old, str):
            raise RuntimeError(old)
        return None if old is None else abs(old - new) <= 1


@pytest.mark.parametrize(
    ("pair", "found"),
    [
        ([1, 2], "true"),
        ([1, 3], "false"),
        ([None, 3], "compare returned NoneType, neither True nor False"),
        (["secret", 3], "the model raised RuntimeError"),
    ],
)
def test_a_model_compares_two_outputs(pair: list[Any], found: str) -> None:
    news: list[CallNews] = []
    calls = Calls(Comparing(), news.append)
    calls.start(g.Call(Key(1, -2), 1e9, COMPARE, msgspec.json.encode(pair), is_stream=False))
    calls.step()
    [ended] = news
    assert isinstance(ended, CallEnded)
    outcome = ended.outcome
    assert found == (outcome.detail if isinstance(outcome, Failed) else outcome.body.decode())
    assert not calls.can_step


class Noted:
    """The answers of a backend."""

    def __init__(self) -> None:
        self.outcomes: dict[int, Outcome] = {}
        self.order: list[int] = []

    def answer(self, key: Key, outcome: Outcome) -> None:
        self.order.append(key.id)
        self.outcomes[key.id] = outcome

    def chunk(self, key: Key, data: bytes) -> None: ...

    def began(self, run: object, costs: Mapping[Key, int]) -> None: ...

    def ended(self, run: object) -> None: ...


@pytest.fixture
def backend() -> Iterator[tuple[ModelBackend, Noted]]:
    sink, woken = Noted(), threading.Event()
    made = ModelBackend(Comparing(), {}, max_batch_cost=1, capacity=8, queue_limit=8)
    made.start(sink, woken.set)
    assert woken.wait(20)
    made.take_news(0.0)
    assert made.is_ready
    yield made, sink
    assert made.join(20)
    gc.unfreeze()


def test_a_worker_whose_comparison_hangs_ends() -> None:
    """Its limit is that of a measured batch: each revision on trial has answered before."""
    sink, entered, release = Noted(), threading.Event(), threading.Event()

    class Hanging(Comparing):
        def compare(self, old: Any, new: Any) -> Any:
            entered.set()
            release.wait()
            return super().compare(old, new)

    made = ModelBackend(Hanging(), {}, max_batch_cost=1, capacity=8, queue_limit=8)
    made.start(sink, lambda: None)
    try:

        def is_ready() -> bool:
            made.take_news(0.0)
            return made.is_ready

        wait_for(is_ready, "its model", 20.0)
        made.take(1, [Infer(1, 5000, b"1")], 0.0)
        until_answered(made, sink, 1)
        made.take(1, [Infer(-2, 5000, b"[1,2]", COMPARE)], 0.0)
        assert entered.wait(20)
        begun_s = time.monotonic()
        made.tick(0.0, begun_s + SHORTEST_LIMIT_S / 2)
        assert made.exit_code is None
        made.tick(0.0, begun_s + 2 * SHORTEST_LIMIT_S)
        assert made.exit_code == EXIT_HUNG
    finally:
        release.set()
        assert made.join(20)
        gc.unfreeze()


def until_answered(backend: ModelBackend, sink: Noted, count: int) -> None:
    def has_answered() -> bool:
        backend.take_news(0.0)
        return len(sink.order) >= count

    wait_for(has_answered, "answers", 20.0)


def test_what_is_loaded_is_no_part_of_later_collections(
    backend: tuple[ModelBackend, Noted],
) -> None:
    assert gc.get_freeze_count() > 1000


def test_comparisons_wait_until_there_is_no_request(backend: tuple[ModelBackend, Noted]) -> None:
    made, sink = backend
    assert made.compares
    compare = [Infer(-n, 5000, b"[1,2]", COMPARE) for n in range(1, 4)]
    made.take(1, [*compare, *(Infer(n, 5000, b"1") for n in range(1, 5))], 0.0)
    until_answered(made, sink, 7)
    assert sink.order.index(-2) > max(sink.order.index(n) for n in range(1, 5))
    assert [sink.outcomes[-n] for n in range(1, 4)] == [Output(b"true")] * 3


def test_a_worker_that_drains_compares_no_more(backend: tuple[ModelBackend, Noted]) -> None:
    made, sink = backend
    made.take(1, [Infer(1, 5000, b"1"), Infer(-2, 5000, b"[1,2]", COMPARE)], 0.0)
    made.drain(0.0)
    until_answered(made, sink, 2)
    assert (sink.outcomes[1], sink.outcomes[-2]) == (Output(b"1"), Failed("draining"))


def test_a_comparison_that_waited_too_long_is_not_made(
    backend: tuple[ModelBackend, Noted],
) -> None:
    made, sink = backend
    made.take(1, [Infer(1, 5000, b"1"), Infer(-2, 1000, b"[1,2]", COMPARE)], 0.0)
    made.tick(0.0, 2.0)
    assert sink.outcomes[-2] == Failed("expired")
    until_answered(made, sink, 2)
