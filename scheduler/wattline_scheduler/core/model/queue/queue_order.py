"""Queue order: strict priority, then the level of the account, then age, delayed by the expected
service of the job (see `expected_service.later_s`).
"""

from collections.abc import Mapping
from typing import NamedTuple

from wattline_scheduler.core.model.queue.expected_service import Service
from wattline_scheduler.core.model.queue.job_class import ClassKey
from wattline_scheduler.plan.learning.fairshare import (
    NOTHING,
    FairTree,
    Level,
    Standing,
    Use,
    comparable,
)


class Rank(NamedTuple):
    """Sort key of jobs."""

    before: tuple[int, Level]
    """Strict part: -priority, then the level of the account."""
    later_s: float
    """Delay added to the submission time, the order within the strict part."""


class Order:
    """The current order of accounts; computed once per class and cycle."""

    def __init__(self, tree: FairTree, service: Service) -> None:
        self._tree = tree
        self.service = service
        self._use: dict[str, Use] = {}
        self._standings: dict[str, Standing] = tree.standings({})

    def note(self, use: Mapping[str, Use]) -> None:
        """Sets the decayed use of each account; other accounts are unknown."""
        self._use = dict(use)
        self._standings = self._tree.standings(self._use)

    def standing(self, account: str) -> Standing:
        """Standing of an account; an unknown one has used nothing."""
        if account not in self._use:
            self._use[account] = NOTHING
            self._standings = self._tree.standings(self._use)
        return self._standings[account]

    def standings(self) -> dict[str, Standing]:
        """Standings of all accounts of the site file and all known ones."""
        return dict(self._standings)

    def rank(self, key: ClassKey) -> Rank:
        """Rank of the jobs of a class."""
        level = comparable(self.standing(key.account).level)
        return Rank((-key.shape.priority, level), self.service.later_s(key))
