"""Many production agent cores in one process, each with its own key, connection and host.

One loop: sockets by epoll, everything else by a heap of due times. ZeroMQ's descriptors are edge
triggered, so after whatever is done with a socket it is read until it is empty. A `Fleet` is run by
`run_fleet` in a process of its own, which answers to a pipe.
"""

import gc
import heapq
import itertools
import os
import select
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from random import Random

import msgspec
import zmq

from wattline_agent.core import effects as fx
from wattline_agent.core import events as ev
from wattline_agent.core.model import Facts
from wattline_agent.core.node import Node
from wattline_agent.core.ports import HostReading
from wattline_bench.rig.host import BenchHost
from wattline_protocol.ids import Instant, NodeId, Now, UnixTime
from wattline_protocol.trust.keys import JoinBundle
from wattline_protocol.wire.agent_messages import (
    Adopted,
    Beat,
    BeatSeen,
    FromAgent,
    LeaseAck,
    ToAgent,
)
from wattline_protocol.wire.agents.host_load import LinkLoad
from wattline_protocol.wire.codec import Codec
from wattline_protocol.wire.transport import ClientSocket
from wattline_sim.shells.agent_effects import Disk, carry_out

DRIVER_S = (0.002, 0.008)
"""Least and most that setting or reading the caps of a node takes."""
SAMPLE_PERIOD_S = 1.0
CONNECT_WITHIN_S = 120.0
HOST_READING = HostReading(
    cpu_pct=20.0,
    memory_used_bytes=64 << 30,
    source="model",
    disk_bytes=4 << 40,
    disk_used_bytes=1 << 40,
    link=LinkLoad("eth0", 2e6, 1e6, 1.25e9),
)

SEEN_AT_ONCE = (fx.Launch, fx.Stop, fx.Kill, fx.Freeze, fx.Thaw, fx.Drop)
"""Orders after which the tasks are looked at."""

OUT: Codec[FromAgent] = Codec(FromAgent)
IN: Codec[ToAgent] = Codec(ToAgent)


class Booking(msgspec.Struct, frozen=True):
    """What a node held, with its limits read back: a lease it acknowledged, or when it joined."""

    at_s: float
    """CLOCK_MONOTONIC, the same for all processes of this machine."""
    node: str
    lease_mw: int


@dataclass(slots=True)
class Tally:
    """What a fleet has seen since it was last asked."""

    kept: list[Booking] = field(default_factory=list)
    beats: int = 0
    refused: int = 0
    slowest_answer_s: float = 0.0


class Agent:
    """One core, its host and its connection."""

    def __init__(self, fleet: "Fleet", bundle: JoinBundle, gpus: int, random: Random) -> None:
        self._fleet = fleet
        self.host = self.driver = self.keeper = BenchHost(NodeId(bundle.name), gpus, random)
        self.disk = Disk(has_spool=False)
        self.link = ClientSocket(
            bundle.agent_endpoint,
            bundle.keys,
            bundle.scheduler_public_key,
            context=fleet.context,
        )
        self._random = random
        self._events: deque[ev.Event] = deque()
        self._effects: deque[fx.Effect] = deque()
        self._asked: fx.ApplyCaps | fx.ReadCaps | None = None
        """What the driver is busy with: the agent waits for it, as its shell does."""
        self._has_ordered = False
        self._is_sample_due = False
        self._sent_s: dict[int, float] = {}
        facts = Facts(
            node=self.host.node,
            nonce_seed=random.randbytes(16),
            hostname=bundle.name,
            cpus=64,
            memory_bytes=1 << 40,
            agent_version="bench",
            keeper_account="wattline",
            is_simulated=True,
        )
        self.node = Node(facts)

    @property
    def is_adopted(self) -> bool:
        """Its caps were read back for the incarnation it was given."""
        member = self.node.state.session.member
        return member is not None and member.adopted is not None

    def start(self) -> None:
        """The first events."""
        host = self.host
        self.handle(ev.Started("boot", "driver", host.infos(), host.read_caps(), ()))
        self.handle(ev.HostRead(HOST_READING))
        self.handle(ev.Connected())
        self._fleet.later(self._random.random() * SAMPLE_PERIOD_S, self.sample)

    def sample(self) -> None:
        """Once a second: tasks, then GPUs, then the beat; after what the driver is busy with."""
        self._fleet.later(SAMPLE_PERIOD_S, self.sample)
        self._sample_now()

    def _sample_now(self) -> None:
        self._is_sample_due = self._asked is not None
        if self._is_sample_due:
            return
        mono_s = time.monotonic()
        self.handle(ev.TasksSeen(self.host.tasks(mono_s)))
        self.handle(ev.Sampled(self.host.sample(mono_s)))
        self.read()

    def read(self) -> None:
        """Take every message that waits."""
        while batch := self.link.recv_batch():
            for data in batch:
                message = IN.decode(data)
                if isinstance(message, BeatSeen):
                    self._answered(message)
                self.handle(ev.SchedulerMessage(message))

    def handle(self, event: ev.Event) -> None:
        """Hand an event in and carry out its effects in order, as the agent's shell does."""
        self._events.append(event)
        self._work()

    def driver_answers(self) -> None:
        """The caps are set, and read back."""
        asked, self._asked = self._asked, None
        answer = carry_out(asked, self) if asked is not None else None
        if answer is not None:
            self._events.appendleft(answer)
        self._work()
        if self._is_sample_due:
            self._sample_now()
        self.read()

    def _work(self) -> None:
        while self._asked is None:
            mono_s = time.monotonic()
            if self._effects:
                self._carry_out(self._effects.popleft())
            elif self._events:
                now = Now(Instant(mono_s), UnixTime(time.time()))
                self._effects.extend(self.node.handle(self._events.popleft(), now))
            elif self._has_ordered:
                self._has_ordered = False
                self._events.append(ev.TasksSeen(self.host.tasks(mono_s)))
            else:
                return

    def _carry_out(self, effect: fx.Effect) -> None:
        if isinstance(effect, fx.ApplyCaps | fx.ReadCaps):
            self._asked = effect
            self._fleet.later(self._random.uniform(*DRIVER_S), self.driver_answers)
            return
        answer = carry_out(effect, self)
        if answer is not None:
            self._events.append(answer)
        self._has_ordered |= isinstance(effect, SEEN_AT_ONCE)

    def send(self, message: FromAgent) -> None:
        """Send to the scheduler, and count what it says."""
        tally, mono_s = self._fleet.tally, time.monotonic()
        if isinstance(message, Beat):
            tally.beats += 1
            self._sent_s[message.seq] = mono_s
        elif isinstance(message, Adopted):
            tally.kept.append(Booking(mono_s, self.host.node, message.holding_mw))
        elif isinstance(message, LeaseAck):
            tally.kept.append(Booking(mono_s, self.host.node, message.lease_mw))
        if not self.link.send(OUT.encode(message)):
            tally.refused += 1

    def _answered(self, message: BeatSeen) -> None:
        sent_s = self._sent_s.pop(message.seq, None)
        if sent_s is not None:
            tally = self._fleet.tally
            tally.slowest_answer_s = max(tally.slowest_answer_s, time.monotonic() - sent_s)


class Fleet:
    """The agents of one process."""

    def __init__(self, bundles: list[JoinBundle], gpus: int) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.context.max_sockets = 4 * len(bundles) + 16
        self.tally = Tally()
        self._epoll = select.epoll()
        self._by_fd: dict[int, Agent] = {}
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._agents = [
            Agent(self, bundle, gpus, Random(f"{bundle.name} {gpus}")) for bundle in bundles
        ]

    def later(self, delay_s: float, act: Callable[[], None]) -> None:
        """Do this after a while."""
        heapq.heappush(self._due, (time.monotonic() + delay_s, next(self._order), act))

    def join(self) -> None:
        """Connect all, say hello, and wait until every one is adopted. Raises RuntimeError."""
        for agent in self._agents:
            if agent.link.wait_connected(CONNECT_WITHIN_S).state != "connected":
                raise RuntimeError(f"{agent.host.node} is not connected: {agent.link.link}")
            descriptor = int(agent.link.socket.getsockopt(zmq.FD))
            self._by_fd[descriptor] = agent
            self._epoll.register(descriptor, select.EPOLLIN | select.EPOLLET)
            agent.start()
            agent.read()
            self.turn(None)
        until_s = time.monotonic() + CONNECT_WITHIN_S
        while not all(agent.is_adopted for agent in self._agents):
            if time.monotonic() > until_s:
                raise RuntimeError("not every node was adopted in time")
            self.turn(None)

    def turn(self, pipe: Connection | None) -> bool:
        """Do what is due or came in, waiting for it; True when the pipe has something."""
        wait_s = max(0.0, self._due[0][0] - time.monotonic()) if self._due else 0.1
        has_word = False
        for descriptor, _ in self._epoll.poll(min(wait_s, 0.1)):
            if pipe is not None and descriptor == pipe.fileno():
                has_word = True
            else:
                self._by_fd[descriptor].read()
        while self._due and self._due[0][0] <= time.monotonic():
            heapq.heappop(self._due)[2]()
        return has_word

    def serve(self, pipe: Connection) -> None:
        """Until told to end: "tally" is answered with what was seen since the last time."""
        self._epoll.register(pipe.fileno(), select.EPOLLIN)
        while True:
            if self.turn(pipe):
                if pipe.recv() == "end":
                    return
                tally, self.tally = self.tally, Tally()
                pipe.send(tally)


def run_fleet(bundles: list[JoinBundle], gpus: int, pipe: Connection) -> None:
    """A fleet's process: says "joined", then serves."""
    fleet = Fleet(bundles, gpus)
    fleet.join()
    gc.freeze()
    gc.disable()  # agents make no cycles; a collection would be a pause of all of them at once
    pipe.send("joined")
    fleet.serve(pipe)
    pipe.close()
    os._exit(0)  # a thousand sockets take seconds to close in order
