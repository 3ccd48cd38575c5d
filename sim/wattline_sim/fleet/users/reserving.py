"""Operators reserve nodes at any time, some jobs are sent into what they keep, and truth watches.

Half of all sites have it. Its dice are its own, so that a site without it runs exactly as it would
if there was none.
"""

import random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from wattline_protocol.ids import JobId, NodeId
from wattline_protocol.job.selection import only
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.wire.client_messages import Request, Update
from wattline_protocol.wire.reservations import Reserve, Unreserve
from wattline_scheduler.records import AttemptRecord, JobRecord, Record, ReservationRecord
from wattline_sim.fleet.disk import Key, key_of
from wattline_sim.fleet.world import World

SITES_SHARE = 0.5
MEAN_S = 10.0
LONGEST_S = 40.0
CLIENT = "ops"
"""Whose jobs they are, and for whom what is no maintenance is kept."""

Order = Callable[[Request], None]


class StartedOutside(AssertionError):
    """A task was placed on a node that is reserved for others, or beside what its job names."""


class Reserving:
    """What operators of one site do about reservations."""

    def __init__(self, world: World, nodes: Sequence[NodeId], dice: random.Random) -> None:
        self._world, self._nodes, self._dice = world, nodes, dice
        self._is_wanted = dice.random() < SITES_SHARE
        self._made: list[str] = []

    def begin(
        self, order: Order, jobs: Callable[[], Mapping[JobId, JobSpec]], is_over: Callable[[], bool]
    ) -> None:
        """Until it is over, make one now and then; each ends by itself, some are taken back."""
        if not self._is_wanted:
            return

        def again() -> None:
            if is_over():
                return
            self._make(order, sorted(jobs()))
            self._world.after(self._dice.expovariate(1.0 / MEAN_S), again)

        self._world.after(self._dice.expovariate(1.0 / MEAN_S), again)

    def _make(self, order: Order, jobs: Sequence[JobId]) -> None:
        dice, name = self._dice, f"r{len(self._made)}"
        is_maintenance = dice.random() < 0.4
        self._made.append(name)
        order(
            Reserve(
                name,
                start=dice.choice(("", f"in {dice.randint(1, 20)}s")),
                for_s=dice.uniform(1.0, LONGEST_S),
                nodes=() if dice.random() < 0.5 else (dice.choice(self._nodes),),
                count=dice.randint(0, len(self._nodes)),
                users=() if is_maintenance else (CLIENT,),
                is_maintenance=is_maintenance,
            )
        )
        if jobs and not is_maintenance:
            for job in dice.sample(jobs, min(len(jobs), 2)):
                order(Update(only(job), {"reservation": name}))
        if dice.random() < 0.3:
            self._world.after(dice.uniform(0.0, LONGEST_S), lambda: order(Unreserve(name)))

    def ended(self, jobs: Iterable[JobId]) -> list[Request]:
        """What frees all nodes, and all jobs from what they name; for a site that is to settle."""
        free = [Update(only(job), {"reservation": "none"}) for job in jobs] if self._made else []
        return [*map(Unreserve, self._made), *free]


def check_placed(before: Mapping[Key, Record], written: Sequence[Record]) -> None:
    """Raise if a try that a transaction writes first was placed where its job may not start.

    `before`: what was on disk until then. What the transaction itself changes of a job or of a
    reservation is left out: which of it came first is not on record.
    """
    tries = [r for r in written if isinstance(r, AttemptRecord) and key_of(r) not in before]
    if not tries:
        return
    kept = [r for r in before.values() if isinstance(r, ReservationRecord) and r.phase != "over"]
    changed = {r.name for r in written if isinstance(r, ReservationRecord)}
    moved = {r.id for r in written if isinstance(r, JobRecord)}
    for one in tries:
        job = before.get(("JobRecord", (one.job,)))
        if isinstance(job, JobRecord) and job.id not in moved:
            _check(one, job.spec.reservation, kept, changed)


def _check(
    one: AttemptRecord, named: str, kept: Sequence[ReservationRecord], changed: Collection[str]
) -> None:
    at = one.placed_unix_s
    active = [r for r in kept if r.start_unix_s <= at < r.end_unix_s and one.node in r.nodes]
    if any(r.name != named and r.name not in changed for r in active):
        raise StartedOutside(f"{one.ref} was placed on {one.node}, which is kept by {active}")
    if named and named not in changed and all(r.name != named for r in active):
        raise StartedOutside(f"{one.ref} was placed on {one.node}, outside {named}")
