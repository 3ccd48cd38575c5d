"""Subscriptions of clients: answered with many Responses until Unwatch or the connection ends."""

import msgspec

from wattline_protocol.wire.bounds import Seconds, Serial


class WatchSite(msgspec.Struct, frozen=True, tag_field="t", tag="watch_site"):
    """A SiteView at once and then one every `period_s`."""

    period_s: Seconds = 1.0
    is_paced: bool = False
    """Each one only after `Seen` of the one before, so that none is queued on the way."""
    deltas: bool = False
    """Instead of SiteViews: a full picture in pieces, then changes since the last `Seen`; always
    paced. Earlier schedulers ignore it."""


class Unwatch(msgspec.Struct, frozen=True, tag_field="t", tag="unwatch"):
    ask: Serial[int]


class Seen(msgspec.Struct, frozen=True, tag_field="t", tag="seen"):
    """A paced watch has received its newest answer. Has no answer."""

    ask: Serial[int]


class WatchRoutes(msgspec.Struct, frozen=True, tag_field="t", tag="watch_routes"):
    """Gateway only: all routes at once, at every change, and every `ROUTES_REPEAT_S`."""
