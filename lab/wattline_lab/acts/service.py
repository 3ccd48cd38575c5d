"""The simulation of a service beside training: watts first against fixed caps."""

from pathlib import Path

from wattline import exits
from wattline.failures import ActFailed
from wattline.verbs.run import Outcome
from wattline_lab.acts.facility import clear_progress, show_progress
from wattline_lab.acts.seeds import check_positive


def service(*, trace: str, nodes: int, seed: int) -> Outcome:
    """A report; the exit code shows whether a bar was missed or the row is void."""
    from wattline_sim.service.compare import LEAST_REPLICAS, Ask, compare
    from wattline_sim.service.requests import TraceUnusable

    check_positive("--nodes", nodes)
    if nodes <= LEAST_REPLICAS:
        raise ActFailed(f"--nodes {nodes}: give more than {LEAST_REPLICAS}", exits.USAGE)
    try:
        report = compare(Ask(Path(trace), nodes, seed), show_progress)
    except TraceUnusable as unusable:
        raise ActFailed(f"--trace: {unusable}", exits.USAGE) from unusable
    finally:
        clear_progress()
    is_met = not report.is_void and not report.missed_bars
    return Outcome(report, exits.OK if is_met else exits.FAILED)
