"""The columns of quotas in the terminal: those of the list, the share used with a bar."""

from dataclasses import replace

from wattline_protocol.lists import kinds
from wattline_protocol.lists.quota_table import quota_table, used_share
from wattline_protocol.lists.table import Table
from wattline_protocol.views.account_views import QuotaView
from wattline_tui.listing.drawn import barred

SHARE_CELLS = len("100 %")


def quotas_of_terminal(now_unix_s: float) -> Table[QuotaView]:
    """As of that time."""
    table = quota_table(now_unix_s)
    columns = (
        barred(one, _share, least=12, most=24) if one.name == "of-limit" else one
        for one in table.columns
    )
    return replace(table, columns=tuple(columns))


def _share(quota: QuotaView) -> str:
    return f"{kinds.SHARE.show(used_share(quota)):>{SHARE_CELLS}}"
