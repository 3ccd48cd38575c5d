"""Runs each mutant until a seed catches it."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import msgspec

from wattline_sim.fleet.mutants import (
    agents,
    cordons,
    data,
    disks,
    dividing,
    fencing,
    foreign,
    limits,
    names,
    plans,
    quotas,
    rollouts,
    scaling,
    schedulers,
    surroundings,
    trust,
)
from wattline_sim.fleet.mutants.mutant import CATCHES, Mutant, applied
from wattline_sim.fleet.run import Run, Violation

MUTANTS: tuple[Mutant, ...] = (
    *agents.MUTANTS,
    *schedulers.MUTANTS,
    *plans.MUTANTS,
    *cordons.MUTANTS,
    *disks.MUTANTS,
    *data.MUTANTS,
    *quotas.MUTANTS,
    *dividing.MUTANTS,
    *names.MUTANTS,
    *rollouts.MUTANTS,
    *scaling.MUTANTS,
    *foreign.MUTANTS,
    *limits.MUTANTS,
    *fencing.MUTANTS,
    *surroundings.MUTANTS,
    *trust.MUTANTS,
)
MOST_SEEDS = 1_000


class Verdict(msgspec.Struct, frozen=True):
    """What became of one mutant."""

    mutant: str
    rule: str
    source: str
    seeds: int
    """Tried until it was caught, or all of them."""
    caught_by: str
    """Name of the check; empty = it survived."""
    seed: int | None = None
    text: str = ""
    covered_by: str = ""
    """The rule that covers it, and that was removed with it."""

    @property
    def is_caught(self) -> bool:
        """A check saw the harm."""
        return self.caught_by in CATCHES


def by_name(name: str) -> Mutant:
    """The mutant of that name. Raises KeyError, which names them all."""
    for mutant in MUTANTS:
        if mutant.name == name:
            return mutant
    raise KeyError(f"there is no mutant {name!r}; there are {', '.join(m.name for m in MUTANTS)}")


def try_mutant(name: str, seeds: int = MOST_SEEDS, start: int = 0) -> Verdict:
    """Run seeds without the rule until one is caught."""
    mutant = by_name(name)
    with applied(mutant):
        for tried, seed in enumerate(range(start, start + seeds), 1):
            violation = Run(seed).finish().violation
            if violation is not None:
                return _verdict(mutant, tried, violation)
    return _verdict(mutant, seeds, None)


def _verdict(mutant: Mutant, tried: int, violation: Violation | None) -> Verdict:
    return Verdict(
        mutant=mutant.name,
        rule=mutant.rule,
        source=mutant.source,
        seeds=tried,
        caught_by=violation.rule if violation is not None else "",
        seed=violation.seed if violation is not None else None,
        text=violation.text if violation is not None else "",
        covered_by=mutant.covered_by,
    )


def try_all(names: list[str], seeds: int, processes: int) -> Iterator[Verdict]:
    """A verdict for each, in their order, as they come."""
    if processes <= 1:
        yield from (try_mutant(name, seeds) for name in names)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(try_mutant, names, [seeds] * len(names))
