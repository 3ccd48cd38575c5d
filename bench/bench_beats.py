"""How many beats a second the scheduler takes, with an answer to each, over CURVE on loopback.

    python bench/bench_beats.py [--nodes N] [--gpus G] [--seconds S] [--json]

Budget (DESIGN 10): 12,500 nodes x 8 GPUs x 1 Hz on one core. The scheduler is the real process
with the real store; the agents are `--senders` processes that hold `--nodes` connections and say
Hello, Adopted and then beats as fast as they are answered: at most one unanswered beat a node.
Counted are answers in the measured seconds, and the scheduler's CPU time for them; beats per
CPU-second is the figure that does not depend on how many cores the senders take from it. Exit
status 1 if one core would not carry the budget.
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import zmq

from support.fake_agents import FakeAgent
from support.live_scheduler import SchedulerProcess, SiteDirectory
from support.sites import gpu, site
from wattline_protocol.codec import Codec
from wattline_protocol.ids import NodeId
from wattline_protocol.keys import JoinBundle
from wattline_protocol.messages import Beat, BeatSeen, FromAgent, ToAgent
from wattline_protocol.transport import ClientSocket

BUDGET_PER_CORE_S = 12_500.0
JOIN_WITHIN_S = 120.0


class Sender:
    """One process with many connections."""

    def __init__(self, bundles: list[JoinBundle], gpus: int) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._context.max_sockets = 4 * len(bundles) + 16
        self._poller = zmq.Poller()
        self._out: Codec[FromAgent] = Codec(FromAgent)
        self._in: Codec[ToAgent] = Codec(ToAgent)
        self._agents: dict[zmq.Socket[bytes], tuple[ClientSocket, FakeAgent]] = {}
        for bundle in bundles:
            agent = FakeAgent(NodeId(bundle.name), [gpu(i) for i in range(gpus)])
            link = ClientSocket(
                bundle.agent_endpoint,
                bundle.keys,
                bundle.scheduler_public_key,
                context=self._context,
            )
            self._agents[link.socket] = (link, agent)
            self._poller.register(link.socket, zmq.POLLIN)
        self.answers = 0

    def join(self) -> None:
        """Every agent says hello and is adopted."""
        for link, agent in self._agents.values():
            if link.wait_connected(JOIN_WITHIN_S).state != "connected":
                raise RuntimeError(f"{agent.node} is not connected: {link.link}")
            agent.say_hello()
            self._flush(link, agent)
        deadline = time.monotonic() + JOIN_WITHIN_S
        while not all(agent.incarnation for _, agent in self._agents.values()):
            if time.monotonic() > deadline:
                raise RuntimeError("not every node was adopted in time")
            self._turn(beats=False)

    def run(self, until_s: float) -> int:
        """Beats until then; answers received."""
        self.answers = 0
        for link, agent in self._agents.values():
            agent.say_beat()
            self._flush(link, agent)
        while time.monotonic() < until_s:
            self._turn(beats=True)
        return self.answers

    def _turn(self, *, beats: bool) -> None:
        for socket, _ in self._poller.poll(100):
            link, agent = self._agents[socket]
            for data in link.recv_batch():
                message = self._in.decode(data)
                agent.deliver(message)
                agent.heard.clear()
                if isinstance(message, BeatSeen) and beats:
                    self.answers += 1
                    if message.seq == agent.beat_seq:
                        agent.say_beat()
            self._flush(link, agent)

    def _flush(self, link: ClientSocket, agent: FakeAgent) -> None:
        said, agent.said = agent.said, []
        for message in said:
            if not isinstance(message, Beat) or message.seq == agent.beat_seq:
                link.send(self._out.encode(message))


def send(
    bundles: list[JoinBundle], gpus: int, pipe: "multiprocessing.connection.Connection"
) -> None:
    """A sender process: joins, waits for the start, reports its answers."""
    sender = Sender(bundles, gpus)
    sender.join()
    pipe.send("joined")
    until_s: float = pipe.recv()
    pipe.send(sender.run(until_s))


def measure(nodes: int, gpus: int, senders: int, seconds: float) -> dict[str, float]:
    """Join all nodes, then count answers for `seconds`."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        site_dir = SiteDirectory(path / "site", site().rack("a", nodes).build())
        names = [node.id for node in site_dir.site.nodes]
        with SchedulerProcess(site_dir.path, path / "state") as process:
            process.ready()
            return _measure(process, [site_dir.bundle(n) for n in names], gpus, senders, seconds)


def _measure(
    process: SchedulerProcess, bundles: list[JoinBundle], gpus: int, senders: int, seconds: float
) -> dict[str, float]:
    spawn = multiprocessing.get_context("spawn")
    pipes, workers = [], []
    for part in range(senders):
        here, there = spawn.Pipe()
        worker = spawn.Process(target=send, args=(bundles[part::senders], gpus, there))
        worker.start()
        pipes.append(here)
        workers.append(worker)
    for pipe in pipes:
        pipe.recv()
    scheduler = psutil.Process(process.process.pid)
    cpu_before = sum(scheduler.cpu_times()[:2])
    until_s = time.monotonic() + seconds
    for pipe in pipes:
        pipe.send(until_s)
    answers = sum(pipe.recv() for pipe in pipes)
    cpu_s = sum(scheduler.cpu_times()[:2]) - cpu_before
    for worker in workers:
        worker.join()
    return {
        "nodes": len(bundles),
        "gpus_per_node": gpus,
        "beats_answered_per_s": answers / seconds,
        "scheduler_cores": cpu_s / seconds,
        "beats_per_cpu_s": answers / cpu_s,
        "rss_mib": scheduler.memory_info().rss / 2**20,
    }


def main() -> int:
    """Print the figures; 1 if the budget is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--senders", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = measure(options.nodes, options.gpus, options.senders, options.seconds)
    ok = figures["beats_per_cpu_s"] >= BUDGET_PER_CORE_S
    if options.json:
        print(json.dumps({"ok": ok, **figures}))
    else:
        for name, value in figures.items():
            print(f"{name:24} {value:12,.2f}")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
