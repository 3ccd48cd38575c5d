"""Answers for clients: kept ones, those of equal requests in flight, and those of the core."""

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import msgspec
from msgspec.structs import replace
from starlette.types import Receive

from wattline_protocol.job.service_values import FROM_CACHE, STATIC
from wattline_protocol.wire.routes import Routes
from wattline_protocol.wire.service_settings import NO_SETTINGS, ServiceSettings
from wattline_runtime.gateway.answers.cache import AnswerCache, bound_all
from wattline_runtime.gateway.connections.client_watch import ClientWatch
from wattline_runtime.gateway.events import PLAIN, Outcome, Output, Refusal, RequestKind
from wattline_runtime.gateway.shell import GatewayShell, Waiter

SHARED_FAILURES = ("bad_input", "model_error", "output_too_large", "poison")
"""Failures that hold for every client that sent the input."""


class Follower(NamedTuple):
    """A client that waits for the request of another one, and its own request."""

    waiter: Waiter
    deadline_s: float
    seen: frozenset[str] | None
    kind: RequestKind

    def ends(self, outcome: Outcome | None) -> None:
        """It has its outcome, unless its task was cancelled while it waited."""
        if not self.waiter.done():
            self.waiter.set_result(outcome)


class Flight(msgspec.Struct, eq=False):
    """A request to the core that several clients wait for; the core's shell ends it."""

    service: str
    key: bytes
    deadline_s: float
    kind: RequestKind
    cache: "FlightCache"
    generation: int
    """Of the cache when it began."""
    waiter: Waiter
    """The leader's."""
    land: "Callable[[Flight, Outcome | None], None]"
    """Called with its outcome."""
    leader: int = 0
    """Its number in the core, once it is there."""
    followers: dict[int, Follower] = msgspec.field(default_factory=dict)
    """Other clients by number."""
    is_left: bool = False
    """The leader's client has disconnected."""

    has_landed: bool = False
    """It has its outcome."""

    def done(self) -> bool:
        """Whether it has its outcome; the leader's client may have left before."""
        return self.has_landed

    def set_result(self, outcome: Outcome | None, /) -> None:
        """It has its outcome."""
        self.has_landed = True
        if not self.waiter.done():
            self.waiter.set_result(outcome)
        self.land(self, outcome)


FlightCache = AnswerCache[Flight]


class Answers:
    """The gateway's answers. All methods run on the loop's thread."""

    def __init__(self, shell: GatewayShell, cache_bytes: int, processes: int = 1) -> None:
        """`cache_bytes`: of all caches of the gateway, which are divided among its processes."""
        self._shell = shell
        self._loop = asyncio.get_running_loop()
        self._cache_bytes = cache_bytes // processes
        self._processes = processes
        self._settings: Mapping[str, ServiceSettings] = {}
        self.caches: dict[str, FlightCache] = {}
        self._open: dict[str, FlightCache] = {}
        """Caches in use: those of services with one revision."""
        self._flights: dict[int, Flight] = {}
        """By the number of the leader, and of each follower."""
        self._resubmitted: dict[int, int] = {}
        """Followers by number, whose flight ended without an answer: their number in the core."""
        self._followers = 0

    # --- settings

    def change_routes(self, routes: Routes) -> None:
        """Apply new routes and settings; a service's cache is emptied when its revision changes,
        and not used while it has two."""
        settings = self._settings = routes.settings
        self._open = {}
        for name in self.caches.keys() - {n for n, s in settings.items() if s.cache_bytes}:
            del self.caches[name]
        for name, its in settings.items():
            if not its.cache_bytes:
                continue
            size_bytes = its.cache_bytes // self._processes
            cache = self.caches.setdefault(name, AnswerCache(its.cache_ttl_s, size_bytes))
            cache.ttl_s, cache.size_bytes = its.cache_ttl_s, size_bytes
            cache.shrink(cache.size_bytes)
            revisions = {route.ref.job for route in routes.services.get(name, ())}
            if len(revisions) == 1:
                cache.change_revision(revisions.pop())
            if len(revisions) <= 1:
                self._open[name] = cache
        self._shell.change_routes(routes)

    def fallback(self, service: str) -> tuple[str, ...]:
        """Entries of the service's fallback, in order."""
        return self._settings.get(service, NO_SETTINGS).fallback

    def keeps(self, service: str) -> bool:
        """Whether the service has a cache."""
        return service in self.caches

    # --- requests

    def submit(
        self,
        service: str,
        key: bytes,
        deadline_s: float,
        seen: frozenset[str] | None = None,
        kind: RequestKind = PLAIN,
        *,
        may_share: bool = True,
    ) -> tuple[int, Waiter, bool]:
        """Number and waiter of a request, and whether it costs no run of the model. `seen`:
        services that the client may know of; None = all."""
        cache = self._open.get(service) if may_share else None
        if cache is None:
            return *self._shell.submit(service, key, deadline_s, seen, kind), False
        now_s = time.monotonic()
        kept = cache.fresh(key, now_s)
        if kept is not None:
            cache.hits += 1
            return 0, self._done(Output(kept)), True
        flight = cache.flights.get(key)
        is_soon = flight is not None and flight.kind.rank <= kind.rank
        if flight is not None and is_soon and flight.deadline_s <= deadline_s:
            cache.hits += 1
            waiter = self._loop.create_future()
            follower = Follower(waiter, deadline_s, seen, kind)
            return self._follow(flight, follower), waiter, True
        cache.misses += 1
        waiter = self._loop.create_future()
        flight = Flight(
            service, key, deadline_s, kind, cache, cache.generation, waiter, self._landed
        )
        number = self._shell.submit_for(flight, service, key, deadline_s, seen, kind)
        if not waiter.done():
            flight.leader = number
            self._flights[number] = flight
            cache.flights.setdefault(key, flight)
        return number, waiter, False

    def abandon(self, number: int) -> None:
        """The client of this request has disconnected; its waiter gets None, unless others wait
        for the same."""
        flight = self._flights.get(number)
        if flight is None:
            self._shell.abandon(self._resubmitted.pop(number, number))
            return
        if number == flight.leader:
            flight.is_left = True
        else:
            del self._flights[number]
            flight.followers.pop(number).ends(None)
        if flight.is_left and not flight.followers:
            self._shell.abandon(flight.leader)

    def watch(self, receive: Receive, numbers: list[int]) -> ClientWatch:
        """Abandon these requests once their client has disconnected, until the watch ends."""
        return self._shell.clients.watch(self.abandon, receive, numbers)

    def _follow(self, flight: Flight, follower: Follower) -> int:
        self._followers -= 1  # the core's numbers are positive
        flight.followers[self._followers] = follower
        self._flights[self._followers] = flight
        return self._followers

    def _landed(self, flight: Flight, outcome: Outcome | None) -> None:
        if not flight.leader:
            return  # refused at once
        cache = flight.cache
        del self._flights[flight.leader]
        if cache.flights.get(flight.key) is flight:
            del cache.flights[flight.key]
        if isinstance(outcome, Output) and cache.generation == flight.generation:
            cache.keep(flight.key, outcome.body, time.monotonic())
            if len(self.caches) > 1 or cache.size_bytes > self._cache_bytes:
                bound_all(self.caches.values(), self._cache_bytes)
        if flight.followers:
            # Later, since it may submit requests: the core's effects are just being executed.
            self._loop.call_soon(self._follow_up, flight, outcome)

    def _follow_up(self, flight: Flight, outcome: Outcome | None) -> None:
        is_shared = isinstance(outcome, Output) or (
            outcome is not None and outcome.reason in SHARED_FAILURES
        )
        for number, one in flight.followers.items():
            del self._flights[number]
            if is_shared:
                one.ends(_without_run(outcome))
            else:
                ask = flight.service, flight.key, one.deadline_s, one.seen, one.kind
                again, own = self._shell.submit(*ask)
                self._resubmitted[number] = again
                own.add_done_callback(partial(self._pass_on, number, one.waiter))

    def _pass_on(self, number: int, waiter: Waiter, ended: Waiter) -> None:
        self._resubmitted.pop(number, None)
        if not waiter.done():
            waiter.set_result(ended.result())

    def _done(self, outcome: Outcome) -> Waiter:
        waiter: Waiter = self._loop.create_future()
        waiter.set_result(outcome)
        return waiter

    # --- instead of the service

    def count_fallback(self, service: str, entry: str, kind: RequestKind, took_s: float) -> None:
        """An entry of the service's fallback has answered, so long after the request came."""
        self._shell.stats.fallbacks[service, entry_name(entry)] += 1
        self._shell.answered_instead(service, kind, took_s)

    def begin_fallback(
        self,
        service: str,
        entry: str,
        key: bytes,
        deadline_s: float,
        seen: frozenset[str] | None,
        kind: RequestKind,
        *,
        may_share: bool,
    ) -> tuple[int, Waiter]:
        """Number and waiter of what an entry of the service's fallback answers."""
        if entry.startswith(STATIC):
            return 0, self._done(Output(entry.removeprefix(STATIC).encode()))
        if entry == FROM_CACHE:
            cache = self._open.get(service)
            kept = None if cache is None else cache.any(key)
            missing = Refusal("no_worker", "no answer to this input is kept")
            return 0, self._done(missing if kept is None else Output(kept))
        number, waiter, _ = self.submit(entry, key, deadline_s, seen, kind, may_share=may_share)
        return number, waiter


def _without_run(outcome: Outcome | None) -> Outcome | None:
    """What a client gets whose request needed no run of its own."""
    if isinstance(outcome, Output) and outcome.energy_uj is not None:
        return replace(outcome, energy_uj=None)
    return outcome


def entry_name(entry: str) -> str:
    """Display name of an entry of a fallback."""
    return "static" if entry.startswith(STATIC) else entry
