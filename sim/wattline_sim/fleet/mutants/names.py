"""Rules of the names of services, each removed, with the scheduler's own check of them."""

from wattline_protocol.ids import UserName
from wattline_protocol.job.spec import JobSpec
from wattline_scheduler.core import invariants
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.requests import cancel_requeue, submit
from wattline_sim.fleet.mutants.mutant import Mutant, Swap

UNWATCHED: Swap = (
    invariants,
    "CHECKS",
    tuple(check for check in invariants.CHECKS if check is not invariants._service_names),
)
SOURCE = "scheduler"
"""The page of the manual on which they stand."""


def _always_free(state: State, owner: UserName, spec: JobSpec) -> None:
    del state, owner, spec


MUTANTS = (
    Mutant(
        "name-of-another",
        "a service name is refused to others while a job of its owner is open",
        (UNWATCHED, (submit, "name_taken", _always_free)),
        SOURCE,
    ),
    Mutant(
        "name-taken-meanwhile",
        "a service that has ended is requeued only if its name is still its user's",
        (UNWATCHED, (cancel_requeue, "name_taken", _always_free)),
        SOURCE,
    ),
)
