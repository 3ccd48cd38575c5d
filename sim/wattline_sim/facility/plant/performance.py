"""How fast work goes under a cap: the curves that stand in for the fitted ones until they land.

FALLBACK_CURVES are the medians of facts 4.3 (Zeus, V100 hot and all) as (cap / demand, relative
speed); decode hardly follows the clock until it is deep.
"""

import numpy as np

from wattline_sim.facility.plant.dice import Floats, Indexes
from wattline_sim.facility.plant.workload import PHASES

_HOT = ((0.3, 0.38), (0.4, 0.53), (0.5, 0.70), (0.6, 0.85), (0.7, 0.90), (0.8, 0.95), (0.9, 0.98))
_LIGHT = ((0.3, 0.60), (0.4, 0.72), (0.5, 0.85), (0.6, 0.90), (0.7, 0.94), (0.8, 0.96), (0.9, 0.99))
_DECODE = ((0.3, 0.62), (0.4, 0.75), (0.5, 0.88), (0.6, 0.95), (0.7, 0.98), (0.8, 1.0), (0.9, 1.0))

FALLBACK_CURVES = {
    "hot": _HOT,
    "light": _LIGHT,
    "prefill": _HOT,
    "decode": _DECODE,
    "batch": _HOT,
    "slack": _LIGHT,
}


class Curves:
    """Relative speed for all GPUs; one curve per phase."""

    def __init__(self) -> None:
        self._grid: Floats = np.linspace(0.0, 1.0, 101)
        self._table: Floats = np.array(
            [
                np.interp(
                    self._grid,
                    [0.0, *(x for x, _ in FALLBACK_CURVES[phase]), 1.0],
                    [0.0, *(y for _, y in FALLBACK_CURVES[phase]), 1.0],
                )
                for phase in PHASES
            ]
        )

    def speed(self, cap_w: Floats, demand_w: Floats, phase: Indexes) -> Floats:
        """0..1 against the uncapped speed, for work in that phase that asks for `demand_w`."""
        share = np.clip(cap_w / demand_w, 0.0, 1.0) * 100.0
        at = np.minimum(share.astype(np.int64), 99)
        low, high = self._table[phase, at], self._table[phase, at + 1]
        return np.asarray(low + (high - low) * (share - at))
