"""The nodes of the fleet for planner and allocator: allocated GPUs, and the watts they count.

This is the part that `core` plays in a scheduler: an offer of each node that changed goes into the
planner's view of the fleet, its load into the allocator's columns. What is decided from them is
production's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from wattline_lab.replay.fleet.gangs import Gang
from wattline_lab.replay.fleet.inventory import Host, gpus_of
from wattline_protocol.ids import GpuIndex, Instant
from wattline_protocol.site.model import Node, Site
from wattline_protocol.wire.agent_messages import GpuInfo
from wattline_scheduler.plan.cycle import plan
from wattline_scheduler.plan.model.memory import EMPTY
from wattline_scheduler.plan.model.shape import Waiting
from wattline_scheduler.plan.model.snapshot import NodeOffer, Plan, Snapshot, TaskPlace
from wattline_scheduler.plan.search.fleet_view import FleetView, HeadroomSource
from wattline_scheduler.power.allocation.fleet_columns import Fleet
from wattline_scheduler.power.books.books import Books
from wattline_scheduler.power.books.watt_admission import Booking
from wattline_scheduler.power.demand.node_load import GpuLoad, NodeLoad, busy_gpu, gpu_admission_mw
from wattline_scheduler.power.demand.useful_cap import Need
from wattline_scheduler.power.topology.domains import Domains


@dataclass(slots=True)
class Machine:
    """One node."""

    at: int
    """Position in the site file."""
    site: Node
    host: Host
    gpus: tuple[GpuInfo, ...]
    holders: dict[GpuIndex, Gang] = field(default_factory=dict)

    def offer(self) -> NodeOffer:
        """What it has left."""
        free = tuple(gpu for gpu in self.gpus if gpu.index not in self.holders)
        held: list[tuple[GpuIndex, int]] = []
        yields: dict[int, int] = {}
        for index, gang in self.holders.items():
            booked_mw = gpu_admission_mw(self.gpus[index], gang.shape.need)
            held.append((index, booked_mw))
            priority = gang.shape.priority
            above_mw = booked_mw - self.gpus[index].idle_mw
            yields[priority] = yields.get(priority, 0) + above_mw
        booking = Booking(
            node=self.site.id,
            base_mw=self.base_mw,
            busy_mw=sum(mw for _, mw in held),
            psu_efficiency_permille=self.site.psu_efficiency_permille,
            is_controlled=True,
            yields=tuple(yields.items()),
            held=tuple(held),
        )
        return NodeOffer(
            node=self.site.id,
            rack=self.site.rack,
            closed="",
            gpus=self.gpus,
            free=free,
            cpus=self.host.cpus,
            cpus_free=self.host.cpus,
            memory_bytes=0,
            memory_free_bytes=0,
            booking=booking,
            ends=tuple(
                (index, Instant(gang.start_s + gang.runs_s))
                for index, gang in self.holders.items()
                if gang.runs_s is not None
            ),
        )

    @property
    def base_mw(self) -> int:
        """Of the host, and of its idle GPUs."""
        idle_mw = sum(gpu.idle_mw for gpu in self.gpus if gpu.index not in self.holders)
        return self.site.non_gpu_worst_mw + idle_mw

    def load(self) -> NodeLoad:
        """What its work could use."""
        return NodeLoad(
            node=self.site.id,
            base_mw=self.base_mw,
            psu_efficiency_permille=self.site.psu_efficiency_permille,
            gpus=tuple(
                replace(_busy(self.gpus[0], gang.demand_mw, gang.shape.need), index=index)
                for index, gang in self.holders.items()
            ),
        )


@lru_cache(maxsize=4096)
def _busy(gpu: GpuInfo, demand_mw: int, need: Need) -> GpuLoad:
    """GPUs of one node are alike."""
    return busy_gpu(gpu, demand_mw, 0, need)


class Machines:
    """All of them, in the order of the site file."""

    def __init__(self, site: Site, hosts: Sequence[Host]) -> None:
        domains = Domains(site)
        self.books = Books(site, domains, ())
        self.fleet_view = FleetView(site, domains)
        self._memory = EMPTY
        self.fleet = Fleet(domains.matrix)
        self.all = [
            Machine(at, node, host, gpus_of(host))
            for at, (node, host) in enumerate(zip(site.nodes, hosts, strict=True))
        ]
        self._changed: dict[int, None] = dict.fromkeys(range(len(self.all)))
        for node in site.nodes:
            self.books.adopt(node.id, node.nameplate_mw)

    def give(self, gang: Gang, places: tuple[TaskPlace, ...]) -> None:
        """The gang holds these GPUs. Raises ValueError where one of them is held."""
        gang.places = places
        gang.nodes = [self.fleet_view.position[place.node] for place in places]
        for at, place in zip(gang.nodes, places, strict=True):
            machine = self.all[at]
            for index in place.gpus:
                if index in machine.holders:
                    raise ValueError(f"GPU {index} of {place.node} is given out twice")
                machine.holders[index] = gang
            self._changed[at] = None

    def take_back(self, gang: Gang) -> None:
        """It has ended."""
        for at, place in zip(gang.nodes, gang.places, strict=True):
            for index in place.gpus:
                del self.all[at].holders[index]
            self._changed[at] = None

    def refresh(self) -> list[Machine]:
        """Updates planner and allocator for the nodes that changed, and returns these."""
        changed = [self.all[at] for at in self._changed]
        self._changed.clear()
        for machine in changed:
            self.fleet_view.put(machine.offer())
            self.fleet.put(machine.load())
        return changed

    def snapshot(self, now_s: float, waiting: tuple[Waiting, ...]) -> Snapshot:
        """What the planner sees; `refresh` first."""
        domains = self.books.domains
        budgets_mw = [domains.budget_mw(row.domain) for row in self.fleet_view.rows]
        self.fleet_view.renew_prices()
        return self.fleet_view.snapshot(
            Instant(now_s), HeadroomSource(self.books, budgets_mw), waiting
        )

    def plan(self, seen: Snapshot) -> Plan:
        """One planning cycle, with the memory of the one before."""
        result = plan(seen, self._memory, cache=self.fleet_view.cache)
        self._memory = result.memory
        return result

    def budget_mw(self) -> int:
        """Of the site, at the wall."""
        domains = self.books.domains
        return sum(domains.budget_mw(root) for root in domains.roots())
