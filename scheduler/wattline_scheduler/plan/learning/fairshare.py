"""Fair share: whose account used least for its shares, down the tree of accounts.

The algorithm is Fair Tree (Slurm, https://slurm.schedmd.com/fair_tree.html): on each level of the
tree siblings are ordered by their shares over their use, and all below one come before all below
the next. What was used counts less with its age (half-life; Kay and Lauder, "A Fair Share
Scheduler", CACM 31(1), 1988). Use is of two things, time on GPUs and energy; each counts as the
part that an account has in its siblings' use, so their units do not matter.

Differences of less than a tenth do not count, nor what is used as long as all siblings together
used hardly anything: then other things decide who is first.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import log

from wattline_protocol.site.accounts import MAX_DEPTH
from wattline_protocol.site.model import Account, FairShare

Level = tuple[int, ...]
"""From the top of the tree down: the smaller, the earlier (see `comparable`)."""

STEP = 1.1
"""Accounts are told apart where use for shares differs by so much."""

LEAST_RATIO = 0.01
"""Who used less than that part of what is due to it, is as one that used nothing."""

LEAST_USE = 1.0
"""GPU-hours, and kWh: siblings that used less together count as if they had used so much."""

OWN_SHARES = 1.0
"""Of the jobs of an account that has parts, beside those parts."""


@dataclass(frozen=True, slots=True)
class Use:
    """What was used, older use counting less."""

    gpu_hours: float = 0.0
    energy_kwh: float = 0.0

    def __add__(self, other: "Use") -> "Use":
        return Use(self.gpu_hours + other.gpu_hours, self.energy_kwh + other.energy_kwh)


NOTHING = Use()


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an account stands."""

    level: Level
    """Of its own jobs."""
    share: float
    """Of the whole site, 0..1."""
    use: Use
    """With all below it."""
    used: float
    """Part of the use of the whole site, 0..1."""
    ratio: float
    """Part of its siblings' use over its part of their shares: 1 is just what is due to it."""


class FairTree:
    """The tree of the site file, with accounts that it does not name at its top."""

    def __init__(self, rules: FairShare, accounts: Iterable[Account]) -> None:
        self.rules = rules
        self._shares = {account.name: account.shares for account in accounts}
        self._below: dict[str | None, list[str]] = {}
        for account in accounts:
            self._below.setdefault(account.parent, []).append(account.name)

    def standings(self, use: Mapping[str, Use]) -> dict[str, Standing]:
        """Of the accounts of the site file and of all in `use`, whose jobs used that."""
        found: dict[str, Standing] = {}
        others = [name for name in use if name not in self._shares]
        tops = [*self._below.get(None, ()), *others]
        everything = sum((self._sum(name, use) for name in tops), NOTHING)
        self._stand(tops, (), 1.0, use, everything, found)
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
    ) -> None:
        """Siblings; `own`: the account above them, if it has jobs of its own."""
        shares = {name: self._shares.get(name, self.rules.shares) for name in names}
        sums = {name: self._sum(name, use) for name in names}
        if own is not None:
            shares[own], sums[own] = OWN_SHARES, use[own]
        all_shares, all_use = sum(shares.values()), sum(sums.values(), NOTHING)
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
        """Of both measures, by weight; one of which nothing was used says nothing."""
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
    """As long as the deepest, so that depth alone puts nobody first: an account without parts is
    one with a single part, which has just what is due to it, or nothing if nothing was used."""
    last = LEAST_STEP if level[-1:] == (LEAST_STEP,) else 0
    return (*level, *(last,) * (DEEPEST - len(level)))
