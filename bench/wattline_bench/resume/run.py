"""Trains twice, through and with interruptions at random moments, and compares the weights."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import msgspec
import torch

from wattline import task
from wattline.demo.processes import adopt_orphans
from wattline.failures import ActFailed
from wattline_bench.resume.ground import (
    ENDED,
    INTERVAL_STEPS,
    RUN_PATIENCE_S,
    Ground,
    Work,
    works,
)
from wattline_bench.resume.timeline import (
    KINDS,
    PLANNED,
    Attempt,
    Cost,
    Interruption,
    cost_of,
    double_runs,
    median,
)
from wattline_bench.verdict import Figures, judged, over

OURS_MAX_S = 2.0
"""After SIGKILL of a rank, at the median."""
MOVED_MAX_S = 45.0
"""After the loss of a host, always: `FENCE_AFTER_S` and what follows."""


class Lost(msgspec.Struct, frozen=True):
    """Steps that were done twice."""

    planned_max: int
    unplanned_max: int
    interval_steps: int


class KindTimes(msgspec.Struct, frozen=True):
    """Times after one kind of interruption. "ours" has no imports; None: it has no new attempt."""

    p50: float
    max: float
    ours_p50: float | None = None
    ours_max: float | None = None
    stop_p50: float | None = None
    """Parts of ours: until the old attempt has ended,"""
    start_p50: float | None = None
    """to the last command started,"""
    rendezvous_p50: float | None = None
    """and until all ranks have met."""
    elsewhere: bool | None = None
    """Whether all resumed without the host that was lost; None: none was."""


class Times(msgspec.Struct, frozen=True):
    """From an interruption to the next useful step."""

    p50: float
    max: float
    by: dict[str, KindTimes]


class Resume(Figures, frozen=True):
    """All interruptions of all workloads."""

    kills: int
    by: dict[str, int]
    equal_weights: bool
    lost_steps: Lost
    to_next_step_s: Times
    double_runs: int
    workloads: tuple[str, ...]
    ok: bool
    """Equal weights, planned ones lost nothing, others at most one interval, no double run."""

    def misses(self) -> tuple[str, ...]:
        """Over all workloads."""
        killed, moved = (self.to_next_step_s.by.get(kind) for kind in ("sigkill_rank", "node"))
        return (
            *(() if self.equal_weights else ("the weights differ",)),
            *over("steps lost to planned interruptions", self.lost_steps.planned_max, 0),
            *over("steps lost to others", self.lost_steps.unplanned_max, INTERVAL_STEPS),
            *over("double runs", self.double_runs, 0),
            *over("ours after SIGKILL of a rank, s", (killed and killed.ours_p50) or 0, OURS_MAX_S),
            *over("ours after the loss of a host, s", (moved and moved.ours_max) or 0, MOVED_MAX_S),
            *(("it resumed on the lost host",) if moved and not moved.elsewhere else ()),
        )


@judged
def measure(*, kills: int, seed: int, only: Sequence[str]) -> Resume:
    """`kills` interruptions of each workload. Raises ActFailed for a workload that is none."""
    if kills < 1:
        raise ActFailed(f"--kills is {kills}; it must be at least 1")
    known = {work.name: work for work in works()}
    if unknown := [name for name in only if name not in known]:
        raise ActFailed(f"no workload {unknown[0]!r}; workloads: {', '.join(known)}")
    adopt_orphans()
    chosen = [work for name, work in known.items() if name in only or not only]
    with TemporaryDirectory(prefix="wattline-bench-") as folder:
        ground = Ground(Path(folder), Random(seed))
        try:
            ground.start_nodes()
            found = [_workload(ground, work, kills, Random(seed)) for work in chosen]
        finally:
            ground.close()
    costs = [cost for costs, _, _ in found for cost in costs]
    return figures(
        costs,
        is_equal=all(is_equal for _, _, is_equal in found),
        doubles=sum(doubles for _, doubles, _ in found),
        workloads=tuple(work.name for work in chosen),
    )


def figures(
    costs: Sequence[Cost], *, is_equal: bool, doubles: int, workloads: tuple[str, ...]
) -> Resume:
    """Summary of all interruptions."""
    planned = max((one.lost_steps for one in costs if one.kind in PLANNED), default=0)
    unplanned = max((one.lost_steps for one in costs if one.kind not in PLANNED), default=0)
    times = [one.to_next_step_s for one in costs]
    return Resume(
        kills=len(costs),
        by=dict(Counter(one.kind for one in costs)),
        equal_weights=is_equal,
        lost_steps=Lost(planned, unplanned, INTERVAL_STEPS),
        to_next_step_s=Times(_s(median(times)), _s(max(times)), _by_kind(costs)),
        double_runs=doubles,
        workloads=workloads,
        ok=is_equal and not planned and unplanned <= INTERVAL_STEPS and not doubles,
    )


def _by_kind(costs: Sequence[Cost]) -> dict[str, KindTimes]:
    kinds = [kind for kind in KINDS if any(one.kind == kind for one in costs)]
    return {kind: _times([one for one in costs if one.kind == kind]) for kind in kinds}


def _times(costs: Sequence[Cost]) -> KindTimes:
    """Of one kind."""
    times, ours = [one.to_next_step_s for one in costs], [one.ours for one in costs if one.ours]
    whole = KindTimes(_s(median(times)), _s(max(times)))
    if not ours:
        return whole
    return msgspec.structs.replace(
        whole,
        ours_p50=_s(median([one.whole_s for one in ours])),
        ours_max=_s(max(one.whole_s for one in ours)),
        stop_p50=_s(median([one.stop_s for one in ours])),
        start_p50=_s(median([one.start_s for one in ours])),
        rendezvous_p50=_s(median([one.rendezvous_s for one in ours])),
        elsewhere=all(one.is_elsewhere for one in costs) if costs[0].kind == "node" else None,
    )


def _s(value: float) -> float:
    return round(value, 2)


def _workload(
    ground: Ground, work: Work, kills: int, random: Random
) -> tuple[list[Cost], int, bool]:
    """Costs of its interruptions, double runs, and whether the weights are the undisturbed ones."""
    through = ground.submit(work, kills)
    _until_completed(ground, through)
    job = ground.submit(work, kills)
    kinds = [KINDS[at % len(KINDS)] for at in range(kills)]
    random.shuffle(kinds)
    made = [_interrupt(ground, work, kind, job, random) for kind in kinds]
    _until_completed(ground, job)
    attempts: list[Attempt] = ground.attempts(job)
    costs = [cost_of(one, attempts) for one in made]
    return costs, double_runs(attempts), _weights(ground, through) == _weights(ground, job)


def _interrupt(ground: Ground, work: Work, kind: str, job: int, random: Random) -> Interruption:
    """After a random number of steps, and at a random moment of the next one."""
    _, done = ground.newest(job)
    target = done + random.randint(1, work.steps_per_kill // 4)
    ground.wait(lambda: ground.newest(job)[1] >= target, f"step {target}", job)
    time.sleep(random.uniform(0.0, 0.3))
    before = ground.newest(job)
    made = ground.interrupt(kind, job)
    if kind == "shed":
        ground.wait(lambda: ground.newest(job)[1] > before[1], "a step after the shed", job)
    else:
        ground.wait(
            lambda: ground.newest(job)[0] > before[0] and ground.newest(job)[1] > before[1] + 1,
            f"a new step after {kind}",
            job,
        )
    ground.repair()
    return made


def _until_completed(ground: Ground, job: int) -> None:
    ground.wait(
        lambda: ground.client.job(job).state in ENDED,
        f"job {job} is done",
        patience_s=RUN_PATIENCE_S,
    )
    seen = ground.client.job(job)
    if seen.state != "COMPLETED":
        raise RuntimeError(f"{seen.name} is {seen.state}: {seen.reason}")


def _weights(ground: Ground, job: int) -> dict[str, bytes]:
    """Step and all parameters of its newest checkpoint, bit for bit."""
    found = task.latest(ground.folder / "checkpoints" / str(job))
    if found is None:
        raise RuntimeError(f"job {job} has no checkpoint")
    state = torch.load(found.path, map_location="cpu", weights_only=True)
    parts = {name: value.numpy().tobytes() for name, value in state["net"].items()}
    return {"step": str(found.step).encode(), **parts}
