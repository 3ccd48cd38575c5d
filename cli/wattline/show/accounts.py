"""Accounts: what is due to each, and what it used."""

from rich.console import Group, RenderableType
from rich.text import Text

from wattline.show import units
from wattline.show.tables import Column, Listing
from wattline_protocol.quantities import format_duration
from wattline_protocol.requests import Accounts
from wattline_protocol.views import AccountView


def listing(value: Accounts) -> RenderableType:
    """Who is served first comes first; what is below an account is set in."""
    rows = value.accounts
    depth = _depths(rows)
    table = Listing(
        columns=(
            Column("ACCOUNT", ["  " * depth[a.name] + a.name for a in rows]),
            Column("SHARE", [units.share(a.share) for a in rows], is_right=True),
            Column("USED", [units.share(a.used) for a in rows], is_right=True),
            Column("USED/DUE", [f"{a.ratio:.2f}" for a in rows], is_right=True),
            Column("GPU-H", [f"{a.gpu_hours:.2f}" for a in rows], is_right=True, weight=2),
            Column("ENERGY", [units.kwh(a.energy_kwh) for a in rows], is_right=True, weight=2),
            Column("GPUS", [f"{a.gpus_running:g}" for a in rows], is_right=True, weight=1),
            Column("RUNNING", [str(a.jobs_running) for a in rows], is_right=True, weight=3),
            Column("QUEUED", [str(a.jobs_queued) for a in rows], is_right=True, weight=1),
        ),
        empty="No account has used anything yet.",
    )
    half_life = f"What was used {format_duration(value.half_life_s)} ago counts half."
    return Group(table, Text(f"\n{half_life}")) if rows else table


def _depths(rows: tuple[AccountView, ...]) -> dict[str, int]:
    parents = {account.name: account.parent for account in rows}
    depths: dict[str, int] = {}
    for name in parents:
        above, depth = parents[name], 0
        while above is not None:
            above, depth = parents.get(above), depth + 1
        depths[name] = depth
    return depths
