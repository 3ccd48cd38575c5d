"""Saves the newest planning cycle, and plans a saved one again without a scheduler."""

from pathlib import Path

import msgspec

from wattline.client import Client
from wattline.failures import ActFailed
from wattline_protocol.wire.client_messages import GetPlan, SavedPlan


class PlanSaved(msgspec.Struct, frozen=True):
    """Where a cycle was saved."""

    file: str
    size_bytes: int


class TaskPlaced(msgspec.Struct, frozen=True):
    """Node and GPU indices of one task."""

    node: str
    gpus: tuple[int, ...]


class GangPlaced(msgspec.Struct, frozen=True):
    """One gang of a job, its tasks by rank."""

    job: int
    gang: int
    tasks: tuple[TaskPlaced, ...]


class GangPreempts(msgspec.Struct, frozen=True):
    """A gang, the gangs to preempt for it as `job.gang`, and the nodes that it waits for."""

    job: int
    gang: int
    victims: tuple[str, ...]
    nodes: tuple[str, ...]


class JobWaits(msgspec.Struct, frozen=True):
    """A job that does not start in this cycle, and why."""

    job: int
    reason: str


class CyclePlanned(msgspec.Struct, frozen=True):
    """A plan made from a file."""

    nodes: int
    pending_jobs: int
    cycle: int
    """Number of the cycle since the start of the scheduler."""
    is_same: bool
    """Whether it is the plan that the scheduler made."""
    is_cut: bool
    """Whether it stopped at a limit before the end of the queue."""
    effort: int
    placements: tuple[GangPlaced, ...]
    preemptions: tuple[GangPreempts, ...]
    waits: tuple[JobWaits, ...]


def plan(
    *, bundle: str | None, save: str | None, snapshot: str | None
) -> "PlanSaved | CyclePlanned":
    """Save, or plan again."""
    if save is not None and snapshot is None:
        return _saved(bundle, Path(save))
    if snapshot is not None and save is None:
        return planned_again(Path(snapshot))
    raise ActFailed(
        "name one file: --save FILE asks the scheduler for its newest planning cycle, "
        "--snapshot FILE plans a saved one again",
        status=2,
    )


def _saved(bundle: str | None, file: Path) -> PlanSaved:
    with Client(bundle) as client:
        data = client.get(GetPlan(), SavedPlan).data
    try:
        file.write_bytes(data)
    except OSError as error:
        raise ActFailed(f"{file}: {error.strerror}") from error
    return PlanSaved(str(file), len(data))


def planned_again(file: Path) -> CyclePlanned:
    """The plan of a saved cycle, made from its snapshot, memory and limits alone."""
    # Loads the planner and numpy, which no other verb for users needs.
    from wattline_scheduler.plan import cycle as planner
    from wattline_scheduler.plan.saved_cycle import MAX_FILE_BYTES, NoCycle, decoded

    try:
        with file.open("rb") as stream:
            saved = decoded(stream.read(MAX_FILE_BYTES))
    except OSError as error:
        raise ActFailed(f"{file}: {error.strerror}") from error
    except NoCycle as error:
        raise ActFailed(
            f"{file} is not a planning cycle saved by `wattline plan --save`: {error}"
        ) from None
    try:
        made = planner.plan(saved.snapshot, saved.memory, saved.limits)
    except (ArithmeticError, LookupError, ValueError) as error:
        # The scheduler made a plan of what it saved, so this is not what it saved.
        raise ActFailed(f"{file} contradicts itself and cannot be planned: {error}") from error
    return CyclePlanned(
        nodes=len(saved.snapshot.nodes),
        pending_jobs=len(saved.snapshot.waiting),
        cycle=saved.memory.cycle + 1,
        is_same=(made.placements, made.preemptions, made.waits)
        == (saved.plan.placements, saved.plan.preemptions, saved.plan.waits),
        is_cut=made.is_cut,
        effort=made.effort,
        placements=tuple(
            GangPlaced(
                one.job, one.gang, tuple(TaskPlaced(each.node, each.gpus) for each in one.tasks)
            )
            for one in made.placements
        ),
        preemptions=tuple(
            GangPreempts(
                one.gang[0], one.gang[1], tuple(f"{j}.{g}" for j, g in one.victims), one.nodes
            )
            for one in made.preemptions
        ),
        waits=tuple(JobWaits(job, reason) for job, reason in made.waits.items()),
    )
