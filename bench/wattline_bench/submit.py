"""How many submissions a second the scheduler accepts, each on disk before it is answered.

Budgets (DESIGN 10): ≥ 300 /s one by one, ≥ 2,000 /s in arrays or batches. A real scheduler process
and one client over CURVE; no agents, so that only acceptance is measured. "One by one" waits for
each answer; "batches" keeps 64 under way; "arrays" counts the tasks of arrays of 100.
"""

import time

from wattline_bench.rig.site import LiveSite, live_site, rack_site
from wattline_bench.verdict import Figures, judged, under
from wattline_protocol.codec import Codec
from wattline_protocol.job import ArraySpec, JobSpec, Recovery, Resources
from wattline_protocol.messages import PROTOCOL_VERSION
from wattline_protocol.requests import (
    Ask,
    ClientHello,
    ClientWelcome,
    FromClient,
    Submit,
    Submitted,
    Tell,
    ToClient,
)
from wattline_protocol.transport import ClientSocket

ONE_BY_ONE_PER_S_MIN = 300.0
BATCHED_PER_S_MIN = 2_000.0
UNDER_WAY = 64
ANSWER_S = 20.0


class Accepted(Figures, frozen=True):
    """Submissions that are on disk and answered, a second."""

    one_by_one_per_s: float
    batched_per_s: float
    array_tasks_per_s: float

    def misses(self) -> tuple[str, ...]:
        """Arrays or batches: whichever is better."""
        batched = max(self.batched_per_s, self.array_tasks_per_s)
        return (
            *under("submissions/s one by one", self.one_by_one_per_s, ONE_BY_ONE_PER_S_MIN),
            *under("submissions/s in batches", batched, BATCHED_PER_S_MIN),
        )


class PlainClient:
    """A client without a thread: what it costs is next to nothing."""

    def __init__(self, live: LiveSite) -> None:
        bundle = live.operator
        self._socket = ClientSocket(
            bundle.client_endpoint, bundle.keys, bundle.scheduler_public_key
        )
        self._out: Codec[FromClient] = Codec(FromClient)
        self._in: Codec[ToClient] = Codec(ToClient)
        self._inbox: list[ToClient] = []
        if self._socket.wait_connected(ANSWER_S).state != "connected":
            raise RuntimeError(f"no connection: {self._socket.link}")
        self._say(ClientHello(PROTOCOL_VERSION, "bench"))
        if not isinstance(self.next(), ClientWelcome):
            raise RuntimeError("the scheduler does not welcome this client")

    def submit(self, number: int, spec: JobSpec, token: str) -> None:
        """Ask, without waiting."""
        self._say(Ask(number, Submit(spec, token)))

    def _say(self, message: FromClient) -> None:
        if not self._socket.send(self._out.encode(message)):
            raise RuntimeError("the connection's queue is full")

    def next(self) -> ToClient:
        """The next message."""
        until_s = time.monotonic() + ANSWER_S
        while not self._inbox:
            if time.monotonic() > until_s:
                raise RuntimeError(f"no answer within {ANSWER_S:g} s")
            if self._socket.poll(0.05):
                self._inbox += [self._in.decode(data) for data in self._socket.recv_batch()]
        return self._inbox.pop(0)

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()


def _job(tasks: int) -> JobSpec:
    return JobSpec(
        name="work",
        command=("true",),
        resources=Resources(gpus_per_node=1),
        recovery=Recovery(grace_s=5.0),
        array=ArraySpec(tuple(range(tasks)), 0) if tasks > 1 else None,
    )


def _per_s(client: PlainClient, spec: JobSpec, count: int, under_way: int) -> float:
    """Rate of accepted submissions with that many under way; waits for every answer."""
    began_s = time.perf_counter()
    started = answered = 0
    while answered < count:
        while started < count and started - answered < under_way:
            started += 1
            client.submit(started, spec, f"{began_s}-{started}")
        told = client.next()
        if not isinstance(told, Tell) or not isinstance(told.answer, Submitted):
            raise RuntimeError(f"not accepted: {told}")
        answered += 1
    return count / (time.perf_counter() - began_s)


@judged
def measure() -> Figures:
    """All figures against one fresh scheduler."""
    with live_site(rack_site(4)) as live:
        client = PlainClient(live)
        try:
            return Accepted(
                _per_s(client, _job(1), 500, 1),
                _per_s(client, _job(1), 3_000, UNDER_WAY),
                100 * _per_s(client, _job(100), 100, 1),
            )
        finally:
            client.close()
