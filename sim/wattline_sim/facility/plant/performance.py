"""How fast work goes under a cap: the fitted curves of the scheduler's models, tabulated.

The plant and the scheduler share these curves on purpose: they are measurements, and the place
where the two may differ is each job's own demand, which only the plant knows.
"""

import numpy as np

from wattline_scheduler.power.demand.models import Phase, curve
from wattline_sim.facility.plant.dice import Floats, Indexes
from wattline_sim.facility.plant.workload import PHASES

_POINTS = 500
"""Segments of the table; the largest error of interpolation is far below the fit's own."""

_CURVE_OF: dict[str, Phase] = {
    "training_hot": "training_hot",
    "training_light": "training_light",
    "prefill": "prefill",
    "decode": "decode",
    "slack": "training_light",
}


class Curves:
    """Relative speed of all GPUs of one model; one curve per phase."""

    def __init__(self, display_name: str) -> None:
        share = np.linspace(0.0, 1.0, _POINTS + 1)
        self._table: Floats = np.array(
            [curve(display_name, _CURVE_OF[p]).performance_of(share, 1.0) for p in PHASES]
        )

    def speed(self, cap_w: Floats, demand_w: Floats, phase: Indexes) -> Floats:
        """0..1 against the uncapped speed, for work in that phase that asks for `demand_w`."""
        share = np.minimum(cap_w / demand_w, 1.0) * _POINTS
        at = np.minimum(share.astype(np.int64), _POINTS - 1)
        low, high = self._table[phase, at], self._table[phase, at + 1]
        return np.asarray(low + (high - low) * (share - at))
