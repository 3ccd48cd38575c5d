"""Who pays."""

from wattline.client import Client
from wattline_protocol.wire.client_messages import Accounts


def accounts(client: Client) -> Accounts:
    """All accounts of the site file, and those that used anything lately or have jobs."""
    return client.accounts()
