"""Accounts and quotas as rows of text: shares, usage, remainder and waiting jobs."""

from wattline_protocol.text.wording import digits
from wattline_protocol.views.account_views import AccountView, QuotaLimit, QuotaView, depths
from wattline_protocol.wire.client_messages import Accounts
from wattline_tui.limits import when
from wattline_tui.units import watts
from wattline_tui.widgets.tables import Row

ACCOUNT_COLUMNS = ("account", "due", "used", "used/due", "GPUs", "run", "wait", "GPU-h", "kWh")
QUOTA_COLUMNS = ("quota of", "used", " ", "of", "left", "pending jobs", "resets")

BAR = 8
"""Characters of the bar that shows how much of a quota is used."""

UNITS: dict[QuotaLimit, str] = {
    "gpus": "GPUs",
    "power_w": "",
    "open_jobs": "open jobs",
    "kwh_per_day": "kWh/day",
    "usd_per_month": "$/month",
}


def account_rows(accounts: Accounts) -> list[Row]:
    """In the order in which they are served; accounts below another are indented."""
    depth = depths(accounts.accounts)
    return [_account(account, depth[account.name]) for account in accounts.accounts]


def _account(account: AccountView, depth: int) -> Row:
    return account.name, (
        "  " * depth + account.name,
        f"{account.share:.0%}",
        f"{account.used:.0%}",
        f"{account.ratio:.2f}",
        f"{account.gpus_running:g}",
        str(account.jobs_running),
        str(account.jobs_queued),
        digits(account.gpu_hours),
        digits(account.energy_kwh),
    )


def quota_rows(accounts: Accounts, now_unix_s: float) -> list[Row]:
    """Limit by limit, in the order of the site file."""
    return [_quota(quota, now_unix_s) for quota in accounts.quotas]


def _quota(quota: QuotaView, now_unix_s: float) -> Row:
    resets = quota.resets_unix_s
    return f"{quota.of} {quota.name} {quota.what}", (
        f"{quota.of} {quota.name}",
        amount(quota, quota.used),
        bar(quota.used, quota.limit),
        f"{amount(quota, quota.limit)} {UNITS[quota.what]}".rstrip(),
        amount(quota, quota.left),
        quota.waiting_jobs or "–",
        "as work ends" if resets is None else when(resets, now_unix_s),
    )


def amount(quota: QuotaView, value: float) -> str:
    """A value of the quota, in its unit but without its name."""
    return watts(value) if quota.what == "power_w" else digits(value)


def bar(used: float, limit: float) -> str:
    """Share used; full only where nothing is left, empty only where nothing is used."""
    part = used / limit if limit > 0 else 1.0
    filled = round(part * BAR)
    if 0 < part < 1:
        filled = min(BAR - 1, max(1, filled))
    return "█" * min(BAR, filled) + "·" * (BAR - filled)
