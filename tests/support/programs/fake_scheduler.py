"""A scheduler's socket without a scheduler: welcomes an agent, answers its beats, sends on request.

Lives in the test's thread: `until` pumps messages until a condition holds, with a deadline.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from wattline_protocol.ids import Epoch, Incarnation, Sequence
from wattline_protocol.site.wall_power import wall_mw
from wattline_protocol.trust.keys import JoinBundle, KeyPair, save_bundle
from wattline_protocol.trust.members import Member
from wattline_protocol.wire.agent_messages import (
    Adopted,
    Beat,
    BeatSeen,
    FromAgent,
    Hello,
    Lease,
    LeaseAck,
    Rollups,
    RollupsSeen,
    ToAgent,
    Welcome,
)
from wattline_protocol.wire.codec import Codec
from wattline_protocol.wire.transport import ServerSocket

M = TypeVar("M")

DEADLINE_S = 60.0
NON_GPU_WORST_MW = 2_000_000
PSU_PERMILLE = 900


def wall(gpus_mw: int) -> int:
    """The least lease that covers so much GPU draw."""
    return wall_mw(gpus_mw + NON_GPU_WORST_MW, PSU_PERMILLE)


class FakeScheduler:
    """One epoch of a scheduler for one agent."""

    def __init__(self, bundle_path: Path, *, node: str = "n1") -> None:
        self._keys = KeyPair.generate()
        self._agent = KeyPair.generate()
        self._member = Member(node, "agent", self._agent.public)
        self._endpoint = "tcp://127.0.0.1:*"
        self._out: Codec[ToAgent] = Codec(ToAgent)
        self._in: Codec[FromAgent] = Codec(FromAgent)
        self.heard: list[FromAgent] = []
        self.epoch = 1
        self.incarnation = 0
        self.seq = 0
        self.answers_beats = True
        self.answers_hellos = True
        self.task_lease_s = 300.0
        self._route = b""
        self._socket: ServerSocket | None = None
        self.open()
        save_bundle(
            JoinBundle(
                site="test",
                name=node,
                role="agent",
                agent_endpoint=self._endpoint,
                client_endpoint=self._endpoint,
                scheduler_public_key=self._keys.public,
                public_key=self._agent.public,
                secret_key=self._agent.secret,
            ),
            bundle_path,
        )

    def open(self) -> None:
        """Listen; after a `close`, again at the same place."""
        allow = {self._agent.public: self._member}
        self._socket = ServerSocket(self._endpoint, self._keys, allow.get, ("agent",))
        self._endpoint = self._socket.endpoint

    def close(self) -> None:
        """The scheduler is gone."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def pump(self, timeout_s: float = 0.05) -> None:
        """Take what came, and answer what a scheduler answers by itself."""
        assert self._socket is not None, "the scheduler is closed"
        self._socket.socket.poll(int(timeout_s * 1000))
        for incoming in self._socket.recv_batch():
            self._route = incoming.routing_id
            message = self._in.decode(incoming.data)
            self.heard.append(message)
            match message:
                case Hello() if self.answers_hellos:
                    self.incarnation += 1
                    self.send(self._welcome(message))
                case Beat() if self.answers_beats:
                    self.send(BeatSeen(message.epoch, message.incarnation, message.seq))
                case Rollups():
                    self.send(RollupsSeen(message.last))
                case _:
                    pass

    def _welcome(self, hello: Hello) -> Welcome:
        return Welcome(
            protocol=1,
            epoch=Epoch(self.epoch),
            instance="fake",
            incarnation=Incarnation(self.incarnation),
            nonce=hello.nonce,
            beat_period_s=0.25,
            isolation_after_s=15.0,
            isolation="keep",
            task_lease_s=self.task_lease_s,
            emergency_grace_s=5.0,
            non_gpu_worst_mw=NON_GPU_WORST_MW,
            psu_efficiency_permille=PSU_PERMILLE,
        )

    def send(self, message: ToAgent) -> None:
        """Say something to the agent."""
        self.send_bytes(self._out.encode(message))

    def send_bytes(self, data: bytes) -> None:
        """Say anything to the agent."""
        assert self._socket is not None, "the scheduler is closed"
        self._socket.send(self._route, data)

    def names(self) -> tuple[Epoch, Incarnation, Sequence]:
        """For a new command."""
        self.seq += 1
        return Epoch(self.epoch), Incarnation(self.incarnation), Sequence(self.seq)

    def lease(self, lease_mw: int, caps_mw: tuple[int, ...]) -> Sequence:
        """Send a lease; its sequence."""
        message = Lease(*self.names(), lease_mw, caps_mw)
        self.send(message)
        return message.seq

    def leased(self, lease_mw: int, caps_mw: tuple[int, ...]) -> LeaseAck:
        """Send a lease and wait for its acknowledgement."""
        seq = self.lease(lease_mw, caps_mw)
        return self.until(
            lambda: next((ack for ack in self.all(LeaseAck) if ack.seq == seq), None), f"ack {seq}"
        )

    def until(self, found: Callable[[], M | None], what: str, deadline_s: float = DEADLINE_S) -> M:
        """Pump until `found` gives something true; that."""
        end_s = time.monotonic() + deadline_s
        while True:
            result = found()
            if result:
                return result
            assert time.monotonic() < end_s, f"not within {deadline_s:g} s: {what}"
            self.pump()

    def all(self, kind: type[M]) -> list[M]:
        """Messages of one kind, in order."""
        return [message for message in self.heard if isinstance(message, kind)]

    def last(self, kind: type[M]) -> M | None:
        """The newest of one kind."""
        found = self.all(kind)
        return found[-1] if found else None

    def beat_after(self, incarnation: int) -> Beat:
        """Wait for a beat of an agent that joined after that one, of which some may be unread."""
        return self.until(
            lambda: next((b for b in self.all(Beat) if b.incarnation > incarnation), None),
            "a beat of the new agent",
        )

    def adopted(self) -> Adopted:
        """Wait for the Adopted of the newest incarnation."""
        return self.until(
            lambda: next((a for a in self.all(Adopted) if a.incarnation == self.incarnation), None),
            "Adopted",
        )
