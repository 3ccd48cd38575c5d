"""Places a list of pods on a fleet, under one policy or compared with another."""

from pathlib import Path

from wattline import exits
from wattline.failures import ActFailed
from wattline_lab.acts.facility import clear_progress, show_progress


def replay_openb(
    *,
    pods: str,
    nodes: str,
    policy: str,
    against: str | None,
    seeds: str,
    power_model: str | None,
) -> object:
    """The report; an unreadable list and an unknown policy are usage errors."""
    from wattline_lab.replay.openb.lists import ListUnreadable
    from wattline_lab.replay.openb.names import parse_policy, parse_seeds
    from wattline_lab.replay.openb.replay import read_lists, replay

    try:
        for name in (policy, against):
            if name is not None:
                parse_policy(name)
        wanted = parse_seeds(seeds)
        model = Path(power_model) if power_model else None
        lists = read_lists(Path(pods), Path(nodes), model)
        report = replay(lists, policy, wanted, against, show_progress)
    except (ListUnreadable, ValueError) as error:
        raise ActFailed(str(error), exits.USAGE) from error
    clear_progress()
    return report
