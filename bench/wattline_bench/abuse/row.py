"""One row of the table: an attack, what ended by it, and what others noticed of it."""

from wattline_bench.rig.quantiles import Quantiles, quantiles
from wattline_bench.verdict import Figures, over

SUBMIT_P99_MS_MAX = 250.0
STEP_MS_MAX = 500.0
STEP_CPU_MS_MAX = 250.0
HTTP_FACTOR_MAX = 2.0
HTTP_MS_ALLOWED = 20.0
"""So much is always allowed: twice next to nothing is next to nothing."""
CALM = "calm"
"""The row without an attack."""


class Row(Figures, frozen=True):
    """Of one attack; what was not measured is null."""

    what: str
    tried: int
    """Messages, requests or connections."""
    ended: int
    """Processes of scheduler, agent and gateway that exited or answered nothing for 10 s."""
    silent_nodes: int
    """Healthy nodes that the scheduler reported as silent."""
    others_submits: int
    others_submit_ms: Quantiles | None
    others_http_ms: Quantiles | None
    http_p99_ms_max: float | None
    """Derived from the calm row of the same run."""
    worst_step_ms: float | None
    worst_step_cpu_ms: float | None

    def misses(self) -> tuple[str, ...]:
        """Of every bound that was measured."""
        return (
            *over(f"{self.what}: programs ended", self.ended, 0),
            *over(f"{self.what}: healthy nodes reported silent", self.silent_nodes, 0),
            *_over(f"{self.what}: submit p99 ms", self.others_submit_ms, SUBMIT_P99_MS_MAX),
            *_over(f"{self.what}: HTTP p99 ms", self.others_http_ms, self.http_p99_ms_max),
            *over(f"{self.what}: worst step ms", self.worst_step_ms or 0.0, STEP_MS_MAX),
            *over(
                f"{self.what}: worst step, ms of CPU",
                self.worst_step_cpu_ms or 0.0,
                STEP_CPU_MS_MAX,
            ),
        )


def _over(name: str, value: Quantiles | None, limit: float | None) -> tuple[str, ...]:
    return () if value is None or limit is None else over(name, value.p99, limit)


def http_bound(calm: Row | None) -> float | None:
    """Most p99 in milliseconds beside an attack; None = it was not measured without one."""
    if calm is None or calm.others_http_ms is None:
        return None
    p99 = calm.others_http_ms.p99
    return round(max(HTTP_FACTOR_MAX * p99, HTTP_MS_ALLOWED), 2)


def in_ms(seconds: list[float]) -> Quantiles | None:
    """None = there are none."""
    return quantiles([round(1e3 * each_s, 2) for each_s in seconds]) if seconds else None
