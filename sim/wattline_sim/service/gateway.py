"""What a gateway measures of the service in a second, and the rises that it reports at once."""

from bisect import bisect_left

from wattline_protocol.wire.rollouts import BUCKETS_S
from wattline_runtime.gateway.revisions.rises import LOOK_S, RiseWatch
from wattline_scheduler.core.model.service_traffic import MeanWork
from wattline_scheduler.power.scaling.service_load import Load
from wattline_sim.service.replicas import Replicas
from wattline_sim.service.requests import Requests


class Gateway:
    """Sends requests to replicas, and adds up seconds. Work is in input tokens."""

    def __init__(self, requests: Requests, replicas: Replicas) -> None:
        self._arrival_s = requests.arrival_s.tolist()
        self._tokens = requests.input_tokens.tolist()
        self._replicas = replicas
        self._next = 0
        self._arrived, self._requests = 0.0, 0
        self._watch, self._looked_s, self._rise = RiseWatch(), 0.0, 0.0
        self._mean = MeanWork()

    def arrive(self, until_s: float) -> None:
        """Requests that arrive before then."""
        first, self._rise = self._next, 0.0
        while self._looked_s + LOOK_S / 2 < until_s:
            self._looked_s += LOOK_S
            self._count(min(self._looked_s, until_s))
            self._rise = max(self._rise, self._watch.look(self._next, LOOK_S))
        self._replicas.take(range(first, self._next))

    def _count(self, until_s: float) -> None:
        arrivals = self._arrival_s
        while self._next < len(arrivals) and arrivals[self._next] < until_s:
            self._arrived += self._tokens[self._next]
            self._next += 1
            self._requests += 1

    @property
    def rise(self) -> float:
        """Work a second by which the load has risen, as it was seen since the last `arrive`."""
        return self._rise * self._mean.each

    def second(self, now_s: float) -> Load:
        """The load since the last call."""
        times = [0] * (len(BUCKETS_S) + 1)
        begun, answered = self._replicas.begun, 0.0
        for number in begun:
            answered += self._tokens[number]
            took_s = self._replicas.first_s[number] - self._arrival_s[number]
            times[bisect_left(BUCKETS_S, took_s)] += 1
        self._mean.add(len(begun), round(answered), 1.0)
        begun.clear()
        requests, arrived = self._requests, self._arrived
        self._requests, self._arrived = 0, 0.0
        waiting = {one.slot: one.waiting_tokens for one in self._replicas.ready(now_s)}
        queued = sum(self._tokens[number] for number in self._replicas.unrouted)
        return Load(requests, arrived, answered, queued, waiting, tuple(times))
