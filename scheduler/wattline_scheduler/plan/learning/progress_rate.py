"""When work will have ended, going by how far it says that it is.

A task that reports which part of its work is done (`wattline.task.progress`) is followed from where
that was first heard: a try that went on from a checkpoint is told by its own pace, which a pause
does not change: its end comes later by as long as it stood still. Who asks wants a
figure that does not change with every beat, so an end moves only by what would matter.
"""

from dataclasses import dataclass

METRIC = "progress"
"""The part of its work that is done, from 0 to 1."""

TRUST_S = 600.0
"""A pace seen for less may be that of a warm-up."""

TRUST_DONE = 0.005
"""The same of the part that was done in that time: what is told in coarse steps says little."""

NEWS = 0.1
"""Of what is left: an end that moves by less is not told anew."""


@dataclass(slots=True)
class Course:
    """Of one try while it runs. Times are of the caller's clock, in seconds."""

    _began_s: float = 0.0
    _began_done: float = 0.0
    _done: float | None = None
    """The newest that was heard; None: nothing yet."""
    end_s: float | None = None
    """When it will have done all, if it does not stand still from now on; None: not known."""
    _stood_s: float | None = None
    """While it stands still: up to when that was counted."""

    def stands(self, since_s: float, at_s: float) -> None:
        """It does not run, since then: all that is left comes later."""
        self._later(at_s - (since_s if self._stood_s is None else self._stood_s))
        self._stood_s = at_s

    def _later(self, by_s: float) -> None:
        self._began_s += by_s
        if self.end_s is not None:
            self.end_s += by_s

    def heard(self, done: float, at_s: float) -> bool:
        """It says that this part is done, from 0 to 1; True: `end_s` is another than before.

        One that falls back, as a counter does that starts anew, is followed from there.
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
            return False  # it is somewhere between two reports
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
