"""Revisions of a service: their shares of the requests and copies, and their traffic.

While a revision is on trial, its workers are no part of the service's pool: they get a share of the
requests as these arrive, or copies. What they fail at is sent to the pool.
"""

from bisect import bisect_left
from dataclasses import dataclass, field, replace

from wattline_protocol.wire.rollouts import (
    BUCKETS_S,
    NO_ENERGY,
    MeasuredEnergy,
    RouteSplit,
    tolerance_of,
)

WHOLE_PERMILLE = 1_000


@dataclass(slots=True)
class Traffic:
    """Requests of one revision, since the gateway knows it."""

    requests: int = 0
    errors: int = 0
    """Without the output that the pool gave, or could have given."""
    times: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    """Answers by time at the worker, in `BUCKETS_S`."""
    equal: int = 0
    different: int = 0
    uncompared: int = 0
    """The model did not compare the two outputs in time."""
    energy: MeasuredEnergy = NO_ENERGY

    def answered(self, took_s: float) -> None:
        """An output."""
        self.requests += 1
        self.times[bisect_left(BUCKETS_S, took_s)] += 1

    def failed(self, *, is_error: bool = True) -> None:
        """No output; `is_error`: though there could have been one."""
        self.requests += 1
        self.errors += is_error

    def copy(self) -> "Traffic":
        """The counts as they are now."""
        return replace(self, times=[*self.times])

    def since(self, before: "Traffic") -> "Traffic":
        """Counts since `before`."""
        return Traffic(
            self.requests - before.requests,
            self.errors - before.errors,
            [now - then for now, then in zip(self.times, before.times, strict=True)],
            self.equal - before.equal,
            self.different - before.different,
            self.uncompared - before.uncompared,
            self.energy.plus(before.energy, -1),
        )


@dataclass(slots=True)
class Share:
    """Selects a share of the requests, evenly spread; a turn that cannot be used is lost."""

    _credit: int = 0

    def is_next(self, permille: int) -> bool:
        """Whether this request belongs to the share."""
        self._credit += permille
        if self._credit < WHOLE_PERMILLE:
            return False
        self._credit -= WHOLE_PERMILLE
        return True


@dataclass(slots=True)
class Trial:
    """Of one service: the revision on trial, and how much it gets."""

    split: RouteSplit | None = None
    requests: Share = field(default_factory=Share)
    copies: Share = field(default_factory=Share)
    tolerance: float | None = 0.0
    """Relative difference of numbers that counts as none; None: the model compares."""

    def change(self, split: RouteSplit | None) -> None:
        """Another split is in force."""
        if split != self.split:
            self.split, self.requests, self.copies = split, Share(), Share()
            self.tolerance = 0.0
            if split is not None:
                self.tolerance = None if split.is_by_model else tolerance_of(split.compare)

    @property
    def revision(self) -> int:
        """The revision on trial; 0 = none."""
        return 0 if self.split is None else self.split.revision

    @property
    def is_guarded(self) -> bool:
        """Whether the pool answers what the revision on trial fails at."""
        return self.split is not None and self.split.is_guarded

    def takes_request(self) -> bool:
        """Whether the revision on trial gets the next request."""
        return self.split is not None and self.requests.is_next(self.split.share_permille)

    def takes_copy(self) -> bool:
        """Whether it gets a copy of it."""
        return self.split is not None and self.copies.is_next(self.split.shadow_permille)
