"""The simulation of a week of training: useful steps per kWh against fixed caps."""

from wattline import exits
from wattline.failures import ActFailed
from wattline.verbs.run import Outcome
from wattline_lab.acts.facility import clear_progress, show_progress
from wattline_lab.acts.seeds import check_positive

LEAST_FEED = 0.5
MOST_DAYS = 7.0


def training(*, seeds: int, days: float, feed: float, min_performance: float) -> Outcome:
    """A report; the exit code shows whether a bar was missed."""
    from wattline_sim.training.compare import Ask, compare

    check_positive("--seeds", seeds)
    if not 0 < days <= MOST_DAYS:
        raise ActFailed(f"--days {days:g}: give more than 0 and at most {MOST_DAYS:g}", exits.USAGE)
    if not LEAST_FEED <= feed <= 1:
        raise ActFailed(f"--feed {feed:g}: give {LEAST_FEED:g} to 1", exits.USAGE)
    if not 0 <= min_performance < 1:
        text = f"--min-performance {min_performance:g}: give 0 or more, and less than 1"
        raise ActFailed(text, exits.USAGE)
    try:
        report = compare(Ask(seeds, days, feed, min_performance), show_progress)
    finally:
        clear_progress()
    return Outcome(report, exits.FAILED if report.missed_bars else exits.OK)
