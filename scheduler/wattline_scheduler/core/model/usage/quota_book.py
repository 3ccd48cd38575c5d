"""Quotas: definitions, the jobs they count, and their current use.

A job counts in the quota of its queue, of its account, and of every parent account. GPUs and watts
count from the placement of a try until its end, whatever becomes of its job meanwhile.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from wattline_protocol.ids import UnixTime
from wattline_protocol.job.spec import WHOLE_GPU
from wattline_protocol.site.model import NO_QUOTA, Quota, Site
from wattline_protocol.views.account_views import QuotaLimit
from wattline_scheduler.core.model.usage.usage_ledger import Key
from wattline_scheduler.plan.model.shape import GangKey
from wattline_scheduler.plan.model.snapshot import QuotaHeadroom

MAX_CHAINS = 10_000
"""Maximum number of cached pairs of account and queue."""


@dataclass(slots=True)
class QuotaState:
    """One quota of the site file, and its use."""

    key: Key
    quota: Quota
    names: tuple[Key, ...]
    """Accounts or queues whose use counts: of an account, its children too."""
    held_milli: int = 0
    held_mw: int = 0
    once_milli: int = 0
    """Use when this run began, or less by now: the site file may have become stricter."""
    once_mw: int = 0
    open_jobs: int = 0
    """Open jobs, with every index of an array."""
    used_wh: float = 0.0
    """Today."""
    used_usd: float = 0.0
    """This month."""
    closed: str = ""
    """Text why no job in it may start."""
    closed_by: QuotaLimit | None = None
    """The limit that is used up."""
    holders: dict[GangKey, int] = field(default_factory=dict)
    """Gangs that count in it, each with its number of attempts."""
    resets_unix_s: UnixTime | None = None
    """Time at which the used-up limit resets."""

    @property
    def name(self) -> str:
        """Name in texts."""
        return " ".join(self.key)

    def headroom(self) -> QuotaHeadroom:
        """Its headroom in the planner's form."""
        return QuotaHeadroom(
            name=self.name,
            most_milli=self.quota.gpus * WHOLE_GPU,
            used_milli=self.held_milli,
            most_mw=self.quota.power_mw,
            used_mw=self.held_mw,
            closed=self.closed,
        )


class QuotaExceeded(NamedTuple):
    """A quota that bars starts until its day or month is over."""

    name: str
    until_unix_s: UnixTime


class QuotaBook:
    """All quotas of the site."""

    def __init__(self, site: Site) -> None:
        self._parents = {account.name: account.parent for account in site.accounts}
        below: dict[str, list[Key]] = {name: [] for name in self._parents}
        for name in self._parents:
            for above in self._chain(name):
                below[above].append(("account", name))
        queues = ((("queue", q.name), q.quota, (("queue", q.name),)) for q in site.queues)
        accounts = ((("account", a.name), a.quota, tuple(below[a.name])) for a in site.accounts)
        self.all: list[QuotaState] = [
            QuotaState(key, quota, names)  # type: ignore[arg-type]  # a literal
            for key, quota, names in (*queues, *accounts)
            if quota != NO_QUOTA
        ]
        self._at = {one.key: at for at, one in enumerate(self.all)}
        self._of: dict[tuple[str, str], tuple[int, ...]] = {}

    def _chain(self, account: str) -> list[str]:
        """The account and its parents."""
        chain, at = list[str](), account if account in self._parents else None
        while at is not None:
            chain.append(at)
            at = self._parents[at]
        return chain

    def of(self, account: str, queue: str) -> tuple[int, ...]:
        """Positions of the quotas that count a job of this account and queue."""
        if not self.all:
            return ()
        known = self._of.get((account, queue))
        if known is None:
            keys: list[Key] = [("queue", queue)]
            keys += [("account", name) for name in self._chain(account)]
            if len(self._of) >= MAX_CHAINS:
                self._of.clear()
            known = tuple(self._at[key] for key in keys if key in self._at)
            self._of[account, queue] = known
        return known

    def used_up(self, account: str, queue: str) -> QuotaExceeded | None:
        """The used-up quota of such a job that resets last; None = none is used up."""
        counting = (self.all[number] for number in self.of(account, queue))
        found = [
            QuotaExceeded(one.name, one.resets_unix_s)
            for one in counting
            if one.resets_unix_s is not None
        ]
        return max(found, key=lambda one: one.until_unix_s, default=None)

    def count(self, numbers: Sequence[int], gang: GangKey, milli: int, mw: int) -> None:
        """Counts an attempt of the gang in each of these quotas."""
        for one in (self.all[number] for number in numbers):
            one.held_milli += milli
            one.held_mw += mw
            one.holders[gang] = one.holders.get(gang, 0) + 1

    def discount(self, numbers: Sequence[int], gang: GangKey, milli: int, mw: int) -> None:
        """Ends the count of an attempt."""
        for one in (self.all[number] for number in numbers):
            one.held_milli -= milli
            one.held_mw -= mw
            one.once_milli = min(one.once_milli, one.held_milli)
            one.once_mw = min(one.once_mw, one.held_mw)
            one.holders[gang] -= 1
            if not one.holders[gang]:
                del one.holders[gang]

    def frozen(self) -> "QuotaBook":
        """A copy with its current use frozen."""
        other = copy(self)
        other.all = [replace(one, holders=dict(one.holders)) for one in self.all]
        return other

    def begin(self) -> None:
        """Tolerates the current use, which was placed by the rules of earlier runs."""
        for one in self.all:
            one.once_milli, one.once_mw = one.held_milli, one.held_mw

    def headrooms(self) -> tuple[QuotaHeadroom, ...]:
        """Headroom of all quotas in the planner's form."""
        return tuple(one.headroom() for one in self.all)

    def accounts_above(self, account: str) -> list[str]:
        """The account and its parents that the site file names."""
        return self._chain(account)
