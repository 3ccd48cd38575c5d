"""Rules of rollouts, each removed."""

from wattline_protocol.ids import Now
from wattline_scheduler.core.model.jobs.job import Job
from wattline_scheduler.core.model.state import State
from wattline_scheduler.core.rollout import rollouts
from wattline_scheduler.records import RolloutRecord
from wattline_sim.fleet.mutants.mutant import Mutant

SOURCE = "serving"
"""The page of the manual on which they stand."""


def _always_ready(state: State, record: RolloutRecord, job: Job | None, now: Now) -> int:
    del state, job, now
    return record.new_allowed


def _no_surplus(state: State, job: Job, limit: int, reason: str, now: Now) -> None:
    del state, job, limit, reason, now


MUTANTS = (
    Mutant(
        "rollout-does-not-wait",
        "no replica of the old revision is stopped before those of the new one are ready",
        ((rollouts, "_ready", _always_ready),),
        SOURCE,
    ),
    Mutant(
        "rollout-keeps-all",
        "as many replicas of the old revision are stopped as the new one has more",
        ((rollouts, "_stop_surplus", _no_surplus),),
        SOURCE,
    ),
)
