"""Performance under a cap: one two-constant curve for every GPU type and phase.

x = cap / uncapped draw of the job. Normalising by the job's own draw, not by TDP, maps jobs of
different intensity onto one curve: in five of the six groups of the Zeus traces the error is
smaller (the fit script prints both). Hill's equation scaled to pass through (1, 1):

    p(x) = x^n (1 + b^n) / (x^n + b^n)        bend b, order n >= 1

It is smooth, rises strictly from 0 to 1, has a closed inverse, and bends from flat (clocks near the
top cost many watts and give little) to steep (static power uses up the cap) as measured. Above the
demand p is exactly 1.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

NEWTON_WITHIN = 1e-9
"""Excess above a root at which it counts as found."""


def performance_at(share: npt.ArrayLike, bend: npt.ArrayLike, order: npt.ArrayLike) -> Floats:
    """Performance 0..1 for arrays of cap/demand and of constants; shapes broadcast."""
    n = np.asarray(order, dtype=np.float64)
    x = np.power(np.clip(np.asarray(share, dtype=np.float64), 0.0, 1.0), n)
    b = np.power(np.asarray(bend, dtype=np.float64), n)
    return np.asarray(x * (1.0 + b) / (x + b), dtype=np.float64)


def share_for(performance: npt.ArrayLike, bend: npt.ArrayLike, order: npt.ArrayLike) -> Floats:
    """The inverse: least cap/demand for performances 0..1."""
    n = np.asarray(order, dtype=np.float64)
    p = np.clip(np.asarray(performance, dtype=np.float64), 0.0, 1.0)
    b = np.power(np.asarray(bend, dtype=np.float64), n)
    return np.asarray(np.power(p * b / (1.0 + b - p), 1.0 / n), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Curve:
    """The curve of one GPU type and phase.

    `steepness` corrects it for one job: p becomes p^steepness (1 = as fitted, 0 = caps cost
    nothing, above 1 = they cost more).
    """

    bend: float
    order: float
    knee_permille: int
    """Share of the demand below which energy per result rises, or nothing was measured."""

    def performance(self, cap_w: float, demand_w: float, steepness: float = 1.0) -> float:
        """Performance at the cap, 0..1; exactly 1 from the demand upwards."""
        if cap_w >= demand_w:
            return 1.0
        x = max(0.0, cap_w / demand_w) ** self.order
        b = self.bend**self.order
        return float((x * (1.0 + b) / (x + b)) ** steepness)

    def performance_of(self, cap_w: npt.ArrayLike, demand_w: npt.ArrayLike) -> Floats:
        """`performance` over arrays of watts that broadcast; a demand of 0 W is always met."""
        cap, demand = np.broadcast_arrays(np.asarray(cap_w, float), np.asarray(demand_w, float))
        share = np.divide(cap, demand, out=np.ones(cap.shape), where=demand > 0.0)
        return performance_at(share, self.bend, self.order)

    def cap_for(self, performance: float, demand_w: float, steepness: float = 1.0) -> float:
        """Least cap (W) that gives `performance` (0..1) to a job that draws `demand_w` uncapped."""
        if performance >= 1.0:
            return demand_w
        if performance <= 0.0 or steepness <= 0.0:
            return 0.0
        p = performance ** (1.0 / steepness)
        b = self.bend**self.order
        return float(demand_w * (p * b / (1.0 + b - p)) ** (1.0 / self.order))

    def efficient_cap(self, demand_w: float, host_w: float, steepness: float = 1.0) -> float:
        """Cap (W) with the least energy per result of a GPU and its `host_w`, which is drawn
        whatever the cap is; no less than the knee, below which nothing was measured."""
        n, b, host = self.order, self.bend**self.order, host_w / demand_w
        gain = steepness * n * b

        def excess(x: float) -> float:
            """Has the sign of the slope of log((x + host) / p(x)^steepness); convex in x."""
            return float(x * (x**n + b) - gain * (x + host))

        x, least = 1.0, self.knee_permille / 1000
        while x > least and (over := excess(x)) > NEWTON_WITHIN:
            x -= over / ((n + 1) * x**n + b - gain)  # from the right of a convex function
        return float(demand_w * max(x, least))

    @property
    def slope_at_demand(self) -> float:
        """dp/dx just below the demand."""
        b = self.bend**self.order
        return float(self.order * b / (1.0 + b))


def energy_knee(bend: float, order: float) -> float:
    """Share x of the demand with the least energy per result, x / p(x); 0 for order <= 1.

    d/dx (x^n + b^n) / x^(n-1) = 0 gives x^n = b^n (n - 1).
    """
    return float(min(1.0, bend * (order - 1.0) ** (1.0 / order))) if order > 1.0 else 0.0
