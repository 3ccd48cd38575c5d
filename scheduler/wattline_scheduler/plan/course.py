"""When work will have ended, going by how far it says that it is.

A task that reports which part of its work is done (`wattline.task.progress`) is followed from where
that was first heard: a try that went on from a checkpoint is told by its own pace. Who asks wants a
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
    """When it will have done all; None: not known."""

    def heard(self, done: float, at_s: float) -> bool:
        """It says that this part is done, from 0 to 1; True: `end_s` is another than before.

        One that falls back, as a counter does that starts anew, is followed from there.
        """
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
