"""Answers a worker's requests by an HTTP server: OpenAI's routes, and `/infer`."""

from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

import structlog

from wattline_runtime.serve.backend import EXIT_FAILED, EXIT_HUNG, EXIT_OK, Sink, Work
from wattline_runtime.serve.batcher import Failed, Key
from wattline_runtime.serve.bridge.exchange import PATHS, Broken, Chunk, Exchange, News
from wattline_runtime.serve.bridge.server import Health, HttpServer
from wattline_runtime.wire import PREDICT, Infer, MoreChunks

log = structlog.get_logger()

ILL_S = 30.0
"""A server that fails its health checks for so long, and answers nothing, hangs."""


class HttpBackend:
    """The requests that are at the server; it has no queue of its own."""

    def __init__(
        self, server: HttpServer, *, methods: tuple[str, ...], capacity: int, infer_path: str
    ) -> None:
        self.methods = methods
        self.capacity = capacity
        """As configured: the server batches by itself."""
        self.takes_bytes = PREDICT in methods  # its server decides which
        self.compares = False  # there is no route for it
        self.queued = 0  # nothing waits here
        self.is_ready = self.is_draining = False
        self.exit_code: int | None = None
        """Set: the server has ended, or it hangs."""
        self._server = server
        self._paths = {**PATHS, PREDICT: infer_path}
        self._running: dict[Key, Exchange] = {}
        self._news: SimpleQueue[News | Health] = SimpleQueue()
        self._is_well = False
        self._ill_since_s = 0.0
        self._progress_s = 0.0
        """When the server last showed that it works."""
        self._detail = "starting"
        self._broken: list[Broken] = []
        self._sink: Sink
        self._wake: Callable[[], None]

    @property
    def progress(self) -> str:
        """Why it is not ready."""
        return "" if self.is_ready else self._detail

    @property
    def running(self) -> int:
        """Requests at the server."""
        return len(self._running)

    def expected_s(self, requests: int) -> float:  # noqa: ARG002 - as of each backend
        """Unknown: requests run beside each other."""
        return 0.0

    def age_s(self, now_s: float) -> float:
        """Since it last answered anything."""
        return now_s - self._progress_s if self._running else 0.0

    # --- life

    def start(self, sink: Sink, wake: Callable[[], None]) -> None:
        """Start the server. Raises OSError."""
        self._sink, self._wake = sink, wake
        self._server.start(self._post)

    def drain(self, now_s: float) -> None:  # noqa: ARG002
        """Accept no new requests."""
        self.is_draining = True

    def hand_back(self, now_s: float) -> None:  # noqa: ARG002
        """Return all; the server's connections end."""
        running, self._running = self._running, {}
        for key, exchange in running.items():
            exchange.cancel()
            self._sink.ended(key)
            self._sink.answer(key, Failed("draining"))

    def tick(self, unseen_s: float, now_s: float) -> None:
        """End with the server, and when it hangs."""
        status = self._server.exit_status
        if status is not None:
            self._ended(status, now_s)
            return
        self._settle_broken()
        if self.is_ready and not self._is_well:
            quiet_s = now_s - max(self._ill_since_s, self._progress_s)
            self._ill_since_s += unseen_s if unseen_s > 1.5 else 0.0  # the process was frozen
            if quiet_s > ILL_S:
                log.error("http_server_hangs", detail=self._detail, quiet_s=round(quiet_s, 1))
                self.exit_code = EXIT_HUNG

    def _ended(self, status: int, now_s: float) -> None:
        """The gateway learns it from the end of the connection, and counts it against requests
        that may be the reason; one that drains returns them."""
        if self.exit_code is not None:
            return
        if self.is_draining:
            self.hand_back(now_s)
            self.exit_code = EXIT_OK
        else:
            log.error("http_server_ended", status=status, running=len(self._running))
            self.exit_code = EXIT_FAILED

    def join(self, timeout_s: float) -> bool:
        """End the server."""
        self._server.stop(timeout_s)
        return True

    # --- requests

    def take(self, gateway: int, work: Sequence[Work], now_s: float) -> None:
        """Each request goes to the server at once."""
        for message in work:
            key = Key(gateway, message.id)
            if isinstance(message, Infer):
                self._take(key, message, now_s)
            elif (exchange := self._running.get(key)) is not None:
                if isinstance(message, MoreChunks):
                    exchange.release(message.count)
                else:
                    exchange.cancel()

    def _take(self, key: Key, message: Infer, now_s: float) -> None:
        if key in self._running:
            return
        if self.is_draining:
            self._sink.answer(key, Failed("draining"))
        elif not self.is_ready:
            self._sink.answer(key, Failed("overloaded", "the server is starting"))
        elif self._server.exit_status is not None:  # another program may have its port by now
            self._sink.answer(key, Failed("overloaded", "the server has ended"))
        elif message.method not in self.methods:
            text = f"the server does not offer {message.method[:100]!r}"
            self._sink.answer(key, Failed("bad_input", text))
        else:
            if not self._running:
                self._progress_s = now_s
            path = self._paths[message.method]
            exchange = Exchange(key, message, self._server.address, path, self._post)
            try:
                exchange.start()
            except RuntimeError:  # its task, or its account, has no thread left
                text = "no thread can be started for it"
                self._sink.answer(key, Failed("overloaded", text))
                return
            self._running[key] = exchange
            self._sink.began(key, {key: 1})

    def gateway_lost(self, gateway: int, now_s: float) -> None:  # noqa: ARG002
        """Its requests are no longer needed."""
        for key, exchange in self._running.items():
            if key.gateway == gateway:
                exchange.cancel()

    # --- news of threads

    def _post(self, news: News | Health) -> None:
        self._news.put(news)
        self._wake()

    def take_news(self, now_s: float) -> None:
        """All that the threads have reported."""
        while True:
            try:
                news = self._news.get_nowait()
            except Empty:
                return
            self._take_note(news, now_s)

    def _take_note(self, news: News | Health, now_s: float) -> None:
        if isinstance(news, Health):
            self._note_health(news, now_s)
        elif news.key not in self._running:
            return  # returned in the meantime
        elif isinstance(news, Chunk):
            self._progress_s = now_s
            self._sink.chunk(news.key, news.data)
        elif isinstance(news, Broken):
            # Whether the server has ended with it shows in a moment.
            log.warning("http_server_broke_off", request=news.key.id, detail=news.detail)
            self._broken.append(news)
        else:
            self._progress_s = now_s
            del self._running[news.key]
            self._sink.ended(news.key)
            self._sink.answer(news.key, news.outcome)

    def _settle_broken(self) -> None:
        """The server runs, so it dropped these connections alone."""
        broken, self._broken = self._broken, []
        for news in broken:
            if self._running.pop(news.key, None) is None:
                continue
            failed = Failed("draining")  # it is tried elsewhere
            if news.has_begun:
                failed = Failed("model_error", "the server behind the bridge broke off its answer")
            self._sink.ended(news.key)
            self._sink.answer(news.key, failed)

    def _note_health(self, news: Health, now_s: float) -> None:
        self._is_well, self._detail = news.is_well, news.detail
        if news.is_well:
            self._progress_s = now_s
            if not self.is_ready:
                log.info("http_server_ready", port=self._server.address[1])
            self.is_ready = True
        else:
            self._ill_since_s = now_s
            event = "http_server_not_well" if self.is_ready else "http_server_not_ready"
            log.warning(event, detail=news.detail)
