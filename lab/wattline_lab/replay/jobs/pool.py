"""Free GPUs of a cluster."""

from typing import Protocol

GPUS_PER_NODE = 8

Places = tuple[tuple[int, int], ...]
"""Nodes, and GPUs taken on each."""


class Pool(Protocol):
    """GPUs that jobs take one after the other."""

    gpus: int
    free: int

    def empty(self) -> None:
        """All GPUs are free."""

    def take(self, gpus: int) -> bool:
        """Take a job's GPUs if they are free where it may run."""


class Counted:
    """GPUs of which only the number matters."""

    def __init__(self, gpus: int) -> None:
        self.gpus = self.free = gpus

    def empty(self) -> None:
        """All GPUs are free."""
        self.free = self.gpus

    def take(self, gpus: int) -> bool:
        """Take any."""
        if gpus > self.free:
            return False
        self.free -= gpus
        return True


class Nodes:
    """Equal nodes behind one switch. A job that fits a node gets one, the first that has room;
    a larger one whole nodes, and for what is left over a part of one more."""

    def __init__(self, nodes: int, gpus_per_node: int) -> None:
        self._per_node = gpus_per_node
        self._free = [gpus_per_node] * nodes
        self.gpus = self.free = nodes * gpus_per_node

    def empty(self) -> None:
        """All GPUs are free."""
        self._free = [self._per_node] * len(self._free)
        self.free = self.gpus

    def take(self, gpus: int) -> bool:
        """Take them on the first nodes that have room."""
        return self.place(gpus) is not None

    def place(self, gpus: int) -> Places | None:
        """Take them, and say where; None = there is no room."""
        if gpus > self.free:
            return None
        whole, rest = divmod(gpus, self._per_node)
        if gpus <= self._per_node:
            whole, rest = 0, gpus
        used: list[int] = []
        if whole:
            used = [at for at, free in enumerate(self._free) if free == self._per_node][:whole]
            if len(used) < whole:
                return None
        places = [(at, self._per_node) for at in used]
        if rest:
            last = self._first(rest, used)
            if last is None:
                return None
            places.append((last, rest))
        for at, count in places:
            self._free[at] -= count
        self.free -= gpus
        return tuple(places)

    def give_back(self, places: Places) -> None:
        """GPUs of a job that ended."""
        for at, count in places:
            self._free[at] += count
            self.free += count

    def _first(self, gpus: int, used: list[int]) -> int | None:
        fitting = (at for at, free in enumerate(self._free) if free >= gpus and at not in used)
        return next(fitting, None)
