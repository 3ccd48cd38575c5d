"""Mutants of what a plan must heed beside watts."""

from wattline_scheduler.plan.model.reserved_nodes import Reservations, Stay
from wattline_sim.fleet.mutants.mutant import Mutant


def _nowhere(self: Reservations, stay: Stay) -> None:
    """Nobody is kept from any node."""
    del self, stay


MUTANTS = (
    Mutant(
        "start-where-reserved",
        "a job starts on a node only if the reservations there permit it",
        ((Reservations, "barred", _nowhere),),
        "DESIGN 5",
    ),
)
