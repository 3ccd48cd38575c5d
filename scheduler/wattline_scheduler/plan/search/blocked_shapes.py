"""Results of earlier cycles for shapes that did not fit, while a cycle runs."""

from collections.abc import Mapping
from dataclasses import replace

from wattline_scheduler.plan.model.memory import Blocked, Memory, PreemptionKey
from wattline_scheduler.plan.model.reserved_nodes import Key
from wattline_scheduler.plan.model.shape import Shape

LARGE_SITE_NODES, AGAIN_CYCLES = 256, 16
"""On larger sites, negative results of a shape (why it waits, whether preemption helps) are
recomputed in one of so many cycles."""

MAX_SHAPES = 1_024
"""Remembered shapes; the half not used for longest is dropped beyond it."""


class BlockedShapes:
    """A copy of the memory's entries, changed by one cycle."""

    def __init__(self, memory: Memory, node_count: int) -> None:
        self._cycle = memory.cycle + 1
        self.is_large = node_count > LARGE_SITE_NODES
        self._all = dict(memory.blocked)

    def reason(self, shape: Shape, key: Key) -> str:
        """The reason that is still valid; empty = compute it again."""
        one = self._of(shape)
        is_valid = one.reason_key == key and one.reason_turn == self._turn(one)
        return one.reason if is_valid else ""

    def note_reason(self, shape: Shape, key: Key, reason: str) -> None:
        """Remember why the shape does not fit."""
        one = self._of(shape)
        self._all[shape] = replace(one, reason=reason, reason_key=key, reason_turn=self._turn(one))

    def _turn(self, one: Blocked) -> int:
        """On a large site it changes in some cycles only, in others for other shapes."""
        return (self._cycle + one.number) // AGAIN_CYCLES if self.is_large else self._cycle

    def is_preemption_vain(self, shape: Shape, key: PreemptionKey) -> bool:
        """Whether a recent cycle found that preemption does not help it; never on a small site."""
        one = self._all.get(shape)
        if not self.is_large or one is None or one.vain_in is None or one.vain_key != key:
            return False
        return self._cycle - one.vain_in < AGAIN_CYCLES

    def note_vain(self, shape: Shape, key: PreemptionKey) -> None:
        """Remember that preemption does not help it."""
        self._all[shape] = replace(self._of(shape), vain_in=self._cycle, vain_key=key)

    def _of(self, shape: Shape) -> Blocked:
        one = self._all.pop(shape, None) or Blocked(len(self._all))
        self._all[shape] = one  # the last one: what is read or written remains longest
        return one

    def end(self) -> Mapping[Shape, Blocked]:
        """`Memory.blocked` of the cycle."""
        if len(self._all) <= MAX_SHAPES:
            return self._all
        return dict([*self._all.items()][-MAX_SHAPES // 2 :])
