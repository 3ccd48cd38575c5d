"""Fair share: accounts ordered by use relative to their shares, down the account tree.

The algorithm is Fair Tree (Slurm, https://slurm.schedmd.com/fair_tree.html): on each level of the
tree siblings are ordered by shares over use, and all accounts below one come before all below the
next. Use decays with age (half-life; Kay and Lauder, "A Fair Share Scheduler", CACM 31(1), 1988).
Use has two measures, GPU time and energy; each counts as the account's fraction of its siblings'
use, so their units do not matter.

Differences of less than a tenth are ignored, and so is all use while the siblings together have
used hardly anything: then other criteria decide the order.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import log

from wattline_protocol.site.accounts import MAX_DEPTH
from wattline_protocol.site.model import Account, FairShare

Level = tuple[int, ...]
"""From the root of the tree down: smaller sorts earlier (see `comparable`)."""

STEP = 1.1
"""Minimum ratio of use over shares that distinguishes two accounts."""

LEAST_RATIO = 0.01
"""Below this fraction of its due share an account counts as unused."""

LEAST_USE = 1.0
"""GPU-hours, and kWh: minimum to which the joint use of siblings is raised."""

OWN_SHARES = 1.0
"""Shares of an account's own jobs, beside those of its sub-accounts."""

NEWCOMER = ""
"""Stands for each account that has used nothing and that the site file does not name. They are
alike, and a member may name a new one in every job."""


@dataclass(frozen=True, slots=True)
class Use:
    """Decayed use."""

    gpu_hours: float = 0.0
    energy_kwh: float = 0.0

    def __add__(self, other: "Use") -> "Use":
        return Use(self.gpu_hours + other.gpu_hours, self.energy_kwh + other.energy_kwh)


NOTHING = Use()


@dataclass(frozen=True, slots=True)
class Standing:
    """Fair-share standing of an account."""

    level: Level
    """Level of its own jobs."""
    share: float
    """Fraction of the whole site, 0..1."""
    use: Use
    """Includes all sub-accounts."""
    used: float
    """Fraction of the use of the whole site, 0..1."""
    ratio: float
    """Its fraction of its siblings' use over that of their shares: 1 is exactly due."""


class FairTree:
    """The account tree of the site file, with unlisted accounts at its root."""

    def __init__(self, rules: FairShare, accounts: Iterable[Account]) -> None:
        self.rules = rules
        self._shares = {account.name: account.shares for account in accounts}
        self._below: dict[str | None, list[str]] = {}
        for account in accounts:
            self._below.setdefault(account.parent, []).append(account.name)

    def names(self, account: str) -> bool:
        """Whether the site file names it."""
        return account in self._shares

    def standings(self, use: Mapping[str, Use], newcomers: int = 1) -> dict[str, Standing]:
        """Standings of the accounts of the site file and of all in `use`, the use by own jobs.

        `newcomers`: how many accounts `NEWCOMER` stands for, if it is in `use`.
        """
        found: dict[str, Standing] = {}
        others = [name for name in use if name not in self._shares]
        tops = [*self._below.get(None, ()), *others]
        everything = sum((self._sum(name, use) for name in tops), NOTHING)
        more_shares = (newcomers - 1) * self.rules.shares if NEWCOMER in use else 0.0
        self._stand(tops, (), 1.0, use, everything, found, more_shares=more_shares)
        return found

    def _sum(self, name: str, use: Mapping[str, Use]) -> Use:
        below = (self._sum(part, use) for part in self._below.get(name, ()))
        return sum(below, use.get(name, NOTHING))

    def _stand(
        self,
        names: list[str],
        above: Level,
        share: float,
        use: Mapping[str, Use],
        everything: Use,
        found: dict[str, Standing],
        own: str | None = None,
        more_shares: float = 0.0,
    ) -> None:
        """Rank siblings; `own`: their parent account, if it has jobs of its own. `more_shares`: of
        siblings that are not among `names`."""
        shares = {name: self._shares.get(name, self.rules.shares) for name in names}
        sums = {name: self._sum(name, use) for name in names}
        if own is not None:
            shares[own], sums[own] = OWN_SHARES, use[own]
        all_shares = sum(shares.values()) + more_shares
        all_use = sum(sums.values(), NOTHING)
        for name, each in shares.items():
            due = each / all_shares
            ratio = self._part(sums[name], all_use) / due
            level = (*above, _step(self._part(sums[name], all_use, LEAST_USE) / due))
            if name == own:
                found[name] = replace(found[name], level=level)
                continue
            used = self._part(sums[name], everything)
            found[name] = Standing(level, share * due, sums[name], used, ratio)
            parts = self._below.get(name, [])
            if parts:
                has_own = name if name in use else None
                self._stand(parts, level, share * due, use, everything, found, has_own)

    def _part(self, use: Use, of: Use, least: float = 0.0) -> float:
        """Weighted fraction over both measures; a measure without any use is ignored."""
        rules = self.rules
        measures = (
            (rules.gpu_hours, use.gpu_hours, of.gpu_hours),
            (rules.energy, use.energy_kwh, of.energy_kwh),
        )
        known = [(weight, one, max(least, all_)) for weight, one, all_ in measures if all_ > 0]
        weights = sum(weight for weight, _, _ in known)
        if not weights:
            return 0.0
        return sum(weight * one / all_ for weight, one, all_ in known) / weights


def _step(ratio: float) -> int:
    return round(log(max(ratio, LEAST_RATIO)) / log(STEP))


LEAST_STEP = _step(0.0)
DEEPEST = MAX_DEPTH + 1


def comparable(level: Level) -> Level:
    """Pad to the maximum depth, so that depth alone ranks no account first: an account without
    sub-accounts counts as one with a single one, at its exact due share, or at none if unused."""
    last = LEAST_STEP if level[-1:] == (LEAST_STEP,) else 0
    return (*level, *(last,) * (DEEPEST - len(level)))
