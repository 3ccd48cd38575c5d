"""The worker's shell: connections to gateways, the batcher, and the model thread.

The main thread does all I/O and never runs the model, so beats are sent and cancellations received
while a batch computes. Events of the model thread arrive in a queue, with a pipe that wakes the
poller; signals write to the same pipe.
"""

import faulthandler
import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue

import msgspec
import structlog
import zmq

from wattline_protocol.trust.keys import KeyPair
from wattline_runtime.serve import batcher as b
from wattline_runtime.serve.link import BEAT_PERIOD_S, LINGER_S, RETRY_S, GatewayLink
from wattline_runtime.serve.model import InputRefused, Model, measure
from wattline_runtime.serve.model_thread import ModelDied, ModelLoaded, ModelThread, News
from wattline_runtime.wire import (
    MAX_DETAIL_CHARS,
    WORKER_PROTOCOL_VERSION,
    CancelInfer,
    Failure,
    Infer,
    Reply,
    WorkerBeat,
)

log = structlog.get_logger()


class WorkerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Configuration of a worker, set by `wattline_runtime.serve` from arguments and environment."""

    service: str
    gateways: tuple[tuple[str, str], ...]
    """Endpoint and public key (z85) of each."""
    max_batch_cost: int = 32
    capacity: int = 64
    """Requests a gateway may have here at once, at most; fewer while they take longer."""
    batch_timeout_s: float = 0.0
    """A batch that runs longer ends the worker; 0: see `BatchTimes.limit_s`."""
    torch_threads: int = 1
    drain_grace_s: float = 3.5
    """After a stop notice: time to finish the present requests. The rest is returned."""
    stop_file: str = ""


RETRY_SOON_S = 0.1
"""To reach a successor instead of its predecessor."""
CHANGE_PERIOD_S = 0.05
"""Least time between two beats when the capacity changes."""
FROZEN_S = 1.5
"""This thread sends a beat every half second; without one for so long, the process did not run."""
EXIT_OK = 0
EXIT_MODEL_FAILED = 3
EXIT_MODEL_HUNG = 4


class Worker:
    """One inference worker; `run` serves until a stop notice and returns the exit status."""

    def __init__(self, config: WorkerConfig, keys: KeyPair, model: Model, args: Mapping[str, str]):
        self._config = config
        self._links = [GatewayLink(endpoint, keys, key) for endpoint, key in config.gateways]
        self._by_generation: dict[int, GatewayLink] = {}
        self._generations = 0
        self._complaints: dict[str, str] = {}
        """Last logged error of each unreachable gateway."""
        self._batcher = b.Batcher(
            budget=config.max_batch_cost, queue_limit=config.capacity * (len(config.gateways) + 1)
        )
        self._news: SimpleQueue[News] = SimpleQueue()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._model_thread = ModelThread(
            model, args, self._post, torch_threads=config.torch_threads
        )
        self._poller = zmq.Poller()
        self._model: Model | None = None
        self._stop_asked = False
        self._drain_until_s: float | None = None
        self._next_beat_s = self._last_beat_s = 0.0
        self._capacity = 0
        """Sent in the newest beat."""
        self._exit_code: int | None = None

    def run(self) -> int:
        """Serve until a stop is requested; closes all connections."""
        self._take_signals()
        self._poller.register(self._wake_read, zmq.POLLIN)
        for link in self._links:
            self._connect(link, time.monotonic())
        self._model_thread.start()
        while self._exit_code is None:
            self._step()
        for link in self._links:
            link.flush()
            link.leave(0.0, LINGER_S)
        return self._exit_code

    def join_model(self, timeout_s: float) -> bool:
        """After `run`: wait for the model thread. False: it hangs in user code."""
        return self._model_thread.stop(timeout_s)

    # --- one turn of the loop

    def _step(self) -> None:
        timeout_ms = max(0.0, self._next_beat_s - time.monotonic()) * 1000
        ready = dict(self._poller.poll(int(timeout_ms) + 1))
        now_s = time.monotonic()
        if self._wake_read in ready:
            self._drain_pipe()
            self._take_news(now_s)
        for link in tuple(self._links):
            self._attend(link, ready, now_s)
        self._mind_the_stop(now_s)
        if now_s >= self._next_beat_s:
            self._beat(now_s)
        for link in self._links:
            link.flush()

    def _attend(self, link: GatewayLink, ready: Mapping[object, int], now_s: float) -> None:
        if link.client is not None and link.client.monitor in ready:
            self._check_link(link, now_s)
        if link.client is not None and link.client.socket in ready:
            self._take_work(link, link.receive(now_s), now_s)
        if link.must_move and link.successor is None:
            self._links.append(link.succeed())
            self._connect(self._links[-1], now_s)
        if link.is_welcomed:
            self._complaints.pop(link.endpoint, None)
        if link.refused_because and self._is_successor(link):
            self._leave(link, now_s, RETRY_SOON_S)
            self._next_beat_s = min(self._next_beat_s, now_s + RETRY_SOON_S)
        elif link.refused_because:
            self._leave(link, now_s, RETRY_S)

    def _is_successor(self, link: GatewayLink) -> bool:
        """Its predecessor still listens at the same address, and refuses half of the attempts."""
        return any(one.successor is link for one in self._links)

    def _take_news(self, now_s: float) -> None:
        while True:
            try:
                news = self._news.get_nowait()
            except Empty:
                return
            if isinstance(news, ModelLoaded):
                self._model = news.model
                self._next_beat_s = now_s  # report at once that there is capacity now
                log.info("model_loaded", service=self._config.service)
            elif isinstance(news, ModelDied):
                log.error("model_died", service=self._config.service, detail=news.detail)
                self._apply(self._batcher.handle(b.GraceOver(), now_s))
                self._exit_code = EXIT_MODEL_FAILED
            else:
                self._apply(self._batcher.handle(news, now_s))
                if min(self._config.capacity, self._batcher.window) != self._capacity:
                    self._next_beat_s = min(self._next_beat_s, self._last_beat_s + CHANGE_PERIOD_S)

    def _take_work(self, link: GatewayLink, work: list[Infer | CancelInfer], now_s: float) -> None:
        items: list[b.Item] = []
        for message in work:
            key = b.Key(link.generation, message.id)
            if isinstance(message, Infer):
                item = self._item(key, message, now_s)
                items.extend([item] if isinstance(item, b.Item) else [])
                if isinstance(item, b.Failed):
                    self._answer(b.Answer(key, item))
            else:
                self._apply(self._batcher.handle(b.Arrived(tuple(items)), now_s))
                items.clear()
                self._apply(self._batcher.handle(b.Cancelled(key), now_s))
        if items:
            self._apply(self._batcher.handle(b.Arrived(tuple(items)), now_s))

    def _item(self, key: b.Key, message: Infer, now_s: float) -> b.Item | b.Failed:
        if self._model is None:
            return b.Failed("overloaded", "the model is still loading")
        try:
            value = msgspec.json.decode(message.input)
            cost, length = measure(self._model, value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, InputRefused) as error:
            return b.Failed("bad_input", str(error)[:MAX_DETAIL_CHARS])
        except Exception as error:  # the model's cost or length failed for this input
            return b.Failed("bad_input", f"{type(error).__name__}: {error}"[:MAX_DETAIL_CHARS])
        return b.Item(key, now_s + message.budget_ms / 1000, cost, length, value)

    def _apply(self, effects: list[b.Effect]) -> None:
        for effect in effects:
            if isinstance(effect, b.RunBatch):
                self._model_thread.submit(effect.items)
            else:
                self._answer(effect)

    def _answer(self, answer: b.Answer) -> None:
        link = self._by_generation.get(answer.key.gateway)
        if link is None or link.generation != answer.key.gateway:
            return  # that connection has ended, and so have its requests
        outcome = answer.outcome
        if isinstance(outcome, b.Output):
            link.send(Reply(answer.key.id, outcome.body))
        else:
            link.send(Failure(answer.key.id, outcome.reason, outcome.detail))

    # --- beats and connections

    def _beat(self, now_s: float) -> None:
        self._end_if_hung(now_s)
        self._last_beat_s, self._next_beat_s = now_s, now_s + BEAT_PERIOD_S
        self._capacity = min(self._config.capacity, self._batcher.window)
        for link in tuple(self._links):
            if link.client is not None and link.is_silent(now_s):
                self._leave(link, now_s, retry_s=0.0)
            if link.client is None and now_s >= link.retry_at_s and not link.must_move:
                self._connect(link, now_s)
            self._beat_to(link, now_s)

    def _end_if_hung(self, now_s: float) -> None:
        """A batch over its limit: end, so that the task is restarted, and show where it hangs."""
        unseen_s = now_s - self._last_beat_s
        if unseen_s > FROZEN_S:  # paused with its job, or stopped by a signal
            self._apply(self._batcher.handle(b.WasFrozen(unseen_s), now_s))
        limit_s = self._config.batch_timeout_s or self._batcher.times.limit_s()
        age_s = self._batcher.batch_age_s(now_s)
        if age_s <= limit_s:
            return
        log.error("batch_timeout", running=self._batcher.running, age_s=age_s, limit_s=limit_s)
        faulthandler.dump_traceback(sys.stderr, all_threads=True)
        self._apply(self._batcher.handle(b.ModelHung(), now_s))
        self._exit_code = EXIT_MODEL_HUNG

    def _beat_to(self, link: GatewayLink, now_s: float) -> None:
        capacity = self._capacity
        link.send(
            WorkerBeat(
                WORKER_PROTOCOL_VERSION,
                self._config.service,
                0 if self._model is None else capacity,
                self._batcher.queued,
                self._batcher.running,
                self._batcher.is_draining,
                batch_s=self._batcher.times.batch_s(max(1, capacity // 2)),
                lone_s=self._batcher.times.batch_s(1),
                batch_age_s=self._batcher.batch_age_s(now_s),
                serves_two=True,
            )
        )

    def _connect(self, link: GatewayLink, now_s: float) -> None:
        self._generations += 1
        self._by_generation[self._generations] = link
        client = link.connect(self._generations, now_s)
        self._poller.register(client.socket, zmq.POLLIN)
        self._poller.register(client.monitor, zmq.POLLIN)

    def _check_link(self, link: GatewayLink, now_s: float) -> None:
        """Handle a possible change of the connection's state."""
        is_new = link.poll_link()
        if link.has_ended or (is_new and link.must_move):
            self._leave(link, now_s, RETRY_S)
        elif is_new:
            self._forget(link, now_s)
            self._generations += 1
            self._by_generation[self._generations] = link
            link.renew(self._generations, now_s)
            self._beat_to(link, now_s)

    def _leave(self, link: GatewayLink, now_s: float, retry_s: float) -> None:
        """Drop a connection and its requests; it is re-established after `retry_s`."""
        if link.client is None:
            return
        if link.must_move:
            self._links.remove(link)
            log.info("gateway_succeeded", gateway=link.endpoint)
        elif not self._is_successor(link) and link.detail != self._complaints.get(
            link.endpoint
        ):  # once, not at every try
            self._complaints[link.endpoint] = link.detail
            log.warning("gateway_lost", gateway=link.endpoint, reason=link.detail)
        self._poller.unregister(link.client.socket)
        self._poller.unregister(link.client.monitor)
        link.leave(now_s + retry_s)
        self._forget(link, now_s)

    def _forget(self, link: GatewayLink, now_s: float) -> None:
        """The requests of this connection are no longer needed."""
        self._by_generation.pop(link.generation, None)
        self._apply(self._batcher.handle(b.GatewayLost(link.generation), now_s))

    # --- stopping

    def _take_signals(self) -> None:
        signal.signal(signal.SIGTERM, self._ask_stop)
        signal.signal(signal.SIGINT, self._ask_stop)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)

    def _ask_stop(self, *_: object) -> None:
        self._stop_asked = True

    def _mind_the_stop(self, now_s: float) -> None:
        if self._drain_until_s is None:
            if self._stop_asked or self._stop_file_exists():
                self._start_draining(now_s)
            return
        is_announced = all(link.drain_seen for link in self._links if link.is_welcomed)
        if is_announced and not self._batcher.queued and not self._batcher.running:
            self._exit_code = EXIT_OK if self._exit_code is None else self._exit_code
        elif now_s >= self._drain_until_s:
            log.warning("handed_back", queued=self._batcher.queued, running=self._batcher.running)
            self._apply(self._batcher.handle(b.GraceOver(), now_s))
            self._exit_code = EXIT_OK if self._exit_code is None else self._exit_code

    def _start_draining(self, now_s: float) -> None:
        self._drain_until_s = now_s + self._config.drain_grace_s
        self._apply(self._batcher.handle(b.DrainStarted(), now_s))
        self._next_beat_s = now_s
        log.info("draining", queued=self._batcher.queued, running=self._batcher.running)

    def _stop_file_exists(self) -> bool:
        return bool(self._config.stop_file) and Path(self._config.stop_file).exists()

    # --- waking the poller

    def _post(self, news: News) -> None:
        self._news.put(news)
        with suppress(BlockingIOError):  # a full pipe wakes it as well
            os.write(self._wake_write, b"\0")

    def _drain_pipe(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self._wake_read, 4096):
                pass
