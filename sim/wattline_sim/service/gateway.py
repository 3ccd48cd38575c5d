"""What a gateway measures of the service in a second."""

from bisect import bisect_left

from wattline_protocol.wire.rollouts import BUCKETS_S
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

    def arrive(self, until_s: float) -> None:
        """Requests that arrive before then."""
        arrivals, first = self._arrival_s, self._next
        while self._next < len(arrivals) and arrivals[self._next] < until_s:
            self._arrived += self._tokens[self._next]
            self._next += 1
            self._requests += 1
        self._replicas.take(range(first, self._next))

    def second(self, now_s: float) -> Load:
        """The load since the last call."""
        times = [0] * (len(BUCKETS_S) + 1)
        begun, answered = self._replicas.begun, 0.0
        for number in begun:
            answered += self._tokens[number]
            took_s = self._replicas.first_s[number] - self._arrival_s[number]
            times[bisect_left(BUCKETS_S, took_s)] += 1
        begun.clear()
        requests, arrived = self._requests, self._arrived
        self._requests, self._arrived = 0, 0.0
        waiting = {one.slot: one.waiting_tokens for one in self._replicas.ready(now_s)}
        queued = sum(self._tokens[number] for number in self._replicas.unrouted)
        return Load(requests, arrived, answered, queued, waiting, tuple(times))
