"""Kinds of training on an H100: pace and draw under a cap, and what a save takes.

The shape of an iteration is that of the plant's catalogue: a busy part and a slack part, each with
its demand. Values are settled means, for here time advances from event to event.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from wattline_scheduler.power.demand.models import Phase, curve
from wattline_sim.facility.plant.catalogue import WORKLOADS
from wattline_sim.profiles import GpuModel, gpu_model

GPU: GpuModel = gpu_model("h100")
GPUS_PER_NODE = 8

BYTES_PER_PARAMETER = 14
"""Weights in 16 bits; weights and both moments of the optimiser in 32 bits."""
NODE_WRITES_BYTES_PER_S = 4e9
"""From the host's memory to the checkpoints' file system, and back."""
GPU_COPIES_BYTES_PER_S = 10e9
"""From a GPU to the host's memory, with overhead."""
SET_UP_S = 120.0
"""From the start of the processes until they read their checkpoint."""
WAITING_LEVEL = 0.07
"""Draw during set-up and while a copy is made, as in the catalogue."""


class Pace(NamedTuple):
    """A GPU at work under a cap."""

    rate: float
    """Work a second, 1 = uncapped."""
    watts: float


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of training job."""

    workload: str
    """Name in the plant's catalogue."""
    phase: Phase
    parameters: float

    def copy_s(self, nodes: int) -> float:
        """Time for which the step waits for a save in the background."""
        return self._bytes / (nodes * GPUS_PER_NODE * GPU_COPIES_BYTES_PER_S)

    def save_s(self, nodes: int) -> float:
        """Duration of a save, from its copy until it is published."""
        return self.copy_s(nodes) + self._bytes / (nodes * NODE_WRITES_BYTES_PER_S)

    def start_s(self, nodes: int) -> float:
        """From the start of its processes until the first step: set-up, and the checkpoint read."""
        return SET_UP_S + self._bytes / (nodes * NODE_WRITES_BYTES_PER_S)

    @property
    def _bytes(self) -> float:
        return BYTES_PER_PARAMETER * self.parameters

    @property
    def demand_w(self) -> float:
        """Draw of the busy part that a driver can show: at most the GPU's limit."""
        return min(self.parts()[0][0], GPU.limit_max_w)

    def parts(self) -> tuple[tuple[float, float], ...]:
        """(demand in watts, share of the uncapped time) of the parts of an iteration."""
        states = WORKLOADS[self.workload].states
        one = next(state for state in states if state.name == "iterate")
        return (
            (watts_at(one.high), one.busy_share),
            (watts_at(one.low), 1.0 - one.busy_share),
        )


def watts_at(level: float) -> float:
    """Draw at a level of the catalogue: a share of the range from idle to the default limit."""
    return GPU.idle_w + level * (GPU.limit_default_w - GPU.idle_w)


@lru_cache(maxsize=4_096)
def pace(kind: Kind, cap_w: int) -> Pace:
    """A slower part lasts longer, so that it counts with more of the time."""
    fitted = curve(GPU.display_name, kind.phase)
    seconds = joules = 0.0
    for demand_w, share in kind.parts():
        part_s = share / fitted.performance(cap_w, demand_w)
        seconds += part_s
        joules += part_s * min(cap_w, demand_w)
    return Pace(1.0 / seconds, joules / seconds)


PRETRAINING = Kind("pretraining", "training_hot", 70e9)
FINETUNING = Kind("finetuning", "training_hot", 13e9)
LIGHT = Kind("light-training", "training_light", 1e9)
