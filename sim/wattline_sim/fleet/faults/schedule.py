"""What goes wrong, and when: drawn from the seed, over by the time the run must settle.

Each seed gets its own subset of the kinds and its own pace: a run with three kinds of fault in
quick succession finds what a run with a little of everything never reaches.
"""

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from wattline_protocol.ids import NodeId
from wattline_sim.fleet.faults import (
    drivers,
    hosts,
    network,
    operators,
    scheduler,
    sensing,
    silence,
)

if TYPE_CHECKING:
    from wattline_sim.fleet.site import FleetSite

MEANS_BETWEEN_S = (1.5, 3.0, 6.0)
FEWEST_KINDS = 3

KINDS = {
    **network.KINDS,
    **hosts.KINDS,
    **drivers.KINDS,
    **operators.KINDS,
    **scheduler.KINDS,
    **sensing.KINDS,
}
"""Each kind of fault by its name: what it does, and a word on what it did it to."""


class Faults:
    """Keeps hurting the site until `heal`."""

    def __init__(self, site: "FleetSite") -> None:
        self.site = site
        self.is_over = False
        """Everything is to be well from now on."""
        self._undo: dict[int, Callable[[], None]] = {}
        self._undone = 0
        self._outlasting: list[tuple[float, Callable[[], None]]] = []
        self._mean_s = self.rng.choice(MEANS_BETWEEN_S)
        self._kinds = self.rng.sample(sorted(KINDS), self.rng.randint(FEWEST_KINDS, len(KINDS)))

    @property
    def rng(self) -> Random:
        """The one source of randomness of the run."""
        return self.site.world.rng

    def begin(self) -> None:
        """Start hurting."""
        self._next()
        silence.begin(self)

    def heal(self) -> None:
        """Nothing more happens, and what was hurt is well again."""
        self.is_over = True
        for number in list(self._undo):
            self._end(number)
        for after_s, undo in self._outlasting:
            self.site.world.after(after_s, undo)
        if self._outlasting:
            longest_s = max(after_s for after_s, _ in self._outlasting)
            self.site.lying.watch_growth(self.site.is_growth_stopped, longest_s - 5.0)
        self.site.scheduler.clock.set_right()  # windows of jobs open by it
        self.site.mend()

    def lasting(self, low_s: float, high_s: float, undo: Callable[[], None]) -> None:
        """Undo this fault after a while, or when everything is healed, once."""
        self.undo_after(self.rng.uniform(low_s, high_s), undo)

    def undo_after(self, after_s: float, undo: Callable[[], None]) -> None:
        """The same where it is known when."""
        self._undone += 1
        number = self._undone
        self._undo[number] = undo
        self.site.world.after(after_s, lambda: self._end(number))

    def outlasting(self, after_s: float, undo: Callable[[], None]) -> None:
        """Undo this fault so long after all others were healed."""
        self._outlasting.append((after_s, undo))

    def later(self, after_s: float, hurt: Callable[[], None]) -> None:
        """One more blow, unless everything is to be well by then."""

        def strike() -> None:
            if not self.is_over:
                hurt()

        self.site.world.after(after_s, strike)

    def some_node(self) -> NodeId:
        """Any node of the site."""
        return self.rng.choice(sorted(self.site.machines))

    def _end(self, number: int) -> None:
        undo = self._undo.pop(number, None)
        if undo is not None:
            undo()

    def _next(self) -> None:
        def strike() -> None:
            if not self.is_over:
                kind = self.rng.choice(self._kinds)
                self.site.story.fault(self.site.world.now_s, kind, KINDS[kind](self))
                self._next()

        self.site.world.after(self.rng.expovariate(1.0 / self._mean_s), strike)
