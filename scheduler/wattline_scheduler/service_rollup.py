"""The durable form of a service's load in a minute."""

from typing import ClassVar

import msgspec

from wattline_protocol.ids import UserName
from wattline_protocol.wire.rollouts import plus_times


class ServiceRollup(msgspec.Struct, frozen=True):
    """A minute of one service. Requests of priority `batch` are not counted."""

    key: ClassVar[tuple[str, ...]] = ("service", "owner", "start_unix_s")
    service: str
    owner: UserName
    """Of the job that served: another user's service of that name has a history of its own."""
    start_unix_s: int
    seconds: float = 0.0
    """Those in which all gateways reported: the load was known."""
    arrived: float = 0.0
    """Work that arrived in these."""
    requests: int = 0
    """All that arrived, at gateways that reported."""
    answered: int = 0
    failed: int = 0
    left: int = 0
    """Given up before the answer; `times` has how long they waited."""
    work: int = 0
    """Of the answered ones."""
    times: tuple[int, ...] = ()
    """Requests by the time to the answer, or to the first part of a stream, in `BUCKETS_S`."""

    def plus(self, other: "ServiceRollup") -> "ServiceRollup":
        """Of both parts of the same minute together."""
        return ServiceRollup(
            self.service,
            self.owner,
            self.start_unix_s,
            self.seconds + other.seconds,
            self.arrived + other.arrived,
            self.requests + other.requests,
            self.answered + other.answered,
            self.failed + other.failed,
            self.left + other.left,
            self.work + other.work,
            plus_times(self.times, other.times),
        )


class ServiceHour(msgspec.Struct, frozen=True):
    """An hour, of the minutes of which enough is known."""

    service: str
    owner: UserName
    hour: int
    """Since the epoch."""
    busiest: float
    """The highest mean of a minute, as work a second."""
    work: float
    """That arrived, in so many seconds."""
    seconds: float
