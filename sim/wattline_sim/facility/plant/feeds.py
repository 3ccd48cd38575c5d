"""Which feed carries which watts: redundant inputs, lost feeds, opened breakers.

A node with two live inputs draws half from each; when one dies the other carries all of it, within
the same step (a cycle of the mains is shorter than any). A feed is live when nothing above it is
lost or tripped. A node without a live input is dark.
"""

import numpy as np

from wattline_sim.facility.plant.breakers import Breakers
from wattline_sim.facility.plant.dice import Flags, Floats, Indexes
from wattline_sim.facility.plant.layout import Feed, Layout


class Feeds:
    """All power domains; `wall_w` is their load after a step."""

    def __init__(self, layout: Layout) -> None:
        feeds = layout.feeds
        index = {feed.id: i for i, feed in enumerate(feeds)}
        none = len(feeds)
        self.inputs: Indexes = np.array(
            [
                [index[node.inputs[0]], index[node.inputs[1]] if len(node.inputs) == 2 else none]
                for node in layout.nodes
            ],
            dtype=np.int64,
        ).reshape(len(layout.nodes), 2)
        self._above = _ancestors(feeds, index)
        self._fixed_w: Floats = self._above @ np.array([feed.fixed_w for feed in feeds])
        self.rating_w: Floats = np.array([feed.rating_w for feed in feeds])
        self.breakers = Breakers([feed.level for feed in feeds], self.rating_w)
        self.is_lost = np.zeros(len(feeds), dtype=np.bool_)
        self.wall_w: Floats = np.zeros(len(feeds))
        self.share: Floats = np.zeros((len(layout.nodes), 2))
        self.is_live: Flags = np.ones(len(feeds), dtype=np.bool_)
        self.is_fed: Flags = np.ones(len(layout.nodes), dtype=np.bool_)
        self.refresh()

    def refresh(self) -> None:
        """Work out again who is live and who feeds whom, after a loss or a restoration."""
        dead = self.is_lost | self.breakers.tripped
        self.is_live = (self._above.T @ dead) == 0.0
        live = np.append(self.is_live, False)[self.inputs]
        count = live.sum(axis=1)
        self.is_fed = count > 0
        self.share = live / np.maximum(count, 1)[:, None]

    def load_w(self, node_wall_w: Floats) -> Floats:
        """Watts through every domain for those node watts."""
        leaves = np.bincount(
            self.inputs.ravel(),
            weights=(node_wall_w[:, None] * self.share).ravel(),
            minlength=len(self.rating_w) + 1,
        )[:-1]
        load: Floats = self._above @ leaves
        load += self._fixed_w * self.is_live
        return load

    def step(self, node_wall_w: Floats, dt_s: float) -> bool:
        """Load the domains; true if a breaker opened, so that nodes may have gone dark."""
        self.wall_w = self.load_w(node_wall_w)
        if not self.breakers.step(self.wall_w, dt_s):
            return False
        self.refresh()
        return True


def _ancestors(feeds: tuple[Feed, ...], index: dict[str, int]) -> Floats:
    """Entry (d, leaf) is 1 where `leaf` lies below `d` or is it."""
    above = np.eye(len(feeds))
    for i, feed in enumerate(feeds):
        if feed.parent is not None:
            above[:, i] += above[:, index[feed.parent]]
    return above
