"""What moving watts inside a gang is worth where one GPU holds up the others. Simulated.

The same gang on the same uneven GPUs under the same feed, on the production cores, once with the
steps of its ranks reported and once without: `sim/wattline_sim/straggler`.
"""

from wattline_bench.verdict import Figures, judged, over, under
from wattline_sim.straggler.run import Side, side

LEAST_GAIN = 0.05
SAME_WATTS = 0.01
WITHIN_STEPS = 20


class StragglerGain(Figures, frozen=True):
    """One seed."""

    seed: int
    simulated: bool
    straggler: int
    """The rank on the GPU that needs far more watts."""
    event: str
    steps_to_event: int
    """From the first step in which it was a tenth slower than the median."""
    is_named_right: bool
    """That rank, and the power cap as the cause."""
    even_steps_per_s: float
    moved_steps_per_s: float
    even_gpu_w: float
    moved_gpu_w: float
    step_rate_gain: float
    watts_ratio: float
    seconds_over_feed: float

    def misses(self) -> tuple[str, ...]:
        """Named in time with the right cause; 5 % more steps for the same watts."""
        return (
            *under("gain of the step rate", self.step_rate_gain, LEAST_GAIN),
            *over("watts with shifts over those without", self.watts_ratio, 1.0 + SAME_WATTS),
            *over("steps until it is named", self.steps_to_event, WITHIN_STEPS),
            *over("seconds over the feed", self.seconds_over_feed, 0.0),
            *(() if self.is_named_right else (f"wrong straggler or cause: {self.event!r}",)),
        )


@judged
def measure(*, seeds: int, minutes: float) -> tuple[StragglerGain, ...]:
    """Of each seed."""
    return tuple(_gain(seed, minutes) for seed in range(1, seeds + 1))


def _gain(seed: int, minutes: float) -> StragglerGain:
    even, moved = (_side(seed, minutes, reports_steps=one) for one in (False, True))
    starts, ends = f"rank {moved.straggler} on ", "its power cap reduces the clocks"
    return StragglerGain(
        seed=seed,
        simulated=True,
        straggler=moved.straggler,
        event=moved.event,
        steps_to_event=moved.named_at_step - moved.slow_from_step,
        is_named_right=starts in moved.event and moved.event.endswith(ends),
        even_steps_per_s=round(even.steps_per_s, 4),
        moved_steps_per_s=round(moved.steps_per_s, 4),
        even_gpu_w=round(even.gpu_w),
        moved_gpu_w=round(moved.gpu_w),
        step_rate_gain=round(moved.steps_per_s / even.steps_per_s - 1.0, 4),
        watts_ratio=round(moved.gpu_w / even.gpu_w, 4),
        seconds_over_feed=moved.seconds_over_feed,
    )


def _side(seed: int, minutes: float, *, reports_steps: bool) -> Side:
    return side(seed, minutes, reports_steps=reports_steps, progress=lambda _: None)
