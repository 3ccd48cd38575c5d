"""Played nodes at one beat a second each, of which a share changes what it reports every second."""

import time
from multiprocessing.connection import Connection
from random import Random

import zmq

from wattline_bench.rig.hails import CAP_MAX_MW, Hailer
from wattline_protocol.ids import AttemptNo, GpuIndex, JobId, TaskNo, TaskRef
from wattline_protocol.trust.keys import JoinBundle
from wattline_protocol.wire.agent_messages import TaskUsage
from wattline_protocol.wire.task_reports.task_report import TaskReport
from wattline_protocol.wire.transport import ClientSocket

GPUS = 8
PERIOD_S = 1.0
JOIN_WITHIN_S = 120.0
WANTED_MW = (250_000, 700_000)


class PlayedNode:
    """One connection, and a task on all GPUs."""

    def __init__(
        self,
        bundle: JoinBundle,
        job: int,
        random: Random,
        context: "zmq.Context[zmq.Socket[bytes]]",
    ) -> None:
        self.link = ClientSocket(
            bundle.agent_endpoint, bundle.keys, bundle.scheduler_public_key, context=context
        )
        self.hailer = Hailer(bundle.name, GPUS)
        self.hailer.holds((CAP_MAX_MW,) * GPUS)
        self._job, self._random = job, random
        self._run_s = 0.0
        self.change()

    def change(self) -> None:
        """Other watts, and more usage."""
        wanted_mw = self._random.randrange(*WANTED_MW)
        self._run_s += 60.0
        usage = TaskUsage(
            run_s=self._run_s,
            gpu_s=GPUS * self._run_s,
            gpu_energy_mj=int(GPUS * wanted_mw * self._run_s),
        )
        self.hailer.runs(
            TaskReport(
                ref=TaskRef(JobId(self._job), TaskNo(0), AttemptNo(1)),
                phase="running",
                gpus=tuple(GpuIndex(index) for index in range(GPUS)),
                pid=1,
                usage=usage,
                metrics={"loss": self._random.random()},
            ),
            wanted_mw,
        )

    def turn(self) -> None:
        """Answer what waits, and beat."""
        while batch := self.link.recv_batch():
            for data in batch:
                for reply in self.hailer.heard(data):
                    self.link.send(reply)
        if self.hailer.is_member:
            self.link.send(self.hailer.beat())


def play(
    bundles: list[JoinBundle], first_job: int, change_share: float, problem: str, pipe: Connection
) -> None:
    """A process of such nodes: says when all are members, and ends with its pipe. Node n runs job
    `first_job` + n; the first has the problem, if there is one. Each is looked at when its beat is
    due: to poll a thousand sockets at each beat would take a processor."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    context.max_sockets = 4 * len(bundles) + 16
    random = Random(first_job)
    nodes = [
        PlayedNode(bundle, first_job + at, random, context) for at, bundle in enumerate(bundles)
    ]
    if problem:
        nodes[0].hailer.reports(problem)
    for node in nodes:
        if node.link.wait_connected(JOIN_WITHIN_S).state != "connected":
            raise RuntimeError(f"{node.hailer.node} is not connected: {node.link.link}")
    for node in nodes:
        node.link.send(node.hailer.hello())
    due_s, has_joined = time.monotonic(), False
    while not pipe.poll(max(0.0, due_s - time.monotonic())):
        due_s = max(due_s, time.monotonic() - PERIOD_S)
        for node in nodes:
            due_s += PERIOD_S / len(nodes)
            time.sleep(max(0.0, due_s - time.monotonic()))
            if random.random() < change_share:
                node.change()
            node.turn()
        if not has_joined and all(node.hailer.is_member for node in nodes):
            has_joined = True
            pipe.send("joined")
