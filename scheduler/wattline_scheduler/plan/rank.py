"""Which of the feasible nodes is best: best fit on GPUs, cool air, then the most watts left above.

Best fit keeps whole nodes free for large gangs. Among equals the one whose GPUs would stay coolest
at full power, where any would get warm at all; then the node whose tightest domain, in
either tree, keeps the largest share of its budget wins: a lease can rise highest there.
"""

from wattline_scheduler.plan.snapshot import Shape
from wattline_scheduler.plan.trial import Trial
from wattline_scheduler.power.rows import counted_mw

Score = tuple[int, int, int, int, int]


def score(trial: Trial, at: int, shape: Shape) -> Score:
    """Lower is better; the last part, the position, makes the order total."""
    gpus_left = len(trial.free[at]) - shape.gpus
    needed_mw = trial.needed_mw(at, shape)
    rows = trial.snapshot.rows
    tightest_permille = min(
        (
            (trial.room_mw[row] - counted_mw(needed_mw, share))
            * 1000
            // max(1, rows[row].budget_mw)
            for row, share in trial.snapshot.above[at]
        ),
        default=1000,
    )
    warmth = trial.offers[at].warmth
    return (gpus_left, warmth, -tightest_permille, -trial.cpus[at], at)
