"""Time in the demo: one deadline for everything, and an early end on request."""

import threading
import time
from collections.abc import Callable

DEADLINE_S = 170.0
"""The demo promises to end within three minutes; what is not done by then is reported missing."""


class StepFailed(Exception):
    """A step of the demo failed; the text names it and the reason."""


class Pace:
    """Beginning, deadline and progress messages of the demo."""

    def __init__(self, show: Callable[[float, str], None], deadline_s: float = DEADLINE_S) -> None:
        self._show, self._deadline_s = show, deadline_s
        self._began_s = time.monotonic()
        self._unix_offset_s = time.time() - time.monotonic()
        self._left = threading.Event()

    @property
    def elapsed_s(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._began_s

    def mono_s(self, unix_s: float) -> float:
        """The monotonic time of an event's time stamp; all programs share this host's clocks."""
        return unix_s - self._unix_offset_s

    def leave(self) -> None:
        """End as soon as possible: the user quit."""
        self._left.set()

    def is_over(self) -> bool:
        """No step may begin or continue."""
        return self._left.is_set() or self.elapsed_s >= self._deadline_s

    def why(self) -> str:
        """Why it is over."""
        return "you left" if self._left.is_set() else f"{self._deadline_s:g} s were over"

    def say(self, text: str) -> None:
        """Print what happens now."""
        self._show(self.elapsed_s, text)

    def rest(self, seconds: float) -> None:
        """Sleep for `seconds`, or less when it is over before."""
        left_s = max(0.0, self._deadline_s - self.elapsed_s)
        self._left.wait(min(seconds, left_s))
