"""The facility simulator: one scenario under one policy."""

import sys
from pathlib import Path

from wattline import exits
from wattline.failures import ActFailed
from wattline.verbs.run import Outcome
from wattline_lab.acts.seeds import check_positive


def facility(
    *, scenario: str, policy: str, nodes: int, hours: float, seed: int, replay: str
) -> Outcome:
    """A report; the exit code shows whether a breaker tripped or a rule was broken."""
    from wattline_sim.facility.replay import ReplayMissing, read_replay
    from wattline_sim.facility.run import Size
    from wattline_sim.facility.simulate import Ask, simulate

    check_positive("--nodes", nodes)
    if hours <= 0.0:
        raise ActFailed(f"--hours {hours:g}: give more than 0", exits.USAGE)
    try:
        series = read_replay(Path(replay)) if replay else None
    except ReplayMissing as missing:
        raise ActFailed(f"--replay: {missing}", exits.USAGE) from missing
    report = simulate(Ask(scenario, policy, nodes, Size(hours, seed), replay=series), show_progress)
    clear_progress()
    is_well = report.trips == 0 and not report.violations
    return Outcome(report, exits.OK if is_well else exits.FAILED)


def density(*, policy: str, seed: int, gpus: tuple[str, ...], scenarios: tuple[str, ...]) -> object:
    """The largest fleet that passes, for each class of GPU and each population."""
    from wattline_sim.facility.density import CASES, CLASSES, Search
    from wattline_sim.facility.density import density as search_density

    search = Search(policy, seed, scenarios or CASES, gpus or CLASSES)
    report = search_density(search, show_runs)
    clear_progress()
    return report


def show_runs(what: str, done: int, most: int) -> None:
    """Show the run in progress, on a terminal."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[Krun {done + 1} of at most {most}: {what} ")
        sys.stderr.flush()


def show_progress(share: float) -> None:
    """Show the progress, on a terminal."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{share:4.0%} ")
        sys.stderr.flush()


def clear_progress() -> None:
    """Clear the progress line."""
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
