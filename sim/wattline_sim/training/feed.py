"""The feed's watts among the gangs: the scheduler's allocator, its pause choice, its forecast."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from wattline_protocol.ids import GpuIndex, Instant, NodeId
from wattline_protocol.site.model import Node
from wattline_protocol.site.wall_power import PERMILLE, wall_mw
from wattline_protocol.wire.agent_messages import GpuInfo
from wattline_scheduler.core.emergency.pause_forecast import HORIZON_S
from wattline_scheduler.core.emergency.resuming import RESUME_MARGIN_PERMILLE
from wattline_scheduler.power.allocation.fleet_columns import Fleet
from wattline_scheduler.power.allocation.pause_choice import Candidate, choose
from wattline_scheduler.power.demand.node_load import GpuLoad, NodeLoad, busy_gpu
from wattline_scheduler.power.demand.useful_cap import Need
from wattline_scheduler.power.topology.budget_forecast import BudgetAhead
from wattline_scheduler.power.topology.budgets import Limit
from wattline_scheduler.power.topology.domains import Domains
from wattline_sim.facility.building import Building
from wattline_sim.training import week
from wattline_sim.training.gang import Gang
from wattline_sim.training.kinds import GPU, GPUS_PER_NODE, Kind

MW_PER_W = 1_000

Caps = Literal["goal", "throughput", "fixed"]
"""The allocator's caps for jobs with `power.goal = "efficiency"`, or without; or the contract
divided by the GPUs, once and for all."""


class Ahead(NamedTuple):
    """Gangs that a budget will pause, and when."""

    gangs: list[Gang]
    at_s: float


class Feed:
    """Caps of all GPUs that fit every row of the site."""

    def __init__(self, building: Building, caps: Caps, min_performance: float) -> None:
        self._nodes, self._top = building.site.nodes, building.top
        self._domains = Domains(building.site)
        self._fleet = Fleet(self._domains.matrix)
        self._need = Need(min_performance_permille=round(min_performance * PERMILLE))
        self._caps = caps
        self._limits: list[Limit] = []
        self._loads: dict[tuple[Kind, int, bool], tuple[GpuLoad, ...]] = {}
        """Of a node of each kind of gang, by priority and whether the cap of the goal applies."""
        self.fixed_mw = self._equal_mw()

    def _equal_mw(self) -> int:
        """The highest cap that all GPUs can have at once."""
        least, most = GPU.limit_min_w * MW_PER_W, GPU.limit_max_w * MW_PER_W
        loads = tuple(
            GpuLoad(GpuIndex(index), least, least, least, most, most, week.NORMAL)
            for index in range(GPUS_PER_NODE)
        )
        for node in self._nodes:
            self._put(node, loads)
        given = self._fleet.allocate(self._domains.grantable_in_rows()).gpu_mw
        return int(given.min()) // MW_PER_W * MW_PER_W

    def announce(self, limit: week.Limit, now_s: float) -> None:
        """The limit is known from now on."""
        full_mw = self._domains.limits.full_mw(self._top)
        one = Limit(
            self._top,
            name=f"{limit.begin_s:.0f}",
            source="event",
            value_mw=round(full_mw * limit.leaves),
            start=Instant(limit.begin_s),
            end=Instant(limit.end_s),
        )
        self._limits.append(self._domains.put(one, Instant(now_s)))

    def grantable_mw(self, now_s: float) -> int:
        """What the leases of all nodes may add up to."""
        self._domains.refresh(Instant(now_s))
        return self._domains.grantable_mw(self._top)

    def divide(self, gangs: Sequence[Gang], now_s: float) -> list[Gang]:
        """Give each of these gangs its cap; returns those to pause so that the others keep their
        useful caps (where caps are fixed: those), and none if all do."""
        self._domains.refresh(Instant(now_s))
        self._load(gangs)
        free_mw = self._domains.grantable_in_rows()
        given = self._fleet.allocate(free_mw)
        for gang in gangs:
            entries = [self._fleet.gpu_entries(self._id(node)) for node in gang.job.nodes]
            gang.cap_w = min(int(given.gpu_mw[at].min()) for at in entries) // MW_PER_W
        return self._to_pause(gangs, given.missing() or given.short())

    def fits(self, gangs: Sequence[Gang], also: Gang) -> bool:
        """Whether one more gang can have its useful caps, with the margin of a resume."""
        self._load([*gangs, also])
        used_mw = self._domains.matrix.in_rows(self._fleet.useful_mw())
        margin = 0 if self._caps == "fixed" else RESUME_MARGIN_PERMILLE
        margins_mw = np.array(
            [self._domains.budget_mw(row.domain) * margin // PERMILLE for row in self._domains.rows]
        )
        return bool((used_mw + margins_mw <= self._domains.grantable_in_rows()).all())

    def ahead(self, gangs: Sequence[Gang], now_s: float) -> Ahead | None:
        """What the announced limits will pause within the horizon; as `pause_forecast` has it."""
        now, until = Instant(now_s), Instant(now_s + HORIZON_S)
        self._domains.refresh(now)
        budget = BudgetAhead(self._domains.limits.full_mw(self._top), tuple(self._limits))
        falls_mw = budget.at_mw(now) - budget.lowest_mw(now, until)
        self._load(gangs)
        used_mw = self._domains.matrix.in_rows(self._fleet.useful_mw())
        spare_mw = self._domains.grantable_in_rows() - used_mw
        rows = self._domains.rows_in[self._top]
        short_mw = {row: falls_mw - int(spare_mw[row]) for row in rows if falls_mw > spare_mw[row]}
        if not short_mw:
            return None
        level_mw = budget.at_mw(now) - min(int(spare_mw[row]) for row in short_mw) - 1
        at = budget.falls_to(level_mw, now, until)
        return None if at is None else Ahead(self._to_pause(gangs, short_mw), at)

    def _to_pause(self, gangs: Sequence[Gang], short_mw: Mapping[int, int]) -> list[Gang]:
        """Lowest priority first, as few as suffice. Urgent jobs are not paused."""
        if not short_mw:
            return []
        may = [one for one in gangs if one.job.priority < week.URGENT]
        candidates = [
            Candidate(at, one.job.priority, self._relief_mw(one)) for at, one in enumerate(may)
        ]
        return [may[one.key] for one in choose(candidates, short_mw)]

    def _relief_mw(self, gang: Gang) -> dict[int, int]:
        relief: dict[int, int] = {}
        for node in gang.job.nodes:
            load = self._fleet.loads[self._id(node)]
            freed_mw = sum(gpu.useful_mw for gpu in load.gpus) - len(load.gpus) * _idle_mw()
            mw = wall_mw(freed_mw, load.psu_efficiency_permille)
            for row, share in self._domains.rows_of[load.node]:
                relief[row] = relief.get(row, 0) + mw * share // PERMILLE
        return relief

    def _load(self, gangs: Iterable[Gang]) -> None:
        """Loads of all nodes, with these gangs on them."""
        loads: dict[int, tuple[GpuLoad, ...]] = {}
        for gang in gangs:
            loads |= dict.fromkeys(gang.job.nodes, self._loads_of(gang))
        for at, node in enumerate(self._nodes):
            self._put(node, loads.get(at, ()))

    def _loads_of(self, gang: Gang) -> tuple[GpuLoad, ...]:
        is_saving = self._caps == "goal" and gang.saves_energy
        alike = gang.job.kind, gang.job.priority, is_saving
        known = self._loads.get(alike)
        if known is None:
            indices = map(GpuIndex, range(GPUS_PER_NODE))
            known = self._loads[alike] = tuple(self._load_of(index, *alike) for index in indices)
        return known

    def _load_of(self, index: GpuIndex, kind: Kind, priority: int, is_saving: bool) -> GpuLoad:
        if self._caps == "fixed":
            floor, cap = GPU.limit_min_w * MW_PER_W, self.fixed_mw
            return GpuLoad(index, floor, cap, cap, cap, cap, priority)
        host_mw = self._nodes[0].non_gpu_worst_mw // GPUS_PER_NODE if is_saving else None
        demand_mw = round(kind.demand_w * MW_PER_W)
        return busy_gpu(_gpu(index), demand_mw, priority, self._need, host_mw=host_mw)

    def _put(self, node: Node, gpus: tuple[GpuLoad, ...]) -> None:
        base_mw = node.non_gpu_worst_mw + (GPUS_PER_NODE - len(gpus)) * _idle_mw()
        permille = node.psu_efficiency_permille
        self._fleet.put(NodeLoad(node.id, base_mw, permille, gpus))

    def _id(self, node: int) -> NodeId:
        return self._nodes[node].id


def _idle_mw() -> int:
    return round(GPU.idle_w * MW_PER_W)


def _gpu(index: GpuIndex) -> GpuInfo:
    return GpuInfo(
        index=index,
        uuid=f"GPU-{index}",
        name=GPU.display_name,
        memory_bytes=GPU.memory_bytes,
        cap_min_mw=GPU.limit_min_w * MW_PER_W,
        cap_default_mw=GPU.limit_default_w * MW_PER_W,
        cap_max_mw=GPU.limit_max_w * MW_PER_W,
        idle_mw=_idle_mw(),
        overshoot_permille=PERMILLE,
        can_cap=True,
        managed=True,
    )
