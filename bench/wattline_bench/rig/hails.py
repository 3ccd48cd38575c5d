"""The least that counts as an agent: Hello, Adopted, and beats that say that all GPUs idle, or that
one task has all of them."""

import msgspec

from wattline_bench.rig.site import NON_GPU_WORST_MW, PSU_PERMILLE
from wattline_protocol.ids import Epoch, GpuIndex, Incarnation, NodeId, Sequence
from wattline_protocol.site.wall_power import wall_mw
from wattline_protocol.wire.agent_messages import (
    PROTOCOL_VERSION,
    Adopted,
    Beat,
    BeatSeen,
    FromAgent,
    GpuInfo,
    GpuSample,
    Hello,
    Lease,
    LeaseAck,
    ToAgent,
    Welcome,
)
from wattline_protocol.wire.codec import Codec
from wattline_protocol.wire.task_reports.task_report import TaskReport

IDLE_MW = 80_000
CAP_MIN_MW, CAP_MAX_MW = 200_000, 700_000

OUT: Codec[FromAgent] = Codec(FromAgent)
IN: Codec[ToAgent] = Codec(ToAgent)


def h100(index: int) -> GpuInfo:
    """An H100 as its agent describes it."""
    return GpuInfo(
        index=GpuIndex(index),
        uuid=f"GPU-{index}",
        name="NVIDIA H100 80GB HBM3",
        memory_bytes=80 * 2**30,
        cap_min_mw=CAP_MIN_MW,
        cap_default_mw=CAP_MAX_MW,
        cap_max_mw=CAP_MAX_MW,
        idle_mw=IDLE_MW,
        overshoot_permille=1_000,
        can_cap=True,
        managed=True,
    )


class Hailer:
    """One node's part of the conversation, as bytes."""

    def __init__(self, node: str, gpus: int) -> None:
        self.node = NodeId(node)
        self.is_member = False
        self._gpus = tuple(h100(index) for index in range(gpus))
        self._caps_mw = (CAP_MIN_MW,) * gpus
        self._holding_mw = wall_mw(NON_GPU_WORST_MW + gpus * IDLE_MW, PSU_PERMILLE)
        samples = tuple(
            GpuSample(GpuIndex(index), IDLE_MW, CAP_MIN_MW, is_idle=True) for index in range(gpus)
        )
        self._beat = Beat(
            epoch=Epoch(0),
            incarnation=Incarnation(0),
            seq=0,
            lease_seq=Sequence(0),
            lease_mw=self._holding_mw,
            holding_mw=self._holding_mw,
            gpus=samples,
            tasks=(),
        )
        self._answered = 0
        self._wanted_mw = 0
        """0: it idles, so that every lease it may get is kept already."""

    def runs(self, task: TaskReport, wanted_mw: int) -> None:
        """From now on all its GPUs run this task, which wants so much of each."""
        self._wanted_mw = wanted_mw
        self._beat = msgspec.structs.replace(self._beat, gpus=self._samples(), tasks=(task,))

    def reports(self, problem: str) -> None:
        """From now on it has this problem."""
        self._beat = msgspec.structs.replace(self._beat, problems=(problem,))

    def holds(self, caps_mw: tuple[int, ...]) -> None:
        """The caps of its GPUs."""
        self._caps_mw = caps_mw
        self._holding_mw = wall_mw(NON_GPU_WORST_MW + sum(caps_mw), PSU_PERMILLE)
        self._beat = msgspec.structs.replace(self._beat, holding_mw=self._holding_mw)

    def _samples(self) -> tuple[GpuSample, ...]:
        return tuple(
            GpuSample(
                GpuIndex(index),
                power_mw := min(self._wanted_mw, cap_mw),
                cap_mw,
                temp_c=30 + power_mw // 20_000,
                util_pct=95,
                sm_clock_mhz=1_980,
                memory_used_bytes=60 << 30,
            )
            for index, cap_mw in enumerate(self._caps_mw)
        )

    def hello(self, nonce: bytes = b"") -> bytes:
        """Its first word; another nonce is another start."""
        return OUT.encode(
            Hello(
                protocol=PROTOCOL_VERSION,
                node=self.node,
                nonce=nonce or self.node.encode(),
                agent_version="bench",
                boot_id="boot",
                hostname=self.node,
                cpus=64,
                memory_bytes=512 * 2**30,
                gpus=self._gpus,
                epoch_seen=Epoch(0),
                incarnation_seen=Incarnation(0),
                observe=False,
            )
        )

    def beat(self) -> bytes:
        """The next beat."""
        self._beat = msgspec.structs.replace(self._beat, seq=self._beat.seq + 1)
        return OUT.encode(self._beat)

    @property
    def is_answered(self) -> bool:
        """The newest beat was answered."""
        return self._answered == self._beat.seq

    def heard(self, data: bytes) -> list[bytes]:
        """What it says to a message of the scheduler."""
        match IN.decode(data):
            case Welcome() as welcome:
                return [self._welcomed(welcome)]
            case BeatSeen() as seen:
                self._answered = seen.seq
            case Lease() as lease:
                return [self._leased(lease)]
            case _:
                pass
        return []

    def _welcomed(self, welcome: Welcome) -> bytes:
        self.is_member = True
        names = (welcome.epoch, welcome.incarnation)
        self._beat = msgspec.structs.replace(
            self._beat, epoch=welcome.epoch, incarnation=welcome.incarnation
        )
        return OUT.encode(Adopted(*names, self._holding_mw, self._caps_mw, self._beat.tasks))

    def _leased(self, lease: Lease) -> bytes:
        if self._wanted_mw:
            self.holds(lease.caps_mw or self._caps_mw)
            self._beat = msgspec.structs.replace(self._beat, gpus=self._samples())
        self._beat = msgspec.structs.replace(
            self._beat, lease_seq=lease.seq, lease_mw=lease.lease_mw
        )
        names = (lease.epoch, lease.incarnation, lease.seq)
        return OUT.encode(LeaseAck(*names, lease.lease_mw, self._caps_mw))
