"""Measured points of a curve, and Hill's equation fitted to them by least squares."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from wattline_scheduler.power.demand.models.curves import Floats, energy_knee, performance_at
from wattline_scheduler.power.demand.models.fitted import CurveFit, Phase

BOUNDS = ((0.05, 1.0), (5.0, 12.0))
"""Of bend and order. An order of 1 keeps the slope finite at zero."""

START = (0.5, 2.0)

LOWEST_QUANTILE = 0.05


@dataclass(frozen=True, slots=True)
class Point:
    """One run under a cap that binds."""

    job: str
    """The kind of job; runs of one kind are left out together when errors are estimated."""
    cap_w: float
    demand_w: float
    tdp_w: float
    performance: float


def fit_curve(
    gpu: str, phase: Phase, points: Sequence[Point], source: str, note: str = ""
) -> CurveFit:
    """The curve of these points, rounded. Raises ValueError where there are too few to fit two."""
    if len(points) < 4:
        raise ValueError(f"{len(points)} points under a binding cap; a curve needs 4 or more")
    share = np.array([p.cap_w / p.demand_w for p in points])
    by_tdp = np.array([p.cap_w / p.tdp_w for p in points])
    performance = np.array([p.performance for p in points])
    jobs = np.array([p.job for p in points])
    bend, order = _least_squares(share, performance)
    lowest = float(np.quantile(share, LOWEST_QUANTILE))
    other_form = performance_at(by_tdp, *_least_squares(by_tdp, performance))
    return CurveFit(
        gpu=gpu,
        phase=phase,
        bend=round(bend, 4),
        order=round(order, 4),
        knee=round(max(energy_knee(bend, order), lowest), 3),
        lowest=round(lowest, 3),
        points=len(points),
        jobs=len(set(jobs)),
        rmse=_rmse(performance_at(share, bend, order) - performance),
        rmse_unseen=_rmse_unseen(share, performance, jobs),
        rmse_by_tdp=_rmse(other_form - performance),
        source=source,
        note=note,
    )


def _least_squares(share: Floats, performance: Floats) -> tuple[float, float]:
    def residuals(constants: Floats) -> Floats:
        return performance_at(share, constants[0], constants[1]) - performance

    found = least_squares(residuals, START, bounds=BOUNDS)
    return float(found.x[0]), float(found.x[1])


def _rmse_unseen(share: Floats, performance: Floats, jobs: npt.NDArray[np.str_]) -> float:
    errors = []
    for job in sorted(set(jobs)):
        left_out = jobs == job
        constants = _least_squares(share[~left_out], performance[~left_out])
        errors.append(performance_at(share[left_out], *constants) - performance[left_out])
    return _rmse(np.concatenate(errors))


def _rmse(errors: Floats) -> float:
    return round(float(np.sqrt(np.mean(errors**2))), 4)
