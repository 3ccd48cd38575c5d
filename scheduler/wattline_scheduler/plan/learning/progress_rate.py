"""Expected end of a running attempt, from the progress that it reports.

A task that reports its completed fraction (`wattline.task.progress`) is tracked from its first
report: an attempt resumed from a checkpoint is extrapolated at its own rate. A pause does not
change the rate, it only delays the end by its length. The expected end should not change with every
beat, so it is updated only for relevant changes.
"""

from dataclasses import dataclass

METRIC = "progress"
"""Completed fraction of the work, from 0 to 1."""

TRUST_S = 600.0
"""A rate measured for less time may be that of a warm-up."""

TRUST_DONE = 0.005
"""Minimum completed fraction in that time: coarse steps give no reliable rate."""

NEWS = 0.1
"""Fraction of the remaining time by which an end must move to be updated."""


@dataclass(slots=True)
class Course:
    """Progress of one running attempt. Times are of the caller's clock, in seconds."""

    _began_s: float = 0.0
    _began_done: float = 0.0
    _done: float | None = None
    """The newest report; None: nothing yet."""
    end_s: float | None = None
    """Expected end without further pauses; None: unknown."""
    _stood_s: float | None = None
    """During a pause: the time up to which it is counted."""

    def stands(self, since_s: float, at_s: float) -> None:
        """Account for a pause since `since_s`: it delays the end."""
        self._later(at_s - (since_s if self._stood_s is None else self._stood_s))
        self._stood_s = at_s

    def _later(self, by_s: float) -> None:
        self._began_s += by_s
        if self.end_s is not None:
            self.end_s += by_s

    def heard(self, done: float, at_s: float) -> bool:
        """Process a reported fraction, from 0 to 1; True: `end_s` has changed.

        A falling fraction, as of a counter that restarts, is tracked from there.
        """
        has_stood = self._stood_s is not None
        if self._stood_s is not None:
            self._later(at_s - self._stood_s)
            self._stood_s = None
        is_news = self._follow(done, at_s)
        return is_news or (has_stood and self.end_s is not None)

    def _follow(self, done: float, at_s: float) -> bool:
        before, self._done = self._done, done
        if before is None or done < before:
            self._began_s, self._began_done = at_s, done
            return self._tell(None)
        if done == before:
            return False  # between two reports
        took_s, did = at_s - self._began_s, done - self._began_done
        if took_s < TRUST_S or did < TRUST_DONE:
            return False
        left_s = took_s * (1.0 - done) / did
        end_s = at_s + left_s
        is_news = self.end_s is None or abs(end_s - self.end_s) > NEWS * left_s
        return is_news and self._tell(end_s)

    def _tell(self, end_s: float | None) -> bool:
        before, self.end_s = self.end_s, end_s
        return end_s != before
