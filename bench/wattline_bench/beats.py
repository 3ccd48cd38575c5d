"""How many beats a second the scheduler takes, with an answer to each, over CURVE on loopback.

Budget (DESIGN 10): 12,500 nodes x 8 GPUs x 1 Hz on one core. The scheduler is the real process
with the real store; the agents are `senders` processes that hold `nodes` connections and say
Hello, Adopted and then beats as fast as they are answered: at most one unanswered beat a node.
Counted are answers in the measured seconds, and the scheduler's CPU time for them; beats per
CPU-second is the figure that does not depend on how many cores the senders take from it.
"""

import multiprocessing
import time
from multiprocessing.connection import Connection

import zmq

from wattline_bench.rig.hails import Hailer
from wattline_bench.rig.site import LiveSite, live_site, rack_site
from wattline_bench.verdict import Figures, judged, under
from wattline_protocol.trust.keys import JoinBundle
from wattline_protocol.wire.transport import ClientSocket

BUDGET_PER_CPU_S = 12_500.0
JOIN_WITHIN_S = 120.0


class Beats(Figures, frozen=True):
    """Of the measured seconds."""

    nodes: int
    gpus_per_node: int
    beats_answered_per_s: float
    scheduler_cores: float
    beats_per_cpu_s: float
    scheduler_rss_mib: float

    def misses(self) -> tuple[str, ...]:
        """One core must carry the budget."""
        return under("beats per CPU-second", self.beats_per_cpu_s, BUDGET_PER_CPU_S)


class Sender:
    """One process with many connections."""

    def __init__(self, bundles: list[JoinBundle], gpus: int) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._context.max_sockets = 4 * len(bundles) + 16
        self._poller = zmq.Poller()
        self._agents: dict[zmq.Socket[bytes], tuple[ClientSocket, Hailer]] = {}
        for bundle in bundles:
            link = ClientSocket(
                bundle.agent_endpoint,
                bundle.keys,
                bundle.scheduler_public_key,
                context=self._context,
            )
            self._agents[link.socket] = (link, Hailer(bundle.name, gpus))
            self._poller.register(link.socket, zmq.POLLIN)

    def join(self) -> None:
        """Every agent says hello and is adopted."""
        for link, agent in self._agents.values():
            if link.wait_connected(JOIN_WITHIN_S).state != "connected":
                raise RuntimeError(f"{agent.node} is not connected: {link.link}")
            link.send(agent.hello())
        deadline = time.monotonic() + JOIN_WITHIN_S
        while not all(agent.is_member for _, agent in self._agents.values()):
            if time.monotonic() > deadline:
                raise RuntimeError("not every node was adopted in time")
            self._turn(beats=False)

    def run(self, until_s: float) -> int:
        """Beats until then; answers received."""
        for link, agent in self._agents.values():
            link.send(agent.beat())
        answers = 0
        while time.monotonic() < until_s:
            answers += self._turn(beats=True)
        return answers

    def _turn(self, *, beats: bool) -> int:
        answers = 0
        for socket, _ in self._poller.poll(100):
            link, agent = self._agents[socket]
            for data in link.recv_batch():
                for reply in agent.heard(data):
                    link.send(reply)
            if beats and agent.is_answered:
                answers += 1
                link.send(agent.beat())
        return answers


def _send(bundles: list[JoinBundle], gpus: int, pipe: Connection) -> None:
    """A sender process: joins, waits for the start, reports its answers."""
    sender = Sender(bundles, gpus)
    sender.join()
    pipe.send("joined")
    until_s: float = pipe.recv()
    pipe.send(sender.run(until_s))


@judged
def measure(*, nodes: int, gpus: int, senders: int, seconds: float) -> Figures:
    """Join all nodes, then count answers for `seconds`."""
    with live_site(rack_site(nodes)) as live:
        return _measure(live, gpus, senders, seconds)


def _measure(live: LiveSite, gpus: int, senders: int, seconds: float) -> Beats:
    spawn = multiprocessing.get_context("spawn")
    pipes, workers = [], []
    for part in range(senders):
        here, there = spawn.Pipe()
        worker = spawn.Process(target=_send, args=(live.agents[part::senders], gpus, there))
        worker.start()
        pipes.append(here)
        workers.append(worker)
    for pipe in pipes:
        pipe.recv()
    before = live.core_time()
    until_s = time.monotonic() + seconds
    for pipe in pipes:
        pipe.send(until_s)
    answers = sum(pipe.recv() for pipe in pipes)
    cores = live.core_time().share_since(before)
    for worker in workers:
        worker.join()
    return Beats(
        nodes=len(live.agents),
        gpus_per_node=gpus,
        beats_answered_per_s=answers / seconds,
        scheduler_cores=cores,
        beats_per_cpu_s=answers / seconds / cores,
        scheduler_rss_mib=live.rss_mib(),
    )
