"""The columns of accounts."""

from collections.abc import Sequence

from wattline_protocol.lists import kinds
from wattline_protocol.lists.column import Column
from wattline_protocol.lists.table import Table
from wattline_protocol.views.account_views import AccountView, depths


def account_table(_: float) -> Table[AccountView]:
    """Shares and usage."""
    own = Column[AccountView]
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
