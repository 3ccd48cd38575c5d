"""Rate limit of events per cause and minute; surplus events are counted and summarized."""

from dataclasses import dataclass, field

from wattline_protocol.ids import Instant, Now

WINDOW_S = 60.0


@dataclass(slots=True)
class _Window:
    """The current minute of one cause."""

    since: Instant
    count: int = 0
    last: str = ""
    """The newest event that was not written."""


@dataclass(frozen=True, slots=True)
class Surplus:
    """Events of one cause beyond its limit in a past minute."""

    cause: str
    count: int
    last: str


@dataclass(slots=True)
class EventBound:
    """Counts events by cause. Causes are members and nodes, of which a site has few."""

    limit: int
    _windows: dict[str, _Window] = field(default_factory=dict)
    """By cause, in the order of their beginnings."""

    def may_write(self, cause: str) -> bool:
        """Whether an event of the cause would be written."""
        window = self._windows.get(cause)
        return window is None or window.count < self.limit

    def admit(self, cause: str, text: str, now: Now) -> bool:
        """Counts an event; returns whether to write it."""
        window = self._windows.setdefault(cause, _Window(now.mono_s))
        window.count += 1
        if window.count <= self.limit:
            return True
        window.last = text
        return False

    def take_over(self, now: Now) -> list[Surplus]:
        """Removes past minutes; returns those with surplus events."""
        over = []
        for cause, window in list(self._windows.items()):
            if now.mono_s - window.since < WINDOW_S:
                break
            del self._windows[cause]
            if window.count > self.limit:
                over.append(Surplus(cause, window.count - self.limit, window.last))
        return over
