"""Minutes of services for the store, as they end."""

from wattline_protocol.ids import Now
from wattline_scheduler.core.model.state import State
from wattline_scheduler.power.scaling.service_minutes import MINUTE_S
from wattline_scheduler.service_rollup import ServiceRollup


class ServiceRollups:
    """What is not saved yet. Read once a second, taken at the end of a run."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._upto_s = 0
        """Minutes that began before it are saved."""

    def read(self, now: Now) -> tuple[ServiceRollup, ...]:
        """The minutes that have ended since the last one did."""
        minute = int(now.unix_s) // MINUTE_S * MINUTE_S
        if minute == self._upto_s:
            return ()
        since_s, self._upto_s = min(self._upto_s or minute - MINUTE_S, minute - MINUTE_S), minute
        return tuple(one for one in self._since(since_s) if one.start_unix_s < minute)

    def take(self) -> tuple[ServiceRollup, ...]:
        """Those, and the minute in progress."""
        return self._since(self._upto_s)

    def _since(self, unix_s: int) -> tuple[ServiceRollup, ...]:
        every = self._state.service_minutes.values()
        return tuple(minute for one in every for minute in one.since(unix_s))
