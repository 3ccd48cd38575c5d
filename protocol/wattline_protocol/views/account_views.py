"""What is shown of the queue and of accounts: places, shares, use, quotas."""

from collections.abc import Iterable
from typing import Literal

import msgspec

from wattline_protocol.ids import JobId, UnixTime

MAX_NAMED = 5
"""Jobs named that wait for a quota."""

QuotaLimit = Literal["gpus", "power_w", "open_jobs", "kwh_per_day", "usd_per_month"]


class PlaceView(msgspec.Struct, frozen=True):
    """Where a job stands in the queue, and what put it there."""

    place: int
    """1 = first."""
    queued: int
    """Jobs in the queue, with this one."""
    more_urgent: int
    """Before it because of their priority,"""
    accounts_first: int
    """of the others because their accounts used less for their shares,"""
    older: int
    """and because they have waited longer."""
    account: str
    share: float
    """What is due to the account of the whole site, 0..1."""
    used: float
    """What it had of all that was used, 0..1; older use counts less."""

    @property
    def lines(self) -> tuple[str, ...]:
        """For people: in which place, who is before it for which reason, what its account has."""
        reasons = (
            (self.more_urgent, "of higher priority"),
            (self.accounts_first, "of accounts that used less for their shares"),
            (self.older, "older"),
        )
        before = ", ".join(f"{count} {why}" for count, why in reasons if count)
        ahead = f"; before it {before}" if before else ""
        place = f"Place {self.place} of {self.queued} in the queue{ahead}."
        if self.share >= 1:  # it is the only one
            return (place,)
        due = f"{self.share * 100:.0f} % of the site is due to it"
        had = f"it had {self.used * 100:.0f} % of what was used"
        return place, f"Account {self.account}: {due}, {had}."


class AccountView(msgspec.Struct, frozen=True):
    """What is due to one account and what it used, older use counting less.

    All but its share and place is with the accounts below it, as its quotas count.
    """

    name: str
    parent: str | None
    share: float
    """Of the whole site, 0..1."""
    used: float
    """Part of all that was used, by the site's weights, 0..1."""
    ratio: float
    """Part of its siblings' use over its part of their shares; the least is served first."""
    gpu_hours: float
    energy_kwh: float
    gpus_running: float
    """GPUs that its jobs hold."""
    jobs_running: int
    jobs_queued: int


class QuotaView(msgspec.Struct, frozen=True):
    """One limit of an account's quota, or of a queue's, and what is used of it."""

    of: Literal["account", "queue"]
    name: str
    what: QuotaLimit
    limit: float
    used: float
    resets_unix_s: UnixTime | None = None
    """When it begins anew; None: as work of it ends."""
    waiting: int = 0
    """Jobs in the queue that it keeps from starting now."""
    first_waiting: tuple[JobId, ...] = ()
    """The oldest of them, at most `MAX_NAMED`."""

    @property
    def left(self) -> float:
        """What may still be used; a stricter site file may have left less than nothing."""
        return max(0.0, self.limit - self.used)

    @property
    def who_waits(self) -> str:
        """For people: "3, 7", "1, 2, 3, 4, 5 and 9 more"; empty = nobody."""
        more = self.waiting - len(self.first_waiting)
        named = ", ".join(map(str, self.first_waiting))
        return f"{named} and {more} more" if more else named


def depths(accounts: Iterable[AccountView]) -> dict[str, int]:
    """How many accounts are above each."""
    parents = {account.name: account.parent for account in accounts}
    found: dict[str, int] = {}
    for name in parents:
        above, depth = parents[name], 0
        while above is not None:
            above, depth = parents.get(above), depth + 1
        found[name] = depth
    return found
