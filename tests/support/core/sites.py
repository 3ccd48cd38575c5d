"""Builders of sites, GPUs and jobs that read as sentences: `site().rack("a", 2).build()`."""

from dataclasses import dataclass, field
from typing import Literal, Self

import msgspec

from wattline_protocol.ids import DomainId, GpuIndex, JobId, NodeId
from wattline_protocol.job.spec import (
    ArraySpec,
    CountRange,
    DataSpec,
    IdleRule,
    JobKind,
    JobSpec,
    Launch,
    Notify,
    NotifyOn,
    PowerGoal,
    PowerSpec,
    Recovery,
    Resources,
    ServiceSpec,
    Slo,
)
from wattline_protocol.site.model import Domain, Gateway, Node, Site, Timing
from wattline_protocol.site.sensing import CommandSource, Meter, Plant, Sensor
from wattline_protocol.wire.agent_messages import GpuInfo
from wattline_protocol.wire.mig import MigInstance

BASE_MW = 1_000_000
PSU_PERMILLE = 950
NAMEPLATE_MW = 10_200_000


def gpu(
    index: int, *, name: str = "NVIDIA H100 80GB HBM3", gib: int = 80, **more: object
) -> GpuInfo:
    """An H100 as its agent describes it."""
    fields: dict[str, object] = {
        "uuid": f"GPU-{index}",
        "cap_min_mw": 200_000,
        "cap_default_mw": 700_000,
        "cap_max_mw": 700_000,
        "idle_mw": 80_000,
        "overshoot_permille": 1_030,
        "can_cap": True,
        "managed": True,
        **more,
    }
    return GpuInfo(index=GpuIndex(index), name=name, memory_bytes=gib * 2**30, **fields)  # type: ignore[arg-type]  # tests choose the fields


A_FEW = ("1g.10gb", "2g.20gb", "3g.40gb")


def migs(*profiles: str, node: str = "") -> tuple[MigInstance, ...]:
    """What a GPU of 80 GB was divided into; UUIDs tell the node and the place."""
    return tuple(
        MigInstance(
            uuid=f"MIG-{node}-{number}",
            profile=profile,
            memory_bytes=int(profile[3:-2]) * 2**30,
            share_permille=int(profile[0]) * 1000 // 7,
        )
        for number, profile in enumerate(profiles)
    )


@dataclass
class SiteBuilder:
    """A site of racks, each behind a PDU, all in one cooling zone."""

    nodes: list[Node] = field(default_factory=list)
    pdus: list[Domain] = field(default_factory=list)
    site_kw: float = 1_000.0
    zone_kw: float = 1_000.0
    timing: Timing = field(default_factory=Timing)
    gateways: tuple[Gateway, ...] = ()
    plant: Plant | None = None

    def rack(self, name: str, count: int, *, kw: float = 1_000.0, **more: object) -> Self:
        """`count` nodes named NAME1, NAME2 … behind a PDU with a budget of `kw`."""
        pdu = DomainId(f"pdu-{name}")
        self.pdus.append(Domain(pdu, "power", DomainId("site"), int(kw * 1e6), 1000))
        fields: dict[str, object] = {
            "non_gpu_worst_mw": BASE_MW,
            "psu_efficiency_permille": PSU_PERMILLE,
            "nameplate_mw": NAMEPLATE_MW,
            **more,
        }
        for number in range(1, count + 1):
            node = Node(NodeId(f"{name}{number}"), name, (pdu,), DomainId("room"), **fields)  # type: ignore[arg-type]  # tests choose the fields
            self.nodes.append(node)
        return self

    def metered(self, rack: str, **rules: object) -> Self:
        """The PDU of a rack has a meter, read every 5 s."""
        sensor = Sensor(CommandSource(("pdu-watts", rack)))
        meter = msgspec.structs.replace(Meter(sensor), **rules)
        at = next(i for i, pdu in enumerate(self.pdus) if pdu.id == f"pdu-{rack}")
        self.pdus[at] = msgspec.structs.replace(self.pdus[at], meter=meter)
        return self

    def cooled(self, **keys: object) -> Self:
        """What is known of the room's plant."""
        self.plant = msgspec.structs.replace(Plant(), **keys)
        return self

    def site_budget(self, kw: float) -> Self:
        self.site_kw = kw
        return self

    def zone_budget(self, kw: float) -> Self:
        self.zone_kw = kw
        return self

    def times(self, **changes: object) -> Self:
        self.timing = msgspec.structs.replace(self.timing, **changes)
        return self

    def gateway(self, endpoint: str, name: str = "gw") -> Self:
        self.gateways = (*self.gateways, Gateway(name, endpoint, "127.0.0.1:0"))
        return self

    def build(self) -> Site:
        top = Domain(DomainId("site"), "power", None, int(self.site_kw * 1e6), 1000)
        room = Domain(
            DomainId("room"), "cooling", None, int(self.zone_kw * 1e6), 1000, plant=self.plant
        )
        return Site(
            name="test",
            agent_endpoint="tcp://127.0.0.1:1",
            client_endpoint="tcp://127.0.0.1:2",
            domains=(top, *self.pdus, room),
            nodes=tuple(self.nodes),
            timing=self.timing,
            gateways=self.gateways,
        )


def site() -> SiteBuilder:
    return SiteBuilder()


@dataclass
class JobBuilder:
    """A job: `job().gpus(4).nodes(2).build()`."""

    spec: JobSpec

    def _with(self, **changes: object) -> Self:
        self.spec = msgspec.structs.replace(self.spec, **changes)
        return self

    def _needs(self, **changes: object) -> Self:
        return self._with(resources=msgspec.structs.replace(self.spec.resources, **changes))

    def _recovers(self, **changes: object) -> Self:
        return self._with(recovery=msgspec.structs.replace(self.spec.recovery, **changes))

    def command(self, *words: str) -> Self:
        return self._with(command=words)

    def gpus(self, count: int) -> Self:
        return self._needs(gpus_per_node=count)

    def share(self, permille: int) -> Self:
        return self._needs(gpus_per_node=1, gpu_share_permille=permille)

    def mig(self, profile: str) -> Self:
        return self._needs(mig=profile)

    def nodes(self, count: int) -> Self:
        return self._needs(nodes=count)

    def from_to(self, least: int, most: int, settle_s: float = 60.0) -> Self:
        """On a range of nodes."""
        launch = msgspec.structs.replace(self.spec.launch, settle_s=settle_s)
        return self._needs(nodes=CountRange(least, most))._with(launch=launch)

    def same_rack(self) -> Self:
        return self._needs(same_rack=True)

    def labels(self, **wanted: str) -> Self:
        return self._needs(labels=wanted)

    def gpu_type(self, *words: str) -> Self:
        return self._needs(gpu_type=words)

    def gpu_memory(self, gib: int) -> Self:
        return self._needs(gpu_memory_min_bytes=gib * 2**30)

    def cpus_per_gpu(self, count: int) -> Self:
        return self._needs(cpus_per_gpu=count)

    def memory(self, gib: int) -> Self:
        return self._needs(memory_bytes=gib * 2**30)

    def queue(self, name: str) -> Self:
        return self._with(queue=name)

    def account(self, name: str) -> Self:
        return self._with(account=name)

    def reservation(self, name: str) -> Self:
        return self._with(reservation=name)

    def env(self, **variables: str) -> Self:
        return self._with(env=variables)

    def priority(self, value: int) -> Self:
        return self._with(priority=value)

    def watts_per_gpu(self, value: int) -> Self:
        return self._with(power=PowerSpec(value))

    def min_performance(self, share: float) -> Self:
        power = msgspec.structs.replace(self.spec.power, min_performance=share)
        return self._with(power=power)

    def goal(self, goal: PowerGoal) -> Self:
        power = msgspec.structs.replace(self.spec.power, goal=goal)
        return self._with(power=power)

    def array(self, count: int, at_a_time: int = 0) -> Self:
        return self._with(array=ArraySpec(tuple(range(count)), at_a_time))

    def service(self, replicas: int, slo: Slo | None = None) -> Self:
        return self.kind("service")._with(service=ServiceSpec(replicas, slo=slo))

    def reads(self, *versions: str) -> Self:
        return self._with(data=DataSpec(versions))

    def serves(self, model: str) -> Self:
        return self.kind("service")._with(service=ServiceSpec(1, model=model))

    def kind(self, kind: JobKind) -> Self:
        return self._with(kind=kind)

    def saves_by_failures(self) -> Self:
        return self._recovers(checkpoint_every_s="auto")

    def retries(self, count: int) -> Self:
        return self._recovers(retries=count)

    def no_progress(self, after_s: float) -> Self:
        return self._recovers(no_progress_s=after_s)

    def stops_on_isolation(self) -> Self:
        return self._recovers(on_isolation="stop")

    def checkpoints(self, pattern: str) -> Self:
        return self._recovers(checkpoints=pattern)

    def continues_on_isolation(self) -> Self:
        return self._recovers(on_isolation="continue")

    def grace(self, seconds: float) -> Self:
        return self._recovers(grace_s=seconds)

    def runtime(self, seconds: float) -> Self:
        return self._limited(runtime_s=seconds)

    def energy(self, kwh: float) -> Self:
        return self._limited(energy_wh=kwh * 1000)

    def cost(self, usd: float) -> Self:
        return self._limited(cost_usd=usd)

    def idle_gpu(self, below: float, for_s: float, action: Literal["stop", "warn"]) -> Self:
        return self._limited(idle_gpu=IdleRule(below, for_s, action))

    def _limited(self, **changes: object) -> Self:
        return self._with(limits=msgspec.structs.replace(self.spec.limits, **changes))

    def torchrun(self) -> Self:
        return self._with(launch=Launch("torchrun"))

    def after_ok(self, *jobs: JobId) -> Self:
        return self._with(after_ok=jobs)

    def after_any(self, *jobs: JobId) -> Self:
        return self._with(after_any=jobs)

    def start_only(self, *windows: str) -> Self:
        return self._with(windows=msgspec.structs.replace(self.spec.windows, start_only=windows))

    def deadline(self, text: str) -> Self:
        return self._with(windows=msgspec.structs.replace(self.spec.windows, deadline=text))

    def notify(self, to: str, *on: NotifyOn) -> Self:
        return self._with(notify=Notify(to, on or ("end",)))

    def held(self) -> Self:
        return self._with(hold=True)

    def build(self) -> JobSpec:
        return self.spec


def job(name: str = "work") -> JobBuilder:
    """A batch job of one task with one GPU."""
    spec = JobSpec(
        name=name,
        command=("true",),
        resources=Resources(gpus_per_node=1),
        recovery=Recovery(grace_s=5.0),
    )
    return JobBuilder(spec)
