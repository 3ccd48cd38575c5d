"""Accounts with their shares and usage; and quotas."""

import time
from collections.abc import Sequence

import msgspec
from rich.console import RenderableType
from rich.text import Text

from wattline.lists.layout import listing
from wattline.lists.list_of import ListOf
from wattline.lists.request import ListOptions, understood
from wattline_protocol.lists.account_table import account_table
from wattline_protocol.lists.quota_table import quota_table
from wattline_protocol.text.quantities import format_duration
from wattline_protocol.views.account_views import AccountView, QuotaView
from wattline_protocol.wire.client_messages import Accounts


def _with_rows(value: Accounts, rows: Sequence[AccountView]) -> Accounts:
    return msgspec.structs.replace(value, accounts=tuple(rows))


def _below(value: Accounts, rows: Sequence[AccountView]) -> list[RenderableType]:
    """What older use counts, and quotas: all of them, or those of the accounts selected."""
    parts: list[RenderableType] = []
    if rows:
        half_life = format_duration(value.half_life_s)
        parts.append(Text(f"\nUse of {half_life} ago counts half."))
    if quotas := _quotas(value, rows):
        parts += [Text(""), listing(understood(QUOTAS, ListOptions(), time.time()), quotas)]
    return parts


def _quotas(value: Accounts, rows: Sequence[AccountView]) -> Sequence[QuotaView]:
    if len(rows) == len(value.accounts):
        return value.quotas
    names = {one.name for one in rows}
    return [one for one in value.quotas if one.of == "account" and one.name in names]


QUOTAS = ListOf[Sequence[QuotaView], QuotaView](quota_table)
LIST = ListOf[Accounts, AccountView](
    account_table, lambda value: value.accounts, _with_rows, _below
)
