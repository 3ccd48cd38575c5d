"""Run a seed: hurt a site for a while, heal it, and see that everything ends and nothing broke."""

from dataclasses import dataclass

from wattline_protocol.views import ENDED_STATES
from wattline_scheduler.core.records import JobRecord
from wattline_sim.fleet.faults import Faults
from wattline_sim.fleet.scenario import random_jobs
from wattline_sim.fleet.site import FleetSite

FAULTY_S = 60.0
SETTLE_S = 600.0
"""All jobs of a run take less than this once nothing is broken."""
MAX_STEPS = 2_000_000


class NotSettled(AssertionError):
    """After the faults were healed something did not end or did not come back into its budget."""


class SeedFailed(AssertionError):
    """A run broke a rule: says which seed replays it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run saw."""

    seed: int
    virtual_s: float
    jobs: int
    attempts: int
    faults: int
    messages: int
    lost: int
    checks: int


def run_seed(seed: int, *, jobs: int = 8, faulty_s: float = FAULTY_S) -> Outcome:
    """One whole run. Raises SeedFailed with the story of what broke."""
    site = FleetSite(seed)
    faults = Faults(site)
    try:
        return _run(site, faults, seed, jobs, faulty_s)
    except Exception as error:
        story = "\n  ".join(faults.happened[-25:])
        raise SeedFailed(
            f"seed {seed} at {site.world.now_s:.3f} s: {type(error).__name__}: {error}\n"
            f"faults until then:\n  {story}\nreplay: wattline sim seeds --seed {seed}"
        ) from error


def _run(site: FleetSite, faults: Faults, seed: int, jobs: int, faulty_s: float) -> Outcome:
    specs = random_jobs(site.world.rng, jobs)
    for spec in specs:
        at_s = site.world.rng.uniform(0.0, faulty_s)
        site.world.after(at_s, lambda spec=spec: site.submit(spec))  # type: ignore[misc]
    site.start()
    faults.begin()
    _until(site, faulty_s)
    faults.heal()
    site.is_faulty = False
    healed_s = site.world.now_s
    while site.world.now_s < healed_s + SETTLE_S and _unsettled(site, len(specs)):
        _until(site, site.world.now_s + 5.0)
    why = _unsettled(site, len(specs))
    if why:
        raise NotSettled(why)
    site.truth.check_starts()
    return Outcome(
        seed=seed,
        virtual_s=site.world.now_s,
        jobs=len(site.accepted),
        attempts=sum(len(m.starts) for m in site.machines.values()),
        faults=len(faults.happened),
        messages=site.network.sent,
        lost=site.network.lost,
        checks=site.truth.checks,
    )


def _until(site: FleetSite, time_s: float) -> None:
    for _ in range(MAX_STEPS):
        if site.world.now_s >= time_s or not site.world.step():
            return
    raise NotSettled(f"more than {MAX_STEPS} steps before {time_s} s")


def _records(site: FleetSite) -> dict[int, JobRecord]:
    every = site.scheduler.disk.records.values()
    return {r.id: r for r in every if isinstance(r, JobRecord)}


def _unsettled(site: FleetSite, count: int) -> str:
    """What is not as it should be once nothing is broken any more; empty = all well."""
    if len(site.accepted) + len(site.refused) < count:
        return f"{count} jobs submitted, {len(site.accepted)} accepted, the rest unanswered"
    records = _records(site)
    lost = sorted(job for job in site.accepted if job not in records)
    if lost:
        return f"accepted jobs {lost} are not on record"
    waiting = [r for r in records.values() if r.state not in ENDED_STATES]
    if waiting:
        tell = ", ".join(f"{r.id} ({r.spec.name}) {r.state}: {r.reason}" for r in waiting)
        return f"jobs that did not end: {tell}"
    cluster = site.scheduler.cluster
    if cluster is None:
        return "the scheduler did not come back"
    books = cluster.state.books
    over = [d for d in cluster.state.domains.by_id if books.headroom_mw(d) < 0]
    return f"still over their budgets: {', '.join(over)}" if over else ""


__all__ = ["Outcome", "SeedFailed", "run_seed"]
