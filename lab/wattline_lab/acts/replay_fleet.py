"""Replays the work of a trace on a fleet of unlike GPUs below power budgets."""

from pathlib import Path

from wattline import exits
from wattline.failures import ActFailed
from wattline_lab.acts.facility import clear_progress, show_progress
from wattline_lab.acts.seeds import check_positive


def replay_fleet(
    *,
    nodes: str,
    jobs: str,
    policy: str,
    budget: float,
    admission: str | None,
    copies: int,
    days: float,
    seed: int,
) -> object:
    """The report; an unreadable file and a value out of range are usage errors."""
    from wattline_lab.replay.fleet.ask import Ask
    from wattline_lab.replay.fleet.engine import NeverFits
    from wattline_lab.replay.fleet.replay import replay_fleet as replay
    from wattline_lab.replay.jobs.trace import TraceUnreadable

    if not 0.0 < budget <= 1.0:
        text = f"--budget {budget:g}: give a share of the sum of TDP, above 0 and at most 1"
        raise ActFailed(text, exits.USAGE)
    check_positive("--copies", copies)
    if days <= 0.0:
        raise ActFailed(f"--days {days:g}: give more than 0", exits.USAGE)
    ask = Ask(Path(nodes), Path(jobs), policy, budget, admission or "", copies, days, seed)
    try:
        report = replay(ask, show_progress)
    except (TraceUnreadable, NeverFits) as refused:
        raise ActFailed(str(refused), exits.USAGE) from refused
    clear_progress()
    return report
