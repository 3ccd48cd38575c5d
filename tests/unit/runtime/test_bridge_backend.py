"""Requests of gateways that the bridge cannot pass on to its server."""

import sys
import threading
from collections.abc import Mapping

import pytest

from wattline_runtime.serve.batcher import Failed, Key, Outcome
from wattline_runtime.serve.bridge.backend import HttpBackend
from wattline_runtime.serve.bridge.server import Health, HttpServer
from wattline_runtime.wire import PREDICT, Infer


class Answers:
    """What the backend reports."""

    def __init__(self) -> None:
        self.found: list[tuple[Key, Outcome]] = []
        self.open: set[object] = set()

    def answer(self, key: Key, outcome: Outcome) -> None:
        self.found.append((key, outcome))

    def chunk(self, key: Key, data: bytes) -> None:
        raise AssertionError(f"{key} has a part of an answer: {data!r}")

    def began(self, run: object, costs: Mapping[Key, int]) -> None:
        self.open.add(run)

    def ended(self, run: object) -> None:
        self.open.discard(run)


def test_without_a_thread_a_request_goes_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread_is_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    server = HttpServer([sys.executable, "-c", "input()"], "/health")
    backend = HttpBackend(server, methods=(PREDICT,), capacity=4, infer_path="/infer")
    sink = Answers()
    backend.start(sink, lambda: None)
    backend._note_health(Health(is_well=True), 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread_is_left)
        backend.take(1, [Infer(7, 1_000, b"1")], 0.0)
    backend.join(1.0)
    assert sink.found == [(Key(1, 7), Failed("overloaded", "no thread can be started for it"))]
    assert (backend.running, sink.open) == (0, set())
