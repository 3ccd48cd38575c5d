"""Queue order: strict priority, then the level of the account, then age, delayed by the expected
service of the job (see `expected_service.later_s`).
"""

from collections.abc import Mapping
from typing import NamedTuple

from wattline_scheduler.core.model.queue.expected_service import Service
from wattline_scheduler.core.model.queue.job_class import ClassKey
from wattline_scheduler.plan.learning.fairshare import (
    NEWCOMER,
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
        self._newcomers = 1
        self._rank_accounts()

    def note(self, use: Mapping[str, Use]) -> None:
        """Sets the decayed use of each account; other accounts are unknown."""
        self._use = {name: each for name, each in use.items() if not self._is_new(name, each)}
        self._newcomers = max(1, len(use) - len(self._use))
        if len(use) > len(self._use):
            self._use[NEWCOMER] = NOTHING
        self._rank_accounts()

    def _rank_accounts(self) -> None:
        self._standings: dict[str, Standing] = self._tree.standings(self._use, self._newcomers)
        self._strict: dict[tuple[int, str], tuple[int, Level]] = {}
        """By priority and account: asked of each class in each plan."""

    def _is_new(self, account: str, use: Use) -> bool:
        return use == NOTHING and not self._tree.names(account)

    def standing(self, account: str) -> Standing:
        """Standing of an account; an unknown one has used nothing.

        Unknown accounts that the site file does not name share one standing, which follows their
        number at the next `note`. Ordering all accounts for each of them took a plan over 3,000
        new ones 20 s.
        """
        name = account if account in self._use or self._tree.names(account) else NEWCOMER
        if name not in self._use:
            self._use[name] = NOTHING
            self._rank_accounts()
        return self._standings[name]

    def standings(self) -> dict[str, Standing]:
        """Standings of all accounts of the site file, and of all others that have used anything."""
        return {name: each for name, each in self._standings.items() if name != NEWCOMER}

    def rank(self, key: ClassKey) -> Rank:
        """Rank of the jobs of a class."""
        alike = key.shape.priority, key.account
        before = self._strict.get(alike)
        if before is None:
            level = comparable(self.standing(key.account).level)
            before = self._strict[alike] = (-key.shape.priority, level)
        return Rank(before, self.service.later_s(key))
