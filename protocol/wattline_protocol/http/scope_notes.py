"""What a guarded HTTP server and its application note for each other in the scope of a request."""

from collections.abc import Mapping
from typing import Any, NamedTuple

LONG_BODY = "wattline.long_body"
"""A LongBody, whose size or pace its application bounds itself."""
CLIENT_LEFT = "wattline.client_left"
"""In the state of the scope: an event of the connection, which other requests may have followed."""


class LongBody(NamedTuple):
    """A body that other limits than those of the server hold for."""

    most_bytes: float
    is_paced: bool
    """Its application decides how long it waits for more."""


def has_client_left(scope: Mapping[str, Any]) -> bool:
    """Whether the connection of a request has ended, for an application that does not read."""
    left = scope.get("state", {}).get(CLIENT_LEFT)
    return left is not None and left.is_set()
