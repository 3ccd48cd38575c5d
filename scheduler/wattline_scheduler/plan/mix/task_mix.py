"""Expected task mix: recently requested tasks, the newest weighted most, and their prices.

Stored with the view of the fleet. Nothing of it is on disk: a restart rebuilds it from the jobs in
memory. Submissions are counted, so a waiting queue counts as future demand.
"""

from dataclasses import replace

from wattline_scheduler.plan.mix.fragmentation import (
    Mix,
    Prices,
    mix_of,
    prices,
    typical,
    whole_nodes,
)
from wattline_scheduler.plan.model.columns import Columns
from wattline_scheduler.plan.model.shape import Shape
from wattline_scheduler.plan.model.task_request import ask_of
from wattline_scheduler.power.demand.useful_cap import NOTHING_SAID

HALF_LIFE = 4_096
"""Tasks after which one counts half: thousands are needed to measure how rare kinds are."""

MOST_A_JOB = 256
"""Maximum count of one job: an array of thousands must not displace all other tasks."""

FEWEST = 32
"""Below this number of tasks no mix is known."""

MAX_KINDS = 1_024
"""Kinds of tasks counted; beyond it the rarer half is dropped."""

CHANGED = 1 / 10
"""Fraction of tasks of other kinds than before, or of GPUs added or removed, for a new mix."""

MAX_SCALE = 1e100
"""Limit above which the numbers would become too large to sum."""


class RecentMix:
    """Kinds of tasks, by how often they were requested."""

    def __init__(self) -> None:
        self._weight: dict[Shape, float] = {}
        self._scale = 1.0
        """Weight of a new task: it grows, instead of all others shrinking."""
        self._total = 0.0
        self._unseen = 0
        """Tasks since the mix was last compared."""
        self._known: Mix | None = None
        self._known_shares: dict[Shape, float] = {}
        self._known_milli = 0

    def note(self, shape: Shape, tasks: int) -> None:
        """Count a submitted job with this many tasks."""
        count, kind = min(tasks, MOST_A_JOB), _kind(shape)
        self._scale *= 2.0 ** (count / HALF_LIFE)
        self._weight[kind] = self._weight.get(kind, 0.0) + count * self._scale
        self._total += count * self._scale
        self._unseen += count
        if len(self._weight) > MAX_KINDS or self._scale > MAX_SCALE:
            self._tidy()

    @property
    def kind_count(self) -> int:
        """Number of kinds counted."""
        return len(self._weight)

    def _tidy(self) -> None:
        kept = list(self._weight.items())
        if len(kept) > MAX_KINDS:
            kept = sorted(kept, key=lambda one: -one[1])[: MAX_KINDS // 2]
        self._weight = {kind: weight / self._scale for kind, weight in kept}
        self._total, self._scale = sum(self._weight.values()), 1.0

    def mix(self, columns: Columns) -> Mix | None:
        """The mix for the present GPUs: the same object until it changes; None = not known yet."""
        if self._total < (FEWEST - 0.5) * self._scale:  # the first of them weigh a little less
            return None
        gpus_milli, classes = int(columns.gpus_milli().sum()), columns.classes
        if self._known is None or self._has_changed(self._known, columns, gpus_milli):
            self._known_shares, self._known_milli = self._shares(), gpus_milli
            tasks = [(ask_of(kind, classes), n) for kind, n in self._known_shares.items()]
            gpus = classes.are_gpus[columns.gpu_class].sum(axis=1)
            sizes = zip(gpus.tolist(), columns.cpus.tolist(), strict=True)
            whole = whole_nodes(sizes, classes.are_gpus)
            self._known = mix_of([*typical(tasks), *whole], classes.sizes_milli)
        return self._known

    def _shares(self) -> dict[Shape, float]:
        return {kind: weight / self._total for kind, weight in self._weight.items()}

    def _has_changed(self, known: Mix, columns: Columns, gpus_milli: int) -> bool:
        is_grown = len(known.table) != len(columns.classes)
        if is_grown or abs(gpus_milli - self._known_milli) > CHANGED * self._known_milli:
            return True
        if self._unseen < CHANGED * self._total / self._scale:
            return False
        self._unseen = 0
        now, before = self._shares(), self._known_shares
        more = sum(max(0.0, share - before.get(kind, 0.0)) for kind, share in now.items())
        return more > CHANGED


def _kind(shape: Shape) -> Shape:
    """The part of a shape that defines its kind: its request for a node's GPUs and CPUs."""
    return replace(
        shape,
        nodes=1,
        memory_bytes=0,
        need=NOTHING_SAID,
        same_rack=False,
        priority=0,
        labels=frozenset(),
    )


class Pricing:
    """Prices in force, until enough has changed to recompute them."""

    def __init__(self) -> None:
        self.prices: Prices | None = None
        """None: no mix is known."""

    def renew(self, columns: Columns, mix: Mix) -> bool:
        """Recompute the prices if needed; returns whether it did."""
        now = self.prices
        if now is not None and now.mix is mix and not now.are_stale(columns):
            return False
        self.prices = prices(columns, mix)
        return True

    def prices_for(self, columns: Columns) -> Prices | None:
        """Those in force; None: no mix is known, or a node has reported GPUs of a class that is
        newer than it, and no planning cycle has run since."""
        known = self.prices
        is_older = known is not None and len(known.mix.table) < len(columns.classes)
        return None if is_older else known
