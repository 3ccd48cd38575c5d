"""Accounts and their usage."""

from wattline.client import Client
from wattline_protocol.wire.client_messages import Accounts


def accounts(client: Client) -> Accounts:
    """All accounts of the site file, and those with recent usage or with jobs."""
    return client.accounts()
