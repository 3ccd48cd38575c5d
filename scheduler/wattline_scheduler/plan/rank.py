"""Which of the feasible nodes is best: best fit on GPUs, then the most watts left above.

Best fit keeps whole nodes free for large gangs. Among equals the node whose tightest domain, in
either tree, keeps the largest share of its budget wins: a lease can rise highest there.
"""

from wattline_scheduler.plan.snapshot import Shape
from wattline_scheduler.plan.trial import Trial

Score = tuple[int, int, int, int]


def score(trial: Trial, at: int, shape: Shape) -> Score:
    """Lower is better; the last part, the position, makes the order total."""
    gpus_left = len(trial.free[at]) - shape.gpus
    needed_mw = trial.needed_mw(at, shape)
    domains = trial.snapshot.domains
    tightest_permille = min(
        (
            (trial.room_mw[d] - needed_mw) * 1000 // max(1, domains[d].budget_mw)
            for d in trial.snapshot.above[at]
        ),
        default=1000,
    )
    return (gpus_left, -tightest_permille, -trial.cpus[at], at)
