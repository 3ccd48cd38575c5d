"""At most so many log lines of one cause in a minute; what is more is counted and summed up."""

from dataclasses import dataclass, field

from wattline_protocol.ids import Instant, Now

WINDOW_S = 60.0


@dataclass(slots=True)
class _Window:
    """A minute of one cause."""

    since: Instant
    count: int = 0
    last: str = ""
    """The newest line that was not written."""


@dataclass(frozen=True, slots=True)
class Surplus:
    """What one cause had to say beyond its bound in a minute that is over."""

    cause: str
    count: int
    last: str


@dataclass(slots=True)
class EventBound:
    """Counts lines by cause. The causes are members and nodes, of which a site has few."""

    limit: int
    _windows: dict[str, _Window] = field(default_factory=dict)
    """By cause, in the order of their beginnings."""

    def has_room(self, cause: str) -> bool:
        """Whether a line of it would be written."""
        window = self._windows.get(cause)
        return window is None or window.count < self.limit

    def admit(self, cause: str, text: str, now: Now) -> bool:
        """Count a line. Whether it is to be written."""
        window = self._windows.setdefault(cause, _Window(now.mono_s))
        window.count += 1
        if window.count <= self.limit:
            return True
        window.last = text
        return False

    def take_over(self, now: Now) -> list[Surplus]:
        """Of the minutes that are over, those with more than was written."""
        over = []
        for cause, window in list(self._windows.items()):
            if now.mono_s - window.since < WINDOW_S:
                break
            del self._windows[cause]
            if window.count > self.limit:
                over.append(Surplus(cause, window.count - self.limit, window.last))
        return over
