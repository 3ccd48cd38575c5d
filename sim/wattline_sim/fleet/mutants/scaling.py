"""Rules of scaled services, each removed."""

from wattline_protocol.job.spec import ServiceSpec
from wattline_scheduler.core.emergency import pausing
from wattline_scheduler.core.model.jobs.job import Gang
from wattline_scheduler.core.scaling import service_scaling
from wattline_sim.fleet.mutants.mutant import Mutant

SOURCE = "serving-scale"
"""The page of the manual on which they stand."""


def _all_wanted(wanted: int, overdue: int, service: ServiceSpec) -> int:
    """Overdue replicas are replaced beyond the maximum."""
    del service
    return wanted + overdue


def _always_frozen(_gang: Gang, _reason: str) -> None:
    return None


MUTANTS = (
    Mutant(
        "replaces-overdue-beyond",
        "replicas that do not get ready are replaced within the maximum only",
        ((service_scaling, "count_within", _all_wanted),),
        SOURCE,
    ),
    Mutant(
        "freezes-replicas",
        "replicas of a service with an SLO are drained, not frozen, where floors do not fit",
        ((pausing, "_stops_by", _always_frozen),),
        SOURCE,
    ),
)
