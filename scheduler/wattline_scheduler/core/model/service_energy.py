"""Energy of services by minute, over the last hour, as gateways report it. Not on record."""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field

from wattline_protocol.ids import Instant, JobId, Now
from wattline_protocol.wire.rollouts import NO_ENERGY, MeasuredEnergy

MINUTE_S = 60.0
HOUR_S = 3_600.0

Minutes = deque[tuple[int, MeasuredEnergy]]


@dataclass(slots=True)
class ServiceEnergy:
    """Of all revisions that are open."""

    _minutes: dict[tuple[str, JobId], Minutes] = field(default_factory=dict)
    _began_at: dict[tuple[str, JobId], Instant] = field(default_factory=dict)

    def add(self, service: str, revision: JobId, energy: MeasuredEnergy, now: Now) -> None:
        """Counts a report."""
        minutes = self._minutes.setdefault((service, revision), deque())
        self._began_at.setdefault((service, revision), now.mono_s)
        minute = int(now.mono_s // MINUTE_S)
        if minutes and minutes[-1][0] == minute:
            _, before = minutes.pop()
            energy = before.plus(energy)
        minutes.append((minute, energy))
        _forget_old(minutes, now)

    def last_hour(
        self, service: str, revisions: Collection[JobId], now: Now
    ) -> tuple[MeasuredEnergy, float]:
        """The sum over revisions, and the seconds that it covers."""
        keys = [key for revision in revisions if (key := (service, revision)) in self._minutes]
        total = NO_ENERGY
        for key in keys:
            for minute, energy in self._minutes[key]:
                if not _is_old(minute, now):
                    total = total.plus(energy)
        began_at = min((self._began_at[key] for key in keys), default=now.mono_s)
        return total, min(HOUR_S, now.mono_s - began_at)

    def forget(self, key: tuple[str, JobId]) -> None:
        """A revision has ended."""
        del self._minutes[key], self._began_at[key]

    @property
    def known(self) -> list[tuple[str, JobId]]:
        """Services and revisions with any energy."""
        return list(self._minutes)


def _is_old(minute: int, now: Now) -> bool:
    return (minute + 1) * MINUTE_S <= now.mono_s - HOUR_S


def _forget_old(minutes: Minutes, now: Now) -> None:
    while _is_old(minutes[0][0], now):
        minutes.popleft()
