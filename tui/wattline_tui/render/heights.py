"""Lines of each panel of the site screen."""

from collections.abc import Callable
from dataclasses import dataclass

EVENTS_LEAST = 3
"""In fewer lines events would not be worth their place."""


@dataclass(frozen=True, slots=True)
class Heights:
    """Lines, borders included."""

    tree: int
    fleet: int
    attention: int
    queue: int
    events: int
    """0: no place."""


def heights_of(
    height: int,
    *,
    domains: int,
    attention: int,
    queue: int,
    border: int,
    fleet_lines: Callable[[int], int],
) -> Heights:
    """Attention takes at most a quarter, trees and queue at most a third. The fleet takes what it
    needs of the rest, and one line where its racks do not fit; events fill what is left. With
    borders, trees and fleet stand side by side.
    """
    attends = min(attention + border, max(1 + border, height // 4))
    queues = min(queue + border, max(2 + border, height // 3))
    if border:
        most = max(0, height - attends - queues)
        top = min(most, max(domains, fleet_lines(most - border)) + border)
        return _filled(Heights(top, top, attends, queues, 0), most - top, border)
    tree = min(domains, max(2, height // 3))
    spare = max(1, height - tree - attends - queues)
    needed = max(1, fleet_lines(spare))
    fleet = needed if needed <= spare else 1
    queues = min(queue, max(0, height - tree - attends - fleet))
    left = max(0, height - tree - attends - fleet - queues)
    return _filled(Heights(tree, fleet, attends, queues, 0), left, border)


def _filled(of: Heights, left: int, border: int) -> Heights:
    """With events in the lines that are left, or the queue where these are few."""
    if left >= EVENTS_LEAST + border:
        return Heights(of.tree, of.fleet, of.attention, of.queue, left)
    return Heights(of.tree, of.fleet, of.attention, of.queue + left, 0)
