"""How a node opens a store for a user: what orders about data, checkpoints and outputs share."""

from typing import TypedDict

from wattline_protocol.ids import UserName
from wattline_protocol.site.run_as import account_of
from wattline_scheduler.core.model.state import State


class StoreAccess(TypedDict):
    """Fields of `InStore`."""

    store: str
    endpoint: str
    region: str
    account: str
    user: UserName
    secret: str


def store_access(state: State, store: str, user: UserName, secret: str) -> StoreAccess:
    """As the account of the user, with its entry `secret`; empty = none is needed."""
    site = state.site
    return StoreAccess(
        store=store,
        endpoint=site.data.endpoint,
        region=site.data.region,
        account=account_of(site.run_as, user) or "",
        user=user,
        secret=secret,
    )
