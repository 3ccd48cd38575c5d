"""Duration of the loop's steps: count, time and maximum for each of the last seconds."""

from collections import deque
from dataclasses import dataclass

from wattline_protocol.ids import Instant
from wattline_protocol.views.load_views import MAX_LOAD_S, Load


@dataclass(slots=True)
class _Second:
    number: int
    steps: int = 0
    busy_s: float = 0.0
    worst_s: float = 0.0
    worst_cpu_s: float = 0.0


class StepTimes:
    """Steps by the second in which they ended; older ones than `MAX_LOAD_S` are dropped."""

    def __init__(self) -> None:
        self._seconds: deque[_Second] = deque(maxlen=MAX_LOAD_S)

    def add(self, ended: Instant, wall_s: float, cpu_s: float) -> None:
        """Record a step that has ended."""
        number = int(ended)
        if not self._seconds or self._seconds[-1].number != number:
            self._seconds.append(_Second(number))
        second = self._seconds[-1]
        second.steps += 1
        second.busy_s += wall_s
        second.worst_s = max(second.worst_s, wall_s)
        second.worst_cpu_s = max(second.worst_cpu_s, cpu_s)

    def load(self, now: Instant, last_s: int) -> Load:
        """Load of the last seconds, including the one in progress."""
        first = int(now) - last_s
        seconds = [each for each in self._seconds if each.number > first]
        return Load(
            last_s=last_s,
            steps=sum(each.steps for each in seconds),
            busy_share=sum(each.busy_s for each in seconds) / last_s,
            worst_step_s=max((each.worst_s for each in seconds), default=0.0),
            worst_step_cpu_s=max((each.worst_cpu_s for each in seconds), default=0.0),
        )
