"""What a run is judged by, from the plant's truth and from how jobs fared; never from estimates."""

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from wattline_protocol.job.spec import PRIORITIES
from wattline_sim.facility.works import FloatArray, JobWindow

PRIORITY_NAMES = {value: name for name, value in PRIORITIES.items()}


@dataclass(slots=True)
class Score:
    """Sums over the measured part of a run."""

    budget_w: FloatArray
    """Per power domain, in force now."""
    step_s: float
    is_measuring: bool = False
    gpu_hours: float = 0.0
    """Sum of performance x GPU-hours."""
    seconds: float = 0.0
    seconds_over: float = 0.0
    seconds_over_lowered: float = 0.0
    """Of it: just after a budget was lowered."""
    max_overshoot: float = 0.0
    wanting_s: float = 0.0
    """Seconds in which work waited or was capped."""
    unused: float = 0.0
    """Share of the top budget not drawn, summed over those seconds."""
    max_temp_c: float = 0.0
    max_inlet_c: float = 0.0
    windows: dict[int, list[float]] = field(default_factory=dict)
    enforced_s: list[float] = field(default_factory=list)
    _recent: deque[FloatArray] = field(default_factory=deque)
    _sum: FloatArray | None = None

    def draw(self, domain_w: FloatArray, *, is_lowering: bool) -> FloatArray:
        """One step's true draw per domain; returns the 1 s average."""
        self._sum = domain_w.copy() if self._sum is None else self._sum + domain_w
        self._recent.append(domain_w.copy())
        if len(self._recent) > round(1.0 / self.step_s):
            self._sum -= self._recent.popleft()
        average = self._sum / len(self._recent)
        over = float(np.max(average / self.budget_w)) - 1.0
        if is_lowering:
            self.seconds_over_lowered += self.step_s if over > 0.0 else 0.0
            return average
        if over > 0.0:
            self.seconds_over += self.step_s
        self.max_overshoot = max(self.max_overshoot, over)
        return average

    def heat(self, gpu_c: float, inlet_c: float) -> None:
        """Once a second: the hottest GPU and the warmest inlet."""
        self.max_temp_c = max(self.max_temp_c, gpu_c)
        self.max_inlet_c = max(self.max_inlet_c, inlet_c)

    def second(self, top_w: float, top_budget_w: float, *, is_wanting: bool) -> None:
        """Once a second."""
        if not self.is_measuring:
            return
        self.seconds += 1.0
        if is_wanting:
            self.wanting_s += 1.0
            self.unused += max(0.0, 1.0 - top_w / top_budget_w)

    def work(self, gpu_seconds: float) -> None:
        """GPU-seconds done at uncapped speed."""
        if self.is_measuring:
            self.gpu_hours += gpu_seconds / 3600.0

    def close_window(self, windows: list[JobWindow]) -> None:
        """How each job did in the last window."""
        if self.is_measuring:
            for window in windows:
                self.windows.setdefault(window.priority, []).append(window.slowdown)

    @property
    def stranded_pct(self) -> float:
        """Mean share of the top budget that was not drawn while work wanted it."""
        return 100.0 * self.unused / self.wanting_s if self.wanting_s else 0.0

    def slowdown(self) -> dict[str, dict[str, float]]:
        """Quantiles over job-windows, by priority."""
        return {
            PRIORITY_NAMES.get(priority, str(priority)): quantiles(values)
            for priority, values in sorted(self.windows.items())
        }


def quantiles(values: list[float]) -> dict[str, float]:
    """p50 and p99; empty = no values."""
    if not values:
        return {}
    p50, p99 = np.quantile(np.array(values), [0.5, 0.99])
    return {"p50": round(float(p50), 4), "p99": round(float(p99), 4)}
