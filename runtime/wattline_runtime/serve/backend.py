"""Backends of a worker, which answer its requests: a model, or an HTTP server (the bridge)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from wattline_runtime.serve.batcher import Key, Outcome
from wattline_runtime.wire import CancelInfer, Infer, MoreChunks

EXIT_OK = 0
EXIT_FAILED = 3
EXIT_HUNG = 4

Work = Infer | CancelInfer | MoreChunks


class Sink(Protocol):
    """Receives the answers of a backend; on the worker's main thread."""

    def answer(self, key: Key, outcome: Outcome) -> None:
        """Exactly one for each Infer."""

    def chunk(self, key: Key, data: bytes) -> None:
        """A part of a stream."""

    def began(self, run: object, costs: Mapping[Key, int]) -> None:
        """Requests run from now on, together; `run` identifies that until it has `ended`."""

    def ended(self, run: object) -> None:
        """They do so no longer. Before their answers."""


class Backend(Protocol):
    """All methods run on the worker's main thread."""

    exit_code: int | None
    """Set: the worker is to end."""
    methods: tuple[str, ...]
    """Methods that it offers."""
    takes_bytes: bool
    """Inputs may be bytes."""
    compares: bool
    """It can compare two outputs."""

    @property
    def is_ready(self) -> bool:
        """It takes requests."""

    @property
    def progress(self) -> str:
        """Its status text while it is not ready."""

    @property
    def capacity(self) -> int:
        """Requests that a gateway should have here at once."""

    @property
    def queued(self) -> int:
        """Requests that wait here."""

    @property
    def running(self) -> int:
        """Requests that are being answered."""

    @property
    def is_draining(self) -> bool:
        """It accepts no new requests."""

    def start(self, sink: Sink, wake: Callable[[], None]) -> None:
        """Begin; `wake` may be called by any thread, and leads to `take_news`."""

    def take(self, gateway: int, work: Sequence[Work], now_s: float) -> None:
        """Messages of a gateway's connection."""

    def take_news(self, now_s: float) -> None:
        """Handle the reports of its threads."""

    def tick(self, unseen_s: float, now_s: float) -> None:
        """Twice a second; `unseen_s` is how long the last time is ago."""

    def gateway_lost(self, gateway: int, now_s: float) -> None:
        """The requests of this connection are no longer needed."""

    def drain(self, now_s: float) -> None:
        """Finish the present requests, accept no new ones."""

    def hand_back(self, now_s: float) -> None:
        """Answer all as not done, so that another worker can serve them."""

    def expected_s(self, requests: int) -> float:
        """Measured time of a batch of so many requests; 0: unknown."""

    def age_s(self, now_s: float) -> float:
        """How long it has shown no progress with what it is doing; 0: it does nothing."""

    def join(self, timeout_s: float) -> bool:
        """Wait for its end. False: it hangs."""
