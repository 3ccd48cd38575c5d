"""How often a job saves: Young's interval, from the cost of a save and the failures seen; pure.

The work lost to failures and the time spent in saves are least together where a save is made every
`sqrt(2 * cost * time between failures)` (Young 1974, Daly 2006). The cost is the time for which the
task waits: of a save in the background that is its copy. The rate of failures of a node is
taken from what was seen there and one failure in `PRIOR_S`, so that a new site has one too.
"""

import math

LEAST_S, MOST_S = 60.0, 3_600.0
"""Range of the interval."""

PRIOR_S = 30 * 86_400.0
"""Time on one node in which a failure is expected before any was seen (Llama 3: 419 unexpected
interruptions of 2,048 nodes in 54 days are one in 264; most sites are less well kept)."""

UNKNOWN_SAVE_S = 10.0
"""Assumed cost of a save as long as none was made."""


def failure_free_s(nodes: list[tuple[int, float]]) -> float:
    """Mean time between two failures of a gang, by (failures, seconds of work) of its nodes."""
    rate = sum((1 + failures) / (PRIOR_S + seen_s) for failures, seen_s in nodes)
    return 1 / rate if rate > 0 else PRIOR_S


def interval_s(waited_s: float, free_s: float, save_s: float = 0.0) -> float:
    """Time from one save to the next.

    `waited_s`: what a save costs; 0 = none was made yet. `save_s`: its duration; one is open at a
    time.
    """
    best_s = math.sqrt(2 * (waited_s or UNKNOWN_SAVE_S) * free_s)
    return min(MOST_S, max(LEAST_S, save_s, best_s))
