"""What a clock ceiling leaves of a GPU's draw, by what bounds the work."""

from typing import NamedTuple

import numpy as np

from wattline_sim.facility.plant.dice import Floats, Indexes
from wattline_sim.facility.plant.workload import PHASES


class _Traits(NamedTuple):
    """`memory_bound`: share of the draw that follows memory traffic; it falls only below `knee`
    of the top clock."""

    memory_bound: float
    knee: float


_TRAITS = {
    "training_hot": _Traits(0.20, 1.0),
    "training_light": _Traits(0.25, 1.0),
    "prefill": _Traits(0.20, 0.9),
    "decode": _Traits(0.70, 0.5),
    "slack": _Traits(0.20, 1.0),
}
"""As in the load profiles of the node simulator."""

_MEMORY_BOUND, _KNEE = np.array([_TRAITS[phase] for phase in PHASES]).T


def draw_share(clock: Floats, phase: Indexes) -> Floats:
    """Share of the full dynamic draw at that share of the top clock (as `physics.draw_curve`)."""
    voltage = 0.75 + 0.25 * np.maximum(clock - 0.7, 0.0) / 0.3
    bound = _MEMORY_BOUND[phase]
    memory = np.minimum(1.0, clock / _KNEE[phase])
    return np.asarray((1.0 - bound) * clock * voltage * voltage + bound * memory)
