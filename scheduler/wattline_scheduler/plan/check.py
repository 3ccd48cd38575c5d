"""Each placement is verified once more against the state at the time it is applied."""

from wattline_protocol.job import WHOLE_GPU
from wattline_scheduler.plan.feasible import refusal
from wattline_scheduler.plan.snapshot import Placement, Shape, TaskPlace
from wattline_scheduler.plan.trial import Trial, suits


def check(trial: Trial, placement: Placement, shape: Shape) -> str:
    """Why the placement may not be applied any more; empty = it may, and is taken in `trial`."""
    if len(placement.tasks) != shape.nodes:
        return f"{len(placement.tasks)} places for {shape.nodes} tasks"
    mark = trial.checkpoint()
    for place in placement.tasks:
        problem = _problem(trial, place, shape)
        if problem:
            trial.rollback(mark)
            return problem
        trial.place_exactly(place, shape)
    racks = {trial.offers[trial.position[place.node]].rack for place in placement.tasks}
    if shape.same_rack and len(racks) > 1:
        trial.rollback(mark)
        return f"spread over {len(racks)} racks, wanted one"
    trial.finish_gang(mark)
    return ""


def _problem(trial: Trial, place: TaskPlace, shape: Shape) -> str:
    at = trial.position.get(place.node)
    if at is None:
        return f"{place.node} is no node of the site"
    free = {gpu.index: gpu for gpu in trial.free[at]}
    if shape.gpu_milli < WHOLE_GPU:
        enough = (part for part in trial.parts[at] if part.free_milli >= shape.gpu_milli)
        free |= {part.gpu.index: part.gpu for part in enough}
    if len(set(place.gpus)) != shape.gpus:
        return f"{len(set(place.gpus))} GPUs on {place.node}, wanted {shape.gpus}"
    for index in place.gpus:
        if index not in free or not suits(free[index], shape):
            return f"GPU {index} of {place.node} is not free or not suitable"
    refused = refusal(trial, at, shape)
    if refused is not None:
        return f"{place.node}: {refused.name}: {refused.missing(trial, at, shape)}"
    return ""
