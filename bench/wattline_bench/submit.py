"""How many submissions a second the scheduler accepts, each on disk before it is answered.

Budgets (DESIGN 10): ≥ 300 /s one by one, ≥ 2,000 /s in arrays or batches. A real scheduler process
and one client over CURVE; no agents, so that only acceptance is measured. "One by one" waits for
each answer; "batches" keeps 64 under way; "arrays" counts the tasks of arrays of 100.
"""

from wattline_bench.rig.plain import PlainClient
from wattline_bench.rig.site import live_site, rack_site
from wattline_bench.verdict import Figures, judged, under
from wattline_protocol.job.spec import ArraySpec, JobSpec, Recovery, Resources

ONE_BY_ONE_PER_S_MIN = 300.0
BATCHED_PER_S_MIN = 2_000.0
UNDER_WAY = 64


class Accepted(Figures, frozen=True):
    """Submissions that are on disk and answered, a second."""

    one_by_one_per_s: float
    batched_per_s: float
    array_tasks_per_s: float

    def misses(self) -> tuple[str, ...]:
        """Arrays or batches: whichever is better."""
        batched = max(self.batched_per_s, self.array_tasks_per_s)
        return (
            *under("submissions/s one by one", self.one_by_one_per_s, ONE_BY_ONE_PER_S_MIN),
            *under("submissions/s in batches", batched, BATCHED_PER_S_MIN),
        )


def _job(tasks: int) -> JobSpec:
    return JobSpec(
        name="work",
        command=("true",),
        resources=Resources(gpus_per_node=1),
        recovery=Recovery(grace_s=5.0),
        array=ArraySpec(tuple(range(tasks)), 0) if tasks > 1 else None,
    )


@judged
def measure() -> Figures:
    """All figures against one fresh scheduler."""
    with live_site(rack_site(4)) as live:
        client = PlainClient(live.operator)
        try:
            return Accepted(
                500 / client.submit_all(_job(1), 500, 1),
                3_000 / client.submit_all(_job(1), 3_000, UNDER_WAY),
                10_000 / client.submit_all(_job(100), 100, 1),
            )
        finally:
            client.close()
