"""The columns of quotas: a row a limit of an account or queue."""

from typing import get_args

from wattline_protocol.lists import kinds
from wattline_protocol.lists.column import Column
from wattline_protocol.lists.table import Table
from wattline_protocol.text.moments import when
from wattline_protocol.text.wording import digits, energy, usd, watts
from wattline_protocol.views.account_views import QuotaLimit, QuotaView


def quota_table(now_unix_s: float) -> Table[QuotaView]:
    """As of that time. Amounts are in the unit of their kind."""
    own = Column[QuotaView]
    owners, limits = kinds.choice("account", "queue"), kinds.choice(*get_args(QuotaLimit))

    def resets(one: QuotaView) -> str:
        return "as work ends" if one.resets_unix_s is None else when(one.resets_unix_s, now_unix_s)

    return Table(
        (
            own("quota", kinds.TEXT, lambda one: one.name),
            own("of", owners, lambda one: one.of, weight=2),
            own("kind", limits, lambda one: one.what, weight=5),
            own("limit", kinds.NUMBER, lambda one: one.limit, text=_limit),
            own("used", kinds.NUMBER, lambda one: one.used, text=_used),
            own("left", kinds.NUMBER, lambda one: one.left, text=_left, weight=4),
            own("of-limit", kinds.SHARE, used_share, weight=1, is_alarm=_blocks_jobs),
            own("resets", kinds.TIME, lambda one: one.resets_unix_s, text=resets, weight=2),
            own("waiting", kinds.NUMBER, lambda one: one.waiting, weight=6, is_usual=False),
            own("jobs", kinds.TEXTS, _jobs, "WAITING JOBS", lambda q: q.waiting_jobs, weight=3),
        ),
        empty="The site file has no quotas.",
    )


def used_share(quota: QuotaView) -> float:
    """Of its limit; above 1 after the limit was lowered in the site file."""
    return quota.used / quota.limit if quota.limit > 0 else 1.0


def _blocks_jobs(quota: QuotaView) -> bool:
    return quota.waiting > 0


def _jobs(quota: QuotaView) -> tuple[str, ...]:
    return tuple(map(str, quota.first_waiting))


def _limit(quota: QuotaView) -> str:
    return _amount(quota, quota.limit) + _PERIODS.get(quota.what, "")


def _used(quota: QuotaView) -> str:
    return _amount(quota, quota.used)


def _left(quota: QuotaView) -> str:
    return _amount(quota, quota.left)


_PERIODS: dict[QuotaLimit, str] = {"kwh_per_day": " a day", "usd_per_month": " a month"}


def _amount(quota: QuotaView, value: float) -> str:
    """`6.43 GPUs`, `20 kW`, `60 kWh`."""
    match quota.what:
        case "gpus":
            return _counted(value, "GPU")
        case "power_w":
            return watts(value)
        case "open_jobs":
            return _counted(value, "open job")
        case "kwh_per_day":
            return energy(value)
        case "usd_per_month":
            return usd(value)


def _counted(value: float, thing: str) -> str:
    return f"{digits(value)} {thing if value == 1 else thing + 's'}"
