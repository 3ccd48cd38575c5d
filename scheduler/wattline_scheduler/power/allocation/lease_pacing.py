"""When a lease that should change is changed: at once, or later, each node at its own moment.

Watts that somebody waits for, demand that rose, and budgets that fell move at once. The rest can
wait: a node gives up what it does not use only after it did not use it for a while (hysteresis),
and takes watts that became free for no reason of its own (a budget restored, a neighbour's job
ended) spread over some seconds, because a fleet that is uncapped in the same second surges. Whose
turn it is follows from a hash of node, epoch and turn: nothing is rolled, and no node is always
last.
"""

from hashlib import blake2b

import numpy as np

from wattline_protocol.ids import Epoch, Instant, NodeId
from wattline_scheduler.power.topology.matrix import Bools, Floats, Ints

DEAD_BAND_PERMILLE = 10
DEAD_BAND_MIN_MW = 20_000
"""Smaller changes are not worth a driver call on every GPU of the node."""

RELEASE_SPREAD_S = 3.0
"""Over so long nodes take watts that became free."""

HOLD_S = 3.0
"""Watts unused for less long are kept: a pause between two phases of a job."""

GOLDEN = 0.618_033_988_75
"""Successive turns of a node lie far apart (Weyl sequence)."""


RISE_PERMILLE = 50
"""Demand that rose by more is a ramp; less is a model that learns."""

SURGE_PERMILLE = 50
"""Growth in a row by more than this share of what it may grant is a surge."""


def worth_it(wish_mw: Ints, newest_mw: Ints, must: Bools) -> Bools:
    """Changes larger than the dead band; `must` overrides it (a start waits, a budget fell)."""
    change = np.abs(wish_mw - newest_mw)
    band = np.maximum(DEAD_BAND_MIN_MW, newest_mw * DEAD_BAND_PERMILLE // 1000)
    is_large: Bools = change >= np.where(must, 1, band)
    return is_large & (newest_mw > 0)


class Pace:
    """Since when each node's lease differs from what it should be. By position of the node."""

    def __init__(self, nodes: tuple[NodeId, ...], epoch: Epoch) -> None:
        digests = (blake2b(f"{node} {epoch}".encode(), digest_size=4).digest() for node in nodes)
        hashes = [int.from_bytes(digest) for digest in digests]
        self._phase: Floats = np.array(hashes, dtype=np.float64) / 2**32
        self._turn: Ints = np.zeros(len(nodes), dtype=np.int64)
        self._since: Floats = np.full(len(nodes), np.nan)
        """When a change that may wait was first wanted; NaN = none is."""
        self._is_growth: Bools = np.zeros(len(nodes), dtype=np.bool_)
        self._covered: Ints = np.zeros(len(nodes), dtype=np.int64)
        """Target of each node when its lease was last right or being made right."""

    def rose(self, newest_mw: Ints, target_mw: Ints) -> Bools:
        """Nodes whose demand has risen above their lease since it was last right."""
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

        `must`: a budget fell or a start waits there; `hurry`: somebody waits for the node's watts;
        `surge`: so much is free beside it that taking it all at once would be a jolt.
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
