"""Accounts with their shares and usage; and quotas."""

from collections.abc import Sequence

import msgspec
from rich.console import RenderableType
from rich.text import Text

from wattline.lists.list_of import ListOf
from wattline.show import units
from wattline.show.tables import Column, Listing
from wattline_protocol.lists import kinds
from wattline_protocol.lists.column import Column as ListColumn
from wattline_protocol.lists.table import Table
from wattline_protocol.text.quantities import format_duration
from wattline_protocol.text.wording import counted, energy
from wattline_protocol.views.account_views import AccountView, QuotaView, depths
from wattline_protocol.wire.client_messages import Accounts


def table(_: float) -> Table[AccountView]:
    """The columns of accounts."""
    own = ListColumn[AccountView]
    return Table(
        (
            own("account", kinds.TEXT, lambda one: one.name),
            own("parent", kinds.TEXT, lambda one: one.parent or "", weight=4, is_usual=False),
            own("share", kinds.SHARE, lambda one: one.share),
            own("used", kinds.SHARE, lambda one: one.used),
            own("ratio", kinds.NUMBER, lambda one: one.ratio, "USED/DUE", text=_ratio),
            own("gpu-hours", kinds.AMOUNT, lambda one: one.gpu_hours, "GPU-H", weight=2),
            own("energy", kinds.ENERGY, lambda one: one.energy_kwh, weight=2),
            own("gpus", kinds.NUMBER, lambda one: one.gpus_running, weight=1),
            own("running", kinds.NUMBER, lambda one: one.jobs_running, weight=3),
            own("queued", kinds.NUMBER, lambda one: one.jobs_queued, weight=1),
        ),
        empty="No account has any use yet.",
        tree=tree,
    )


def tree(rows: Sequence[AccountView]) -> list[tuple[int, AccountView]]:
    """In the order in which they are served, each with its depth."""
    depth = depths(rows)
    return [(depth[one.name], one) for one in rows]


def _ratio(one: AccountView) -> str:
    return f"{one.ratio:.2f}"


def _with_rows(value: Accounts, rows: Sequence[AccountView]) -> Accounts:
    return msgspec.structs.replace(value, accounts=tuple(rows))


def _below(value: Accounts, rows: Sequence[AccountView]) -> list[RenderableType]:
    """What older use counts, and quotas."""
    parts: list[RenderableType] = []
    if rows:
        half_life = format_duration(value.half_life_s)
        parts.append(Text(f"\nUse of {half_life} ago counts half."))
    if value.quotas:
        parts += [Text(""), _quotas(value.quotas)]
    return parts


LIST = ListOf(table, lambda value: value.accounts, _with_rows, _below)


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
