"""A job of a trace while it is in the queue or on GPUs."""

from dataclasses import dataclass

from wattline_lab.replay.jobs.trace import TraceJob


@dataclass(slots=True, eq=False)
class Run:
    """What has become of a job so far. Only rules that know the future may look at `left_s`."""

    job: TraceJob
    left_steps: float
    held_s: float = 0.0
    """On GPUs so far, overheads included: its attained service, over GPUs."""
    is_running: bool = False
    end_s: float = 0.0
    """Predicted while it runs; when it ended, afterwards."""
    level: int = 0
    """Queue of a rule that has several."""

    @property
    def left_s(self) -> float:
        """Without overheads."""
        return self.left_steps * self.job.step_s

    @property
    def done(self) -> float:
        """Which part of its work is done, from 0 to 1: what it could say itself."""
        return min(1.0, max(0.0, 1.0 - self.left_steps / self.job.steps))

    @property
    def jct_s(self) -> float:
        """From submission to its end."""
        return self.end_s - self.job.submit_s

    @property
    def waited_s(self) -> float:
        """In the queue, all times together."""
        return self.jct_s - self.held_s
