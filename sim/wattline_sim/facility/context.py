"""What all hosts of a run stand on."""

from dataclasses import dataclass

from wattline_sim.facility.clockwork import Stopwatch
from wattline_sim.facility.driver import Board
from wattline_sim.facility.plant import Plant
from wattline_sim.facility.wire import Wire
from wattline_sim.facility.works import Works
from wattline_sim.fleet.world import World


@dataclass(frozen=True, slots=True)
class Ground:
    """Shared by every host."""

    world: World
    wire: Wire
    plant: Plant
    board: Board
    works: Works
    stopwatch: Stopwatch
