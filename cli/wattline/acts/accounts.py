"""Accounts with their usage, and quotas."""

from wattline.client import Client
from wattline_protocol.views.account_views import QuotaView
from wattline_protocol.wire.client_messages import Accounts


def accounts(client: Client) -> Accounts:
    """All accounts of the site file, and those with recent usage or with jobs."""
    return client.accounts()


def quotas(client: Client) -> tuple[QuotaView, ...]:
    """Those of queues, then of accounts, in the order of the site file."""
    return client.accounts().quotas
