"""Whether a task fits a node: one table of conditions, for one node and for arrays of nodes.

Watts are not among them: they belong to the rows above a node (`headroom`). `native_loops.c`
repeats the table in `fits`; a property test compares the two.
"""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, Protocol

from wattline_scheduler.plan.model.columns import Ints32
from wattline_scheduler.power.topology.matrix import Bools, Ints

Truth = Bools | bool
Amount = Ints | Ints32 | int

Condition = Literal["state", "labels", "gpus", "cpus", "memory"]


class Wants(Protocol):
    """What a task requests; as arrays, what several do."""

    @property
    def gpus(self) -> Amount: ...
    @property
    def cpus(self) -> Amount: ...
    @property
    def memory_bytes(self) -> Amount: ...


class Free(Wants, Protocol):
    """What is free for a task on a node; as arrays, on several. `gpus`: those that suit."""

    @property
    def is_open(self) -> Truth: ...
    @property
    def has_labels(self) -> Truth: ...


class Wanted(NamedTuple):
    """`Wants` as plain values."""

    gpus: Amount
    cpus: Amount
    memory_bytes: Amount


class Available(NamedTuple):
    """`Free` as plain values."""

    gpus: Amount
    cpus: Amount
    memory_bytes: Amount
    is_open: Truth
    has_labels: Truth


def covers(free: Amount, wanted: Amount) -> Truth:
    """Whether so much is free. A promise may take more of a resource than is free, so `free` may be
    negative: a task that requests none of it fits there all the same."""
    return (free >= wanted) | (wanted == 0)


CONDITIONS: Mapping[Condition, Callable[[Free, Wants], Truth]] = {
    "state": lambda free, _: free.is_open,
    "labels": lambda free, _: free.has_labels,
    "gpus": lambda free, wants: free.gpus >= wants.gpus,
    "cpus": lambda free, wants: covers(free.cpus, wants.cpus),
    "memory": lambda free, wants: covers(free.memory_bytes, wants.memory_bytes),
}
"""A task fits a node where all of these hold."""


_state, *_others = CONDITIONS.values()


def fits_each(free: Free, wants: Wants) -> Truth:
    """[node] whether the task fits."""
    fits = _state(free, wants)
    for holds in _others:
        fits = fits & holds(free, wants)
    return fits


def fits_one(free: Free, wants: Wants) -> bool:
    """Whether the task fits the one node."""
    for holds in CONDITIONS.values():  # noqa: SIM110 - twice as fast as `all`
        if not holds(free, wants):
            return False
    return True
