"""The worker's shell: connections to gateways, and what answers their requests.

The main thread does all I/O with gateways and never runs the model, so beats are sent and
cancellations received while a batch computes. Threads of the backend wake it by a pipe; signals
write to the same pipe.
"""

import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
import structlog
import zmq

from wattline_protocol.trust.keys import KeyPair
from wattline_runtime.serve.backend import EXIT_OK, Backend
from wattline_runtime.serve.batcher import Key, Outcome, Output
from wattline_runtime.serve.energy.worker_energy import WorkerEnergy
from wattline_runtime.serve.link import BEAT_PERIOD_S, LINGER_S, RETRY_S, GatewayLink
from wattline_runtime.wire import (
    OLDEST_WORKER_PROTOCOL_VERSION,
    WORKER_PROTOCOL_VERSION,
    Chunk,
    Failure,
    Reply,
    WorkerBeat,
    possible_tokens,
)

log = structlog.get_logger()


class WorkerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Configuration of a worker, set by `wattline_runtime.serve` from arguments and environment."""

    service: str
    gateways: tuple[tuple[str, str], ...]
    """Endpoint and public key (z85) of each."""
    drain_grace_s: float = 3.5
    """After a stop notice: time to finish the present requests. The rest is returned."""
    stop_file: str = ""


RETRY_SOON_S = 0.1
"""To reach a successor instead of its predecessor."""
CHANGE_PERIOD_S = 0.05
"""Least time between two beats when the capacity changes."""


class Worker:
    """One inference worker; `run` serves until a stop notice and returns the exit status."""

    def __init__(
        self, config: WorkerConfig, keys: KeyPair, backend: Backend, energy: WorkerEnergy
    ) -> None:
        self._config = config
        self._backend = backend
        self._energy = energy
        self._links = [GatewayLink(endpoint, keys, key) for endpoint, key in config.gateways]
        self._by_generation: dict[int, GatewayLink] = {}
        self._generations = 0
        self._complaints: dict[str, str] = {}
        """Last logged error of each unreachable gateway."""
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._poller = zmq.Poller()
        self._stop_requested = False
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
        self._energy.start()
        self._backend.start(self, self._wake)
        while self._exit_code is None:
            self._step()
        for link in self._links:
            link.flush()
            link.leave(0.0, LINGER_S)
        self._energy.stop()
        return self._exit_code

    # --- one turn of the loop

    def _step(self) -> None:
        timeout_ms = max(0.0, self._next_beat_s - time.monotonic()) * 1000
        ready = dict(self._poller.poll(int(timeout_ms) + 1))
        now_s = time.monotonic()
        if self._wake_read in ready:
            self._drain_pipe()
            self._take_news(now_s)
        for link in tuple(self._links):
            self._handle_link(link, ready, now_s)
        self._check_stop(now_s)
        if now_s >= self._next_beat_s:
            self._beat(now_s)
        for link in self._links:
            link.flush()

    def _handle_link(self, link: GatewayLink, ready: Mapping[object, int], now_s: float) -> None:
        if link.client is not None and link.client.monitor in ready:
            self._check_link(link, now_s)
        has_input = link.client is not None and link.client.socket in ready
        if has_input and (work := link.receive(now_s)):
            self._backend.take(link.generation, work, now_s)
        if link.must_move and link.successor is None:
            self._links.append(link.succeed())
            self._connect(self._links[-1], now_s)
        if link.has_new_ports:
            self._connect_siblings(link, now_s)
        if link.is_welcomed:
            self._complaints.pop(link.endpoint, None)
        if link.refused_because and self._is_successor(link):
            self._leave(link, now_s, RETRY_SOON_S)
            self._next_beat_s = min(self._next_beat_s, now_s + RETRY_SOON_S)
        elif link.refused_because:
            self._leave(link, now_s, RETRY_S)

    def _connect_siblings(self, link: GatewayLink, now_s: float) -> None:
        """Connect to all processes of its gateway."""
        link.has_new_ports = False
        known = {one.endpoint for one in self._links}
        for endpoint in link.siblings:
            if endpoint not in known:
                self._links.append(link.sibling(endpoint))
                self._connect(self._links[-1], now_s)
        self._next_beat_s = now_s  # the capacity is shared out among them

    def _is_obsolete(self, link: GatewayLink) -> bool:
        """Whether its gateway, which has been restarted, has no such process any more."""
        others = [o for o in self._links if o.is_welcomed and not o.must_move and o is not link]
        host, _, _ = link.endpoint.rpartition(":")
        theirs = [o for o in others if o.endpoint.rpartition(":")[0] == host]
        listed = any(link.endpoint in o.siblings for o in theirs)
        return link.is_sibling and bool(theirs) and not listed

    def _is_successor(self, link: GatewayLink) -> bool:
        """Its predecessor still listens at the same address, and refuses half of the attempts."""
        return any(one.successor is link for one in self._links)

    def _take_news(self, now_s: float) -> None:
        self._backend.take_news(now_s)
        self._exit_if_asked()
        if self._declared_capacity() == self._capacity:
            return
        if not self._capacity:  # report at once that there is capacity now
            self._next_beat_s = now_s
        self._next_beat_s = min(self._next_beat_s, self._last_beat_s + CHANGE_PERIOD_S)

    def _exit_if_asked(self) -> None:
        if self._exit_code is None:
            self._exit_code = self._backend.exit_code

    def _declared_capacity(self) -> int:
        return self._backend.capacity if self._backend.is_ready else 0

    # --- answers of the backend

    def answer(self, key: Key, outcome: Outcome) -> None:
        """The end of a request."""
        link = self._link_of(key)
        if link is None:
            self._energy.drop(key)
            return
        energy_uj = self._energy.take(key)
        if isinstance(outcome, Output):
            tokens = possible_tokens(outcome.tokens)
            link.send(Reply(key.id, outcome.body, outcome.is_bytes, tokens, energy_uj))
        else:
            link.send(Failure(key.id, outcome.reason, outcome.detail, energy_uj))

    def chunk(self, key: Key, data: bytes) -> None:
        """A part of a stream."""
        link = self._link_of(key)
        if link is not None:
            link.send(Chunk(key.id, data))

    def began(self, run: object, costs: Mapping[Key, int]) -> None:
        """Requests run."""
        self._energy.began(run, costs)

    def ended(self, run: object) -> None:
        """They have ended."""
        self._energy.ended(run)

    def _link_of(self, key: Key) -> GatewayLink | None:
        """None: that connection has ended, and so have its requests."""
        link = self._by_generation.get(key.gateway)
        return link if link is not None and link.generation == key.gateway else None

    # --- beats and connections

    def _beat(self, now_s: float) -> None:
        self._backend.tick(now_s - self._last_beat_s, now_s)
        self._exit_if_asked()
        self._last_beat_s, self._next_beat_s = now_s, now_s + BEAT_PERIOD_S
        self._capacity = self._declared_capacity()
        welcomed = [link for link in self._links if link.is_welcomed]
        self._energy.share_idle(welcomed, is_loaded=self._backend.is_ready)
        for link in tuple(self._links):
            if link.client is not None and link.is_silent(now_s):
                self._leave(link, now_s, retry_s=0.0)
            if link.client is None and now_s >= link.retry_at_s and not link.must_move:
                if self._is_obsolete(link):
                    self._links.remove(link)
                    continue
                self._connect(link, now_s)
            self._beat_to(link, now_s)

    def _beat_to(self, link: GatewayLink, now_s: float) -> None:
        backend, capacity = self._backend, link.share(self._capacity)
        link.send(
            WorkerBeat(
                OLDEST_WORKER_PROTOCOL_VERSION,
                self._config.service,
                capacity,
                backend.queued,
                backend.running,
                backend.is_draining,
                batch_s=backend.expected_s(max(1, capacity // 2)),
                lone_s=backend.expected_s(1),
                batch_age_s=backend.age_s(now_s),
                serves_two=True,
                newest=WORKER_PROTOCOL_VERSION,
                methods=backend.methods,
                takes_bytes=backend.takes_bytes,
                progress=backend.progress,
                compares=backend.compares,
                idle_uj=link.idle_uj,
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
        self._backend.gateway_lost(link.generation, now_s)

    # --- stopping

    def _take_signals(self) -> None:
        signal.signal(signal.SIGTERM, self._request_stop)
        signal.signal(signal.SIGINT, self._request_stop)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)

    def _request_stop(self, *_: object) -> None:
        self._stop_requested = True

    def _check_stop(self, now_s: float) -> None:
        if self._drain_until_s is None:
            if self._stop_requested or self._stop_file_exists():
                self._start_draining(now_s)
            return
        is_announced = all(link.drain_seen for link in self._links if link.is_welcomed)
        if is_announced and not self._backend.queued and not self._backend.running:
            self._exit_code = EXIT_OK if self._exit_code is None else self._exit_code
        elif now_s >= self._drain_until_s:
            log.warning("handed_back", queued=self._backend.queued, running=self._backend.running)
            self._backend.hand_back(now_s)
            self._exit_code = EXIT_OK if self._exit_code is None else self._exit_code

    def _start_draining(self, now_s: float) -> None:
        self._drain_until_s = now_s + self._config.drain_grace_s
        self._backend.drain(now_s)
        self._next_beat_s = now_s
        log.info("draining", queued=self._backend.queued, running=self._backend.running)

    def _stop_file_exists(self) -> bool:
        return bool(self._config.stop_file) and Path(self._config.stop_file).exists()

    # --- waking the poller

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # a full pipe wakes it as well
            os.write(self._wake_write, b"\0")

    def _drain_pipe(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._wake_read, 4096)  # what is left wakes the poller again
