"""The durable form of a notification, from the transaction that causes it to its delivery."""

from typing import ClassVar, Literal

import msgspec

from wattline_protocol.ids import JobId, UnixTime, UserName
from wattline_protocol.job.spec import NotifyOn
from wattline_protocol.views.site_views import JobState

Outcome = Literal["", "delivered", "given_up"]


class NotificationRecord(msgspec.Struct, frozen=True):
    """One message to the receiver that a job names."""

    key: ClassVar[tuple[str, ...]] = ("job", "number")
    job: JobId
    number: int
    """At least that of the next event when it was made: it grows from one to the next."""
    owner: UserName
    receiver: str
    on: NotifyOn = msgspec.field(name="occasion")
    name: str
    """Of the job."""
    state: JobState
    reason: str
    unix_s: UnixTime
    outcome: Outcome = ""
    """Empty = it is to be delivered."""
