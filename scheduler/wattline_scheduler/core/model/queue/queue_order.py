"""Who is looked at first: strict priority, then the level of the account, then age, counted from
when what a job is expected to take is due (see `plan.order.later_s`).
"""

from collections.abc import Mapping
from typing import NamedTuple

from wattline_scheduler.core.model.queue.expected_service import Service
from wattline_scheduler.core.model.queue.job_class import LineKey
from wattline_scheduler.plan.learning.fairshare import (
    NOTHING,
    FairTree,
    Level,
    Standing,
    Use,
    comparable,
)


class Rank(NamedTuple):
    """What jobs are compared by."""

    before: tuple[int, Level]
    """Strictly: -priority, then the level of the account."""
    later_s: float
    """Within that by when it was submitted, as if it had been so much later."""


class Order:
    """The order among accounts as it stands; asked for once per line and cycle."""

    def __init__(self, tree: FairTree, service: Service) -> None:
        self._tree = tree
        self.service = service
        self._use: dict[str, Use] = {}
        self._standings: dict[str, Standing] = tree.standings({})

    def note(self, use: Mapping[str, Use]) -> None:
        """What each account used, older use counting less; of others nothing is known."""
        self._use = dict(use)
        self._standings = self._tree.standings(self._use)

    def standing(self, account: str) -> Standing:
        """Where it stands; one that nothing was known of has used nothing."""
        if account not in self._use:
            self._use[account] = NOTHING
            self._standings = self._tree.standings(self._use)
        return self._standings[account]

    def standings(self) -> dict[str, Standing]:
        """Of all accounts of the site file and all that are known."""
        return dict(self._standings)

    def rank(self, key: LineKey) -> Rank:
        """Of the jobs of a line."""
        level = comparable(self.standing(key.account).level)
        return Rank((-key.shape.priority, level), self.service.later_s(key))
