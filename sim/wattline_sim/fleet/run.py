"""Run a seed: hurt a site for a while, heal it, and see that everything ends and nothing broke."""

import random

import msgspec

from wattline_protocol.views.site_views import ENDED_STATES
from wattline_scheduler.records import JobRecord
from wattline_sim.fleet.faults.schedule import Faults
from wattline_sim.fleet.site import FleetSite
from wattline_sim.fleet.story import Moment
from wattline_sim.fleet.users.scenario import random_jobs

FAULTY_S = 60.0
SETTLE_S = 600.0
"""All jobs of a run take less than this once nothing is broken."""
MAX_STEPS = 2_000_000
FAULTS_TOLD = 25
RECENT = 0.7
"""So many of the agents know LeaseTask."""


class Violation(msgspec.Struct, frozen=True):
    """What broke in a run, and how to see it again."""

    seed: int
    at_s: float
    """Virtual seconds since the start."""
    rule: str
    """Name of the check that failed, or of the exception that a core raised."""
    text: str
    replay: str
    faults: tuple[Moment, ...] = ()
    """The last ones before it."""
    stuck_jobs: int = 0
    """Accepted jobs that had not ended long after everything was healed."""


class NotSettled(AssertionError):
    """After the faults were healed something did not end or did not come back into its budget."""

    def __init__(self, why: str, stuck_jobs: int = 0) -> None:
        super().__init__(why)
        self.stuck_jobs = stuck_jobs


class SeedFailed(AssertionError):
    """A run broke a rule: says which seed replays it."""

    def __init__(self, violation: Violation) -> None:
        v = violation
        story = "\n  ".join(f"{m.at_s:.1f} {m.text}" for m in v.faults)
        super().__init__(
            f"seed {v.seed} at {v.at_s:.3f} s: {v.rule}: {v.text}\n"
            f"faults until then:\n  {story}\nreplay: {v.replay}"
        )
        self.violation = violation


class Outcome(msgspec.Struct, frozen=True):
    """What a run saw."""

    seed: int
    virtual_s: float
    steps: int
    jobs: int
    attempts: int
    faults: dict[str, int]
    """Kind to count."""
    messages: int
    lost: int
    checks: int
    """How often the truth was compared with the books on disk."""
    violation: Violation | None = None


class Run:
    """One run; after `finish` its site can be looked at."""

    def __init__(self, seed: int, *, jobs: int = 8, faulty_s: float = FAULTY_S) -> None:
        self.seed, self.faulty_s = seed, faulty_s
        self.site = FleetSite(seed)
        self.faults = Faults(self.site)
        elastic, saves = random.Random(f"{seed} elastic"), random.Random(f"{seed} saves")
        self._specs = random_jobs(self.site.world.rng, jobs, elastic, saves)
        for machine in self.site.machines.values():
            machine.takes_recovery = saves.random() < RECENT

    def finish(self) -> Outcome:
        """Everything, to the end or to the first broken rule."""
        try:
            self._go()
        except Exception as error:
            return self._outcome(self._violation(error))
        return self._outcome(None)

    def _go(self) -> None:
        site = self.site
        for spec in self._specs:
            at_s = site.world.rng.uniform(0.0, self.faulty_s)
            site.world.after(at_s, lambda spec=spec: site.submit(spec))  # type: ignore[misc] # mypy cannot type a lambda's default
        site.start()
        self.faults.begin()
        _until(site, self.faulty_s)
        self.faults.heal()
        site.is_faulty = False
        count, healed_s = len(self._specs), site.world.now_s
        while site.world.now_s < healed_s + SETTLE_S and _unsettled(site, count) is not None:
            site.readmit_quarantined()
            _until(site, site.world.now_s + 5.0)
        why = _unsettled(site, count)
        if why is not None:
            raise why

    def _violation(self, error: Exception) -> Violation:
        return Violation(
            seed=self.seed,
            at_s=self.site.world.now_s,
            rule=type(error).__name__,
            text=str(error),
            replay=f"wattline sim seeds --seed {self.seed}",
            faults=tuple(self.site.story.newest_faults(FAULTS_TOLD)),
            stuck_jobs=error.stuck_jobs if isinstance(error, NotSettled) else 0,
        )

    def _outcome(self, violation: Violation | None) -> Outcome:
        site = self.site
        return Outcome(
            seed=self.seed,
            virtual_s=site.world.now_s,
            steps=site.world.steps,
            jobs=len(site.accepted),
            attempts=sum(m.starts for m in site.machines.values()),
            faults=dict(sorted(site.story.faults.items())),
            messages=site.network.sent,
            lost=site.network.lost,
            checks=site.truth.checks,
            violation=violation,
        )


def run_seed(seed: int, *, jobs: int = 8, faulty_s: float = FAULTY_S) -> Outcome:
    """One whole run. Raises SeedFailed with the story of what broke."""
    outcome = Run(seed, jobs=jobs, faulty_s=faulty_s).finish()
    if outcome.violation is not None:
        raise SeedFailed(outcome.violation)
    return outcome


def _until(site: FleetSite, time_s: float) -> None:
    for _ in range(MAX_STEPS):
        if site.world.now_s >= time_s or not site.world.step():
            return
    raise NotSettled(f"more than {MAX_STEPS} steps before {time_s} s")


def _unsettled(site: FleetSite, count: int) -> NotSettled | None:
    """What is not as it should be once nothing is broken any more; None = all well."""
    if not site.foreign.is_over:
        return NotSettled("people still use GPUs beside Wattline")
    if len(site.answered) < count:
        return NotSettled(f"{count} jobs submitted, {len(site.answered)} answered")
    records = {r.id: r for r in site.scheduler.disk.every(JobRecord)}
    lost = sorted(job for job in site.accepted if job not in records and job not in site.lost)
    if lost:
        return NotSettled(f"accepted jobs {lost} are not on record")
    waiting = [r for r in records.values() if r.state not in ENDED_STATES]
    if waiting:
        tell = ", ".join(f"{r.id} ({r.spec.name}) {r.state}: {r.reason}" for r in waiting)
        return NotSettled(f"jobs that did not end: {tell}", len(waiting))
    if site.lying.now:
        return NotSettled(f"agents that still lie: {', '.join(sorted(site.lying.now))}")
    cluster = site.scheduler.cluster
    if cluster is None:
        return NotSettled("the scheduler did not come back")
    books = cluster.state.books
    over = [d for d in cluster.state.domains.by_id if books.headroom_mw(d) < 0]
    return NotSettled(f"still over their budgets: {', '.join(over)}") if over else None
