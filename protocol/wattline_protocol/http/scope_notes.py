"""What a guarded HTTP server and its application note for each other in the scope of a request."""

from typing import NamedTuple

LONG_BODY = "wattline.long_body"
"""A LongBody, whose size or pace its application bounds itself."""
CLIENT_LEFT = "wattline.client_left"
"""Set once the connection has ended, for an application that does not read."""


class LongBody(NamedTuple):
    """A body that other limits than those of the server hold for."""

    most_bytes: float
    is_paced: bool
    """Its application decides how long it waits for more."""
