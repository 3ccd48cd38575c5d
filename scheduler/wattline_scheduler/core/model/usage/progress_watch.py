"""Run time of a gang since its programs last reported progress."""

from wattline_protocol.ids import TaskRef


class ProgressWatch:
    """Follows one try in its own run time: pauses and silent nodes do not count."""

    def __init__(self, refs: tuple[TaskRef, ...]) -> None:
        self.refs = refs
        """The attempts that it follows."""
        self.dumped_at_s: float | None = None
        """Run time at which their stacks were requested; None = it makes progress."""
        self.hang = ""
        """Why it was ended for a hang; empty = it was not."""
        self._marks, self._since_s = 0, 0.0

    @property
    def is_stalled(self) -> bool:
        """Its limit has passed."""
        return self.dumped_at_s is not None

    def stalled_s(self, marks: int, run_s: float) -> float:
        """Run time without progress. `marks`: reports of all its ranks so far; any other number is
        progress, since an agent that restarts counts from 0."""
        if marks != self._marks:
            self._marks, self._since_s, self.dumped_at_s = marks, run_s, None
        return max(0.0, run_s - self._since_s)
