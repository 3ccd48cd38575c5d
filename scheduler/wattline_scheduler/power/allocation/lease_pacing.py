"""Pacing of lease changes: at once, or delayed, each node at its own moment.

Watts that other work waits for, demand that rose, and budgets that fell are applied at once. Other
changes are delayed: a node releases watts only after they were unused for a while (hysteresis), and
takes watts that became free without a rise of its demand (a budget restored, a neighbour's job
ended) spread over some seconds, because uncapping a whole fleet in the same second causes a surge.
A node's delay is a hash of node, epoch and turn: it is deterministic, and no node is always last.
"""

from hashlib import blake2b

import numpy as np

from wattline_protocol.ids import Epoch, Instant, NodeId
from wattline_scheduler.power.topology.matrix import Bools, Floats, Ints

DEAD_BAND_PERMILLE = 10
DEAD_BAND_MIN_MW = 20_000
"""Dead band: smaller changes are not worth a driver call on every GPU of the node."""

RELEASE_SPREAD_S = 3.0
"""Interval over which nodes take watts that became free."""

HOLD_S = 3.0
"""Watts unused for less time are retained: a pause between two phases of a job."""

GOLDEN = 0.618_033_988_75
"""Successive turns of a node are far apart (Weyl sequence)."""


RISE_PERMILLE = 50
"""A larger rise of demand is a ramp; a smaller one is the model still learning."""

SURGE_PERMILLE = 50
"""Growth in a row by more than this share of its grantable watts is a surge."""


def worth_it(wish_mw: Ints, newest_mw: Ints, must: Bools) -> Bools:
    """Changes above the dead band; `must` overrides it (a start waits, a budget fell)."""
    change = np.abs(wish_mw - newest_mw)
    band = np.maximum(DEAD_BAND_MIN_MW, newest_mw * DEAD_BAND_PERMILLE // 1000)
    is_large: Bools = change >= np.where(must, 1, band)
    return is_large & (newest_mw > 0)


class Pace:
    """Since when each node's lease differs from its wish. By position of the node."""

    def __init__(self, nodes: tuple[NodeId, ...], epoch: Epoch) -> None:
        digests = (blake2b(f"{node} {epoch}".encode(), digest_size=4).digest() for node in nodes)
        hashes = [int.from_bytes(digest) for digest in digests]
        self._phase: Floats = np.array(hashes, dtype=np.float64) / 2**32
        self._turn: Ints = np.zeros(len(nodes), dtype=np.int64)
        self._since: Floats = np.full(len(nodes), np.nan)
        """When the delayed change was first requested; NaN = none is pending."""
        self._is_growth: Bools = np.zeros(len(nodes), dtype=np.bool_)
        self._covered: Ints = np.zeros(len(nodes), dtype=np.int64)
        """Target of each node when its lease last matched or was being corrected."""

    def rose(self, newest_mw: Ints, target_mw: Ints) -> Bools:
        """Nodes whose demand has risen above their lease since it last matched."""
        rise_mw = target_mw - self._covered
        is_ramp: Bools = rise_mw * 1000 > self._covered * RISE_PERMILLE
        return is_ramp & (newest_mw < target_mw)

    def due(
        self,
        wish_mw: Ints,
        newest_mw: Ints,
        target_mw: Ints,
        *,
        must: Bools,
        hurry: Bools,
        surge: Bools,
        at: Instant,
    ) -> Bools:
        """Nodes whose lease is to change now.

        `must`: a budget fell or a start waits there; `hurry`: other work waits for the node's
        watts; `surge`: so much is free beside the node that taking it all at once would be a surge.
        """
        wanted = worth_it(wish_mw, newest_mw, must)
        grows = wish_mw > newest_mw
        rose = self.rose(newest_mw, target_mw)
        self._since[~wanted | (grows != self._is_growth)] = np.nan
        self._is_growth = grows
        self._since = np.where(wanted & np.isnan(self._since), at, self._since)
        delay = np.modf(self._phase + GOLDEN * self._turn)[0] * RELEASE_SPREAD_S
        waited = at - self._since >= delay + np.where(grows, 0.0, HOLD_S)
        at_once = np.where(grows, rose | ~surge, hurry)
        due = wanted & (must | at_once | waited)
        self._turn += due & ~at_once & ~must
        self._covered = np.where(wanted, self._covered, target_mw)
        self._since[due] = np.nan
        return due
