"""Try before you commit: placements on a working copy that can be taken back.

`checkpoint` and `rollback` bracket a gang; the same copy answers "would it fit?".
"""

from dataclasses import dataclass

from wattline_protocol.ids import NodeId
from wattline_protocol.job import WHOLE_GPU
from wattline_protocol.messages import GpuInfo
from wattline_protocol.wall import wall_mw
from wattline_scheduler.plan.snapshot import NodeOffer, Part, Shape, Snapshot, TaskPlace
from wattline_scheduler.power.loads import gpu_admission_mw
from wattline_scheduler.power.rows import counted_mw


@dataclass(frozen=True, slots=True)
class _Before:
    """What one placement changed on one node."""

    at: int
    free: tuple[GpuInfo, ...]
    parts: tuple[Part, ...]
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
        self.parts = [offer.parts for offer in snapshot.nodes]
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
            self.free[at], self.parts[at] = before.free, before.parts
            self.cpus[at] = before.cpus
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
        """The GPUs a task of `shape` would get: the least that suffice, coolest first.

        A part of a GPU comes from the smallest part that suffices, else from an untouched one.
        """
        part = self.part_for(at, shape)
        if part is not None:
            return (part.gpu,)
        fitting = [gpu for gpu in self.free[at] if suits(gpu, shape)]
        if any(gpu.memory_bytes != fitting[0].memory_bytes for gpu in fitting[1:]):
            fitting.sort(key=lambda gpu: gpu.memory_bytes)
        return tuple(sorted(fitting[: shape.gpus], key=lambda gpu: gpu.index))

    def part_for(self, at: int, shape: Shape) -> Part | None:
        """The smallest free part of a GPU that suffices; None = there is none, or none is asked."""
        if shape.gpu_milli == WHOLE_GPU:
            return None
        enough = [p for p in self.parts[at] if p.free_milli >= shape.gpu_milli]
        fitting = (part for part in enough if suits(part.gpu, shape))
        return min(fitting, key=lambda p: (p.free_milli, p.gpu.memory_bytes), default=None)

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
            known = self._wall_rise_mw(at, self._rise_mw(at, self.chosen(at, shape), shape))
            self._needed_mw[at][shape] = known
        return known

    def _rise_mw(self, at: int, gpus: tuple[GpuInfo, ...], shape: Shape) -> int:
        counts_mw = {part.gpu.index: part.counts_mw for part in self.parts[at]}
        return sum(
            max(0, gpu_admission_mw(gpu, shape.need) - counts_mw.get(gpu.index, gpu.idle_mw))
            for gpu in gpus
        )

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
        there = (*self.free[at], *(part.gpu for part in self.parts[at]))
        self._take(at, tuple(gpu for gpu in there if gpu.index in wanted), shape)

    def hold(self, at: int, shape: Shape) -> None:
        """Keep what is free for a task of `shape` that cannot start yet from everybody else."""
        self._take(at, self.chosen(at, shape), shape)
        self._log.pop()
        self.is_taken[at] = False
        self.touched.append(at)

    def _take(self, at: int, gpus: tuple[GpuInfo, ...], shape: Shape) -> None:
        rise_mw = self._rise_mw(at, gpus, shape)
        taken_mw = self._wall_rise_mw(at, rise_mw)
        free, parts = self.free[at], self.parts[at]
        self._log.append(
            _Before(at, free, parts, self.cpus[at], self.memory[at], self.load_mw[at], taken_mw)
        )
        gone = {gpu.index for gpu in gpus}
        self.free[at] = tuple(gpu for gpu in free if gpu.index not in gone)
        if shape.gpu_milli < WHOLE_GPU:
            self.parts[at] = tuple(_cut(parts, gpu, shape) for gpu in gpus) + tuple(
                part for part in parts if part.gpu.index not in gone
            )
        self.cpus[at] -= shape.cpus
        self.memory[at] -= shape.memory_bytes
        self.load_mw[at] += rise_mw
        self.is_taken[at] = True
        self._needed_mw[at].clear()
        for row, share in self.snapshot.above[at]:
            self.room_mw[row] -= counted_mw(taken_mw, share)


def _cut(parts: tuple[Part, ...], gpu: GpuInfo, shape: Shape) -> Part:
    """What is left of a GPU of which a task gets a part."""
    before = next((p for p in parts if p.gpu.index == gpu.index), Part(gpu, WHOLE_GPU, 0))
    counts_mw = max(before.counts_mw, gpu_admission_mw(gpu, shape.need))
    return Part(gpu, before.free_milli - shape.gpu_milli, counts_mw)


def suits(gpu: GpuInfo, shape: Shape) -> bool:
    """Whether the GPU is of a wanted type, has enough memory, and can be shared if it is to be."""
    given_bytes = gpu.memory_bytes * shape.gpu_milli // WHOLE_GPU
    is_free_to = gpu.can_share or shape.gpu_milli == WHOLE_GPU
    return is_free_to and given_bytes >= shape.gpu_memory_min_bytes and is_of_type(gpu, shape)


def is_of_type(gpu: GpuInfo, shape: Shape) -> bool:
    """Whether one of the wanted words occurs in the GPU's name."""
    if not shape.gpu_type:
        return True
    name = gpu.name.lower()
    return any(word in name for word in shape.gpu_type)
