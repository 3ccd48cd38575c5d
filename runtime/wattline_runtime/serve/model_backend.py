"""Answers requests by a model: the batcher, the generations, and the model's thread."""

import faulthandler
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from queue import Empty, SimpleQueue

import msgspec
import structlog

from wattline_runtime.serve import batcher as b
from wattline_runtime.serve import generations as g
from wattline_runtime.serve.backend import EXIT_FAILED, EXIT_HUNG, Sink, Work
from wattline_runtime.serve.batch_times import UNMEASURED_LIMIT_S
from wattline_runtime.serve.calls import CallEnded, ChunkMade
from wattline_runtime.serve.model import InputRefused, Model, decode_input, measure, offered
from wattline_runtime.serve.model_thread import (
    ModelDied,
    ModelLoaded,
    ModelLoading,
    ModelThread,
    News,
)
from wattline_runtime.wire import (
    CHAT,
    COMPARE,
    COMPLETE,
    MAX_DETAIL_CHARS,
    PREDICT,
    Infer,
    MoreChunks,
)

log = structlog.get_logger()

FROZEN_S = 1.5
"""The main thread ticks every half second; if it has not for so long, the process did not run."""
CONCURRENCY = 8
"""Generations at once, unless the model says otherwise."""
BY_CALLS = (CHAT, COMPLETE)
COMPARISONS_QUEUED = 16
BATCH = "batch"
"""The run of a batch; there is one at a time. That of a call is its key."""


class ModelBackend:
    """A model, and all requests for it."""

    def __init__(
        self,
        model: Model,
        args: Mapping[str, str],
        *,
        max_batch_cost: int,
        capacity: int,
        queue_limit: int,
        batch_timeout_s: float = 0.0,
        torch_threads: int = 1,
    ) -> None:
        self.methods = offered(model)
        self.takes_bytes = getattr(model, "takes_bytes", False) is True
        self.compares = callable(getattr(model, COMPARE, None))
        self.progress = ""
        """What `load` yielded last."""
        self.exit_code: int | None = None
        """Set: the model failed, or it hangs."""
        self._limit = capacity
        self._batch_timeout_s = batch_timeout_s
        self._batcher = b.Batcher(budget=max_batch_cost, queue_limit=queue_limit)
        concurrency = max(1, int(getattr(model, "concurrency", CONCURRENCY)))
        self._generations = g.Generations(concurrency, queue_limit)
        self._comparisons = g.Generations(0, COMPARISONS_QUEUED)
        """One at a time, while there is no request."""
        self._news: SimpleQueue[News] = SimpleQueue()
        self._thread = ModelThread(
            model, args, self._post, torch_threads=torch_threads, max_batch_cost=max_batch_cost
        )
        self._model: Model | None = None
        self._thawed_s = 0.0
        """When the process last ran again after it had been frozen."""
        self._sink: Sink
        self._wake: Callable[[], None]

    # --- state

    @property
    def is_ready(self) -> bool:
        """The model is loaded."""
        return self._model is not None

    @property
    def capacity(self) -> int:
        """Two batches, as measured, or the generations that run at once."""
        wanted = self._generations.limit if set(self.methods) & {*BY_CALLS} else 0
        if set(self.methods) - {*BY_CALLS}:
            wanted = max(wanted, self._batcher.window)
        return min(self._limit, wanted)

    @property
    def queued(self) -> int:
        """In both queues."""
        return self._batcher.queued + self._generations.queued

    @property
    def running(self) -> int:
        """In the batch, and generations."""
        return self._batcher.running + self._generations.running

    @property
    def is_draining(self) -> bool:
        """No new requests are accepted."""
        return self._batcher.is_draining

    def expected_s(self, requests: int) -> float:
        """As measured."""
        return self._batcher.times.batch_s(requests)

    def age_s(self, now_s: float) -> float:
        """Since when the batch runs, or the newest step of the generations."""
        since_s = self._thread.stepping_since_s
        step_s = 0.0 if since_s is None else max(0.0, now_s - max(since_s, self._thawed_s))
        return max(self._batcher.batch_age_s(now_s), step_s)

    # --- life

    def start(self, sink: Sink, wake: Callable[[], None]) -> None:
        """Begin to load the model."""
        self._sink, self._wake = sink, wake
        self._thread.start()

    def join(self, timeout_s: float) -> bool:
        """Wait for the model thread. False: it hangs in user code."""
        return self._thread.stop(timeout_s)

    def drain(self, now_s: float) -> None:
        """Accept no new requests."""
        self._apply(self._comparisons.hand_back())
        self._generations.drain()
        self._apply(self._batcher.handle(b.DrainStarted(), now_s))

    def hand_back(self, now_s: float) -> None:
        """Answer all as not done."""
        self._apply(self._batcher.handle(b.GraceOver(), now_s))
        self._apply(self._generations.hand_back())
        self._apply(self._comparisons.hand_back())

    def tick(self, unseen_s: float, now_s: float) -> None:
        """A call over its limit: end, so that the task is restarted, and show where it hangs."""
        self._apply(self._generations.pump(now_s))
        self._compare(now_s)
        if unseen_s > FROZEN_S:  # paused with its job, or stopped by a signal
            self._apply(self._batcher.handle(b.WasFrozen(unseen_s), now_s))
            self._thawed_s = now_s
        age_s = self._batcher.batch_age_s(now_s) or self.age_s(now_s)
        limit_s = self._batch_timeout_s
        if not limit_s:
            is_measured = self._batcher.running or self._comparisons.running
            limit_s = self._batcher.times.limit_s() if is_measured else UNMEASURED_LIMIT_S
        if age_s <= limit_s:
            return
        comparing = self._comparisons.running
        log.error(
            "batch_timeout", running=self.running, comparing=comparing, age_s=age_s, limit_s=limit_s
        )
        faulthandler.dump_traceback(sys.stderr, all_threads=True)
        self._apply(self._batcher.handle(b.ModelHung(), now_s))
        self.exit_code = EXIT_HUNG

    # --- requests

    def take(self, gateway: int, work: Sequence[Work], now_s: float) -> None:
        """Inputs that arrived together may share a batch."""
        items: list[b.Item] = []
        for message in work:
            key = b.Key(gateway, message.id)
            if isinstance(message, MoreChunks):
                self._thread.release(key, message.count)
            elif isinstance(message, Infer) and message.method in BY_CALLS:
                self._take_call(key, message, now_s)
            elif isinstance(message, Infer) and message.method == COMPARE:
                self._take_comparison(key, message, now_s)
            elif isinstance(message, Infer):
                item = self._item(key, message, now_s)
                if isinstance(item, b.Failed):
                    self._sink.answer(key, item)
                else:
                    items.append(item)
            else:
                self._apply(self._batcher.handle(b.Arrived(tuple(items)), now_s))
                items.clear()
                self._apply(self._batcher.handle(b.Cancelled(key), now_s))
                self._apply(self._generations.cancelled(key))
        if items:
            self._apply(self._batcher.handle(b.Arrived(tuple(items)), now_s))
        self._compare(now_s)

    def _refusal(self, message: Infer) -> b.Failed | None:
        if self._model is None:
            return b.Failed("overloaded", "the model is still loading")
        if message.method not in self.methods:
            return b.Failed("bad_input", f"the model does not offer {message.method[:100]!r}")
        return None

    def _take_call(self, key: b.Key, message: Infer, now_s: float) -> None:
        refusal = self._refusal(message)
        if refusal is not None:
            self._sink.answer(key, refusal)
            return
        self._apply(self._generations.arrived(_call(key, message, now_s), now_s))

    def _take_comparison(self, key: b.Key, message: Infer, now_s: float) -> None:
        if self._model is None or not self.compares:
            self._sink.answer(key, b.Failed("bad_input", "the model does not compare outputs"))
            return
        self._comparisons.limit = 0  # requests may have come with it
        self._apply(self._comparisons.arrived(_call(key, message, now_s), now_s))

    def _compare(self, now_s: float) -> None:
        """The next comparison, unless there is any request."""
        self._comparisons.limit = 0 if self.running or self.queued else 1
        self._apply(self._comparisons.pump(now_s))

    def _item(self, key: b.Key, message: Infer, now_s: float) -> b.Item | b.Failed:
        refusal = self._refusal(message)
        if refusal is not None or self._model is None:
            return refusal or b.Failed("overloaded")
        try:
            value = decode_input(message)
            cost, length = measure(self._model, value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, InputRefused) as error:
            return b.Failed("bad_input", str(error)[:MAX_DETAIL_CHARS])
        except ValueError as error:
            if message.method == PREDICT:
                return b.Failed("bad_input", f"ValueError: {error}"[:MAX_DETAIL_CHARS])
            return b.Failed("bad_input", str(error)[:MAX_DETAIL_CHARS])
        except Exception as error:  # the model's cost or length failed for this input
            return b.Failed("bad_input", f"{type(error).__name__}: {error}"[:MAX_DETAIL_CHARS])
        return b.Item(key, now_s + message.budget_ms / 1000, cost, length, value)

    def gateway_lost(self, gateway: int, now_s: float) -> None:
        """Its requests are no longer needed."""
        self._apply(self._batcher.handle(b.GatewayLost(gateway), now_s))
        self._apply(self._generations.gateway_lost(gateway))
        self._apply(self._comparisons.gateway_lost(gateway))

    def _apply(self, effects: Iterable[b.Effect | g.Effect]) -> None:
        for effect in effects:
            if isinstance(effect, b.RunBatch):
                self._sink.began(BATCH, {item.key: item.cost for item in effect.items})
                self._thread.submit(effect.items)
            elif isinstance(effect, g.StartCall):
                self._sink.began(effect.call.key, {effect.call.key: 1})
                self._thread.call(effect.call)
            elif isinstance(effect, g.EndCall):
                self._thread.end(effect.key)
            else:
                self._sink.answer(effect.key, effect.outcome)

    # --- news of the model thread

    def _post(self, news: News) -> None:
        self._news.put(news)
        self._wake()

    def take_news(self, now_s: float) -> None:
        """All that the model thread has reported."""
        while True:
            try:
                news = self._news.get_nowait()
            except Empty:
                break
            self._take_note(news, now_s)
        self._compare(now_s)

    def _take_note(self, news: News, now_s: float) -> None:
        if isinstance(news, ChunkMade):
            self._sink.chunk(news.key, news.data)
        elif isinstance(news, CallEnded):
            self._sink.ended(news.key)
            self._apply(self._generations.ended(news.key, news.outcome, now_s))
            self._apply(self._comparisons.ended(news.key, news.outcome, now_s))
        elif isinstance(news, ModelLoading):
            self.progress = news.progress
            log.info("model_loading", progress=news.progress)
        elif isinstance(news, ModelLoaded):
            self._model, self.progress = news.model, ""
            if news.warm_up.fits is not None:
                self._batcher.budget = news.warm_up.fits
            for run in news.warm_up.runs:
                self._batcher.times.note(run.cost, run.count, run.length, run.seconds, now_s)
            log.info("model_loaded", warm_up_batches=len(news.warm_up.runs))
        elif isinstance(news, ModelDied):
            log.error("model_died", detail=news.detail)
            self.hand_back(now_s)
            self.exit_code = EXIT_FAILED
        else:
            self._sink.ended(BATCH)
            if isinstance(news, b.OutOfMemory):
                log.warning("out_of_memory", batch=self._batcher.running)
            self._apply(self._batcher.handle(news, now_s))


def _call(key: b.Key, message: Infer, now_s: float) -> g.Call:
    deadline_s = now_s + message.budget_ms / 1000
    return g.Call(key, deadline_s, message.method, message.input, message.stream)
