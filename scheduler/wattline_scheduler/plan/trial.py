"""Try before you commit: placements on a working copy that can be taken back.

`checkpoint` and `rollback` bracket a gang; the same copy answers "would it fit?".
"""

from dataclasses import dataclass

from wattline_protocol.ids import NodeId
from wattline_protocol.messages import GpuInfo
from wattline_protocol.wall import wall_mw
from wattline_scheduler.plan.snapshot import NodeOffer, Shape, Snapshot, TaskPlace
from wattline_scheduler.power.loads import gpu_admission_mw
from wattline_scheduler.power.rows import counted_mw


@dataclass(frozen=True, slots=True)
class _Before:
    """What one placement changed on one node."""

    at: int
    free: tuple[GpuInfo, ...]
    cpus: int
    memory_bytes: int
    load_mw: int
    taken_mw: int


class Trial:
    """A snapshot on which placements can be tried. Columns are by position in the snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.offers: tuple[NodeOffer, ...] = snapshot.nodes
        self.position: dict[NodeId, int] = {o.node: i for i, o in enumerate(snapshot.nodes)}
        self.free = [offer.free for offer in snapshot.nodes]
        self.cpus = [offer.cpus_free for offer in snapshot.nodes]
        self.memory = [offer.memory_free_bytes for offer in snapshot.nodes]
        self.load_mw = [offer.kept.base_mw + offer.kept.busy_mw for offer in snapshot.nodes]
        self.room_mw = [row.room_mw for row in snapshot.rows]
        self.is_taken = [False] * len(snapshot.nodes)
        """Already used by the gang being placed: its tasks go to different nodes."""
        self.evaluations = 0
        self.touched: list[int] = []
        """Nodes that placements changed, or that were given back, in order."""
        self._log: list[_Before] = []
        self._needed_mw: list[dict[Shape, int]] = [{} for _ in snapshot.nodes]
        """Of each node, until a placement changes it."""

    def checkpoint(self) -> int:
        """A point to roll back to."""
        return len(self._log)

    def rollback(self, mark: int) -> None:
        """Take back everything since `mark`."""
        while len(self._log) > mark:
            before = self._log.pop()
            at = before.at
            self.free[at], self.cpus[at] = before.free, before.cpus
            self.memory[at], self.load_mw[at] = before.memory_bytes, before.load_mw
            self.is_taken[at] = False
            self.touched.append(at)
            self._needed_mw[at].clear()
            for row, share in self.snapshot.above[at]:
                self.room_mw[row] += counted_mw(before.taken_mw, share)

    def finish_gang(self, mark: int) -> None:
        """Commit what was placed since `mark`: the nodes may be used by the next gang."""
        for before in self._log[mark:]:
            self.is_taken[before.at] = False
            self.touched.append(before.at)
        del self._log[mark:]

    def chosen(self, at: int, shape: Shape) -> tuple[GpuInfo, ...]:
        """The GPUs a task of `shape` would get: the least that suffice, coolest first."""
        fitting = [gpu for gpu in self.free[at] if suits(gpu, shape)]
        if any(gpu.memory_bytes != fitting[0].memory_bytes for gpu in fitting[1:]):
            fitting.sort(key=lambda gpu: gpu.memory_bytes)
        return tuple(sorted(fitting[: shape.gpus], key=lambda gpu: gpu.index))

    def room_for(self, row: int, shape: Shape) -> int:
        """What is left in the row, and what lower priorities there would give back."""
        room_mw = self.room_mw[row]
        for priority, mw in self.snapshot.rows[row].yields:
            if priority >= shape.priority:
                break
            room_mw += mw
        return room_mw

    def needed_mw(self, at: int, shape: Shape) -> int:
        """Wall milliwatts the node must keep more with a task of `shape`."""
        known = self._needed_mw[at].get(shape)
        if known is None:
            known = self._wall_rise_mw(at, self._rise_mw(self.chosen(at, shape), shape))
            self._needed_mw[at][shape] = known
        return known

    def _rise_mw(self, gpus: tuple[GpuInfo, ...], shape: Shape) -> int:
        return sum(gpu_admission_mw(gpu, shape.need) - gpu.idle_mw for gpu in gpus)

    def _wall_rise_mw(self, at: int, rise_mw: int) -> int:
        psu = self.offers[at].kept.psu_efficiency_permille
        load_mw = self.load_mw[at]
        return wall_mw(load_mw + rise_mw, psu) - wall_mw(load_mw, psu)

    def place(self, at: int, shape: Shape) -> TaskPlace:
        """Put one task of `shape` on the node at `at`."""
        gpus = self.chosen(at, shape)
        self._take(at, gpus, shape)
        return TaskPlace(self.offers[at].node, tuple(gpu.index for gpu in gpus))

    def place_exactly(self, place: TaskPlace, shape: Shape) -> None:
        """Put a task on given GPUs; the caller has checked that they are free."""
        at = self.position[place.node]
        wanted = set(place.gpus)
        self._take(at, tuple(gpu for gpu in self.free[at] if gpu.index in wanted), shape)

    def hold(self, at: int, shape: Shape) -> None:
        """Keep what is free for a task of `shape` that cannot start yet from everybody else."""
        self._take(at, self.chosen(at, shape), shape)
        self._log.pop()
        self.is_taken[at] = False
        self.touched.append(at)

    def _take(self, at: int, gpus: tuple[GpuInfo, ...], shape: Shape) -> None:
        rise_mw = self._rise_mw(gpus, shape)
        taken_mw = self._wall_rise_mw(at, rise_mw)
        self._log.append(
            _Before(at, self.free[at], self.cpus[at], self.memory[at], self.load_mw[at], taken_mw)
        )
        gone = {gpu.index for gpu in gpus}
        self.free[at] = tuple(gpu for gpu in self.free[at] if gpu.index not in gone)
        self.cpus[at] -= shape.cpus
        self.memory[at] -= shape.memory_bytes
        self.load_mw[at] += rise_mw
        self.is_taken[at] = True
        self._needed_mw[at].clear()
        for row, share in self.snapshot.above[at]:
            self.room_mw[row] -= counted_mw(taken_mw, share)


def suits(gpu: GpuInfo, shape: Shape) -> bool:
    """Whether the GPU is of a wanted type and has enough memory."""
    return gpu.memory_bytes >= shape.gpu_memory_min_bytes and is_of_type(gpu, shape)


def is_of_type(gpu: GpuInfo, shape: Shape) -> bool:
    """Whether one of the wanted words occurs in the GPU's name."""
    if not shape.gpu_type:
        return True
    name = gpu.name.lower()
    return any(word in name for word in shape.gpu_type)
