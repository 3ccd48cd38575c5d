"""Domain meters: what they said last, judged against what the nodes can explain; pure."""

from dataclasses import dataclass

from wattline_protocol.ids import Instant


@dataclass(slots=True)
class MeterNow:
    """One domain's meter."""

    wall_mw: int | None = None
    """Newest value."""
    read_at: Instant | None = None
    """When it came."""
    error: str = ""
    """Why the newest reading has no value; empty = it has one."""

    def take(self, wall_mw: int | None, error: str, at: Instant) -> None:
        """A reading came in, with a value or with the reason why there is none."""
        self.error = error if wall_mw is None else ""
        if wall_mw is not None:
            self.wall_mw, self.read_at = wall_mw, at
