"""Accounts with their shares and usage; and quotas."""

from rich.console import Group, RenderableType
from rich.text import Text

from wattline.show import units
from wattline.show.tables import Column, Listing
from wattline_protocol.text.quantities import format_duration
from wattline_protocol.text.wording import counted, digits, energy
from wattline_protocol.views.account_views import QuotaView, depths
from wattline_protocol.wire.client_messages import Accounts


def listing(value: Accounts) -> RenderableType:
    """In the order in which they are served; accounts below another are indented."""
    rows = value.accounts
    depth = depths(rows)
    table = Listing(
        columns=(
            Column("ACCOUNT", ["  " * depth[a.name] + a.name for a in rows]),
            Column("SHARE", [units.share(a.share) for a in rows], is_right=True),
            Column("USED", [units.share(a.used) for a in rows], is_right=True),
            Column("USED/DUE", [f"{a.ratio:.2f}" for a in rows], is_right=True),
            Column("GPU-H", [digits(a.gpu_hours) for a in rows], is_right=True, weight=2),
            Column("ENERGY", [energy(a.energy_kwh) for a in rows], is_right=True, weight=2),
            Column("GPUS", [f"{a.gpus_running:g}" for a in rows], is_right=True, weight=1),
            Column("RUNNING", [str(a.jobs_running) for a in rows], is_right=True, weight=3),
            Column("QUEUED", [str(a.jobs_queued) for a in rows], is_right=True, weight=1),
        ),
        empty="No account has any use yet.",
    )
    parts: list[RenderableType] = [table]
    if rows:
        half_life = format_duration(value.half_life_s)
        parts.append(Text(f"\nUse of {half_life} ago counts half."))
    if value.quotas:
        parts += [Text(""), _quotas(value.quotas)]
    return Group(*parts)


def _quotas(rows: tuple[QuotaView, ...]) -> Listing:
    """Limits and usage; jobs that would exceed one wait."""
    return Listing(
        columns=(
            Column("QUOTA OF", [f"{q.of} {q.name}" for q in rows]),
            Column("LIMIT", [_amount(q, q.limit) for q in rows], is_right=True),
            Column("USED", [_amount(q, q.used) for q in rows], is_right=True),
            Column("RESETS", [_resets(q) for q in rows], weight=1),
            Column("WAITING", [q.waiting_jobs for q in rows], weight=2),
        ),
        empty="",
    )


def _amount(quota: QuotaView, value: float) -> str:
    match quota.what:
        case "gpus":
            return counted(value, "GPU")
        case "power_w":
            return units.watts(value)
        case "open_jobs":
            return counted(round(value), "open job")
        case "kwh_per_day":
            return f"{energy(value)} a day"
        case "usd_per_month":
            return f"{units.usd(value)} a month"


def _resets(quota: QuotaView) -> str:
    return (
        "as work ends" if quota.resets_unix_s is None else units.clock_in_zone(quota.resets_unix_s)
    )
