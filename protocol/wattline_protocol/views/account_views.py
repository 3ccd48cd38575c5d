"""Views of the queue and of accounts: positions, shares, usage, quotas."""

from collections.abc import Iterable
from typing import Literal

import msgspec

from wattline_protocol.ids import JobId, UnixTime
from wattline_protocol.text.wording import listed

MAX_NAMED = 5
"""Jobs named that wait for a quota."""

QuotaLimit = Literal["gpus", "power_w", "open_jobs", "kwh_per_day", "usd_per_month"]


class PlaceView(msgspec.Struct, frozen=True):
    """Position of a job in the queue, and its causes."""

    place: int
    """1 = first."""
    queued: int
    """Jobs in the queue, with this one."""
    more_urgent: int
    """Ahead of it because of their priority,"""
    accounts_first: int
    """of the others because their accounts used less for their shares,"""
    older: int
    """and because they have waited longer."""
    account: str
    share: float
    """Share of the whole site due to the account, 0..1."""
    used: float
    """Its part of all usage, 0..1; older usage counts less."""

    @property
    def lines(self) -> tuple[str, ...]:
        """For display: its position, the jobs ahead by reason, and its account's share."""
        reasons = (
            (self.more_urgent, "of higher priority"),
            (self.accounts_first, "of accounts with less usage for their share"),
            (self.older, "older"),
        )
        counts = ", ".join(f"{count} {why}" for count, why in reasons if count)
        ahead = f"; ahead of it: {counts}" if counts else ""
        place = f"Position {self.place} of {self.queued} in the queue{ahead}."
        if self.share >= 1:  # it is the only one
            return (place,)
        percents = f"fair share {self.share * 100:.0f} %, usage {self.used * 100:.0f} %"
        return place, f"Account {self.account}: {percents} of the site."


class AccountView(msgspec.Struct, frozen=True):
    """Share and usage of one account; older usage counts less.

    All but its share and position include the accounts below it, as its quotas do.
    """

    name: str
    parent: str | None
    share: float
    """Of the whole site, 0..1."""
    used: float
    """Part of all usage, by the site's weights, 0..1."""
    ratio: float
    """Part of its siblings' usage over its part of their shares; the lowest is served first."""
    gpu_hours: float
    energy_kwh: float
    gpus_running: float
    """GPUs allocated to its jobs."""
    jobs_running: int
    jobs_queued: int


class QuotaView(msgspec.Struct, frozen=True):
    """One limit of an account's or queue's quota, and its usage."""

    of: Literal["account", "queue"]
    name: str
    what: QuotaLimit
    limit: float
    used: float
    resets_unix_s: UnixTime | None = None
    """When its period resets; None: its usage falls as its jobs end."""
    waiting: int = 0
    """Jobs in the queue that it blocks now."""
    first_waiting: tuple[JobId, ...] = ()
    """The oldest of them, at most `MAX_NAMED`."""

    @property
    def left(self) -> float:
        """The rest; may be negative after the limit was lowered in the site file."""
        return max(0.0, self.limit - self.used)

    @property
    def waiting_jobs(self) -> str:
        """For display: "3, 7", "1, 2, 3, 4, 5 and 9 more"; empty = none."""
        return listed(self.first_waiting, MAX_NAMED, self.waiting)


def depths(accounts: Iterable[AccountView]) -> dict[str, int]:
    """Number of ancestors of each account."""
    parents = {account.name: account.parent for account in accounts}
    found: dict[str, int] = {}
    for name in parents:
        above, depth = parents[name], 0
        while above is not None:
            above, depth = parents.get(above), depth + 1
        found[name] = depth
    return found


class ListAccounts(msgspec.Struct, frozen=True, tag_field="t", tag="list_accounts"):
    """Accounts with their shares and usage."""


class Accounts(msgspec.Struct, frozen=True, tag_field="t", tag="accounts"):
    accounts: tuple[AccountView, ...]
    """In the order in which they are served."""
    half_life_s: float
    quotas: tuple[QuotaView, ...] = ()
    """Of queues, then of accounts, in site-file order."""
