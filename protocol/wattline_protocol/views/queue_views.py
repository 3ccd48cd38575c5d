"""Views of the queue's head."""

import msgspec

from wattline_protocol.ids import JobId, UnixTime

MAX_QUEUE_HEAD = 50
"""Jobs in a snapshot of the site."""


class QueuedView(msgspec.Struct, frozen=True):
    """A job near the head of the queue."""

    job: JobId
    starts_unix_s: UnixTime | None
    """When the planner has resources for it; None = none are reserved, or none can be foreseen."""
