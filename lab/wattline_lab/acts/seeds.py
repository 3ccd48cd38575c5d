"""The fleet simulation for many seeds, or the replay of one with its events."""

import sys
import time

import msgspec

from wattline import exits
from wattline.failures import ActFailed
from wattline.verbs.run import Outcome
from wattline_sim.fleet.campaign import Tally, run_seeds, usable_cores
from wattline_sim.fleet.mutants.check import MUTANTS, Verdict, by_name, try_all
from wattline_sim.fleet.run import Outcome as SeedOutcome
from wattline_sim.fleet.run import Run
from wattline_sim.fleet.story import Moment

SHOW_EVERY = 10
"""Seeds between two lines of progress."""


class Replay(msgspec.Struct, frozen=True):
    """One seed with all its events."""

    outcome: SeedOutcome
    story: tuple[Moment, ...]


def seeds(*, seed: int | None, count: int, start: int, processes: int | None) -> Outcome:
    """A tally of many seeds, or the replay of one; the exit code shows whether all passed."""
    if seed is not None:
        return _replay(seed)
    check_positive("--seeds", count)
    check_positive("--jobs", processes)
    tally = run_seeds(start, count, processes=processes, progress=_progress(count))
    _clear_progress()
    return Outcome(tally, exits.FAILED if tally.violations else exits.OK)


def _replay(seed: int) -> Outcome:
    run = Run(seed)
    outcome = run.finish()
    replay = Replay(outcome, run.site.story.moments())
    return Outcome(replay, exits.OK if outcome.violation is None else exits.FAILED)


class Proof(msgspec.Struct, frozen=True):
    """Results of all mutants."""

    mutants: int
    caught: int
    seconds: float
    verdicts: tuple[Verdict, ...]


def mutants(*, count: int, only: tuple[str, ...], processes: int | None) -> Outcome:
    """A verdict for each mutant; the exit code shows whether all were caught."""
    check_positive("--seeds", count)
    check_positive("--jobs", processes)
    names = [_known(name) for name in only] or [mutant.name for mutant in MUTANTS]
    verdicts, began_s = [], time.perf_counter()
    for verdict in try_all(names, count, processes or usable_cores()):
        verdicts.append(verdict)
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{len(verdicts)} of {len(names)}: {verdict.mutant} ")
            sys.stderr.flush()
    _clear_progress()
    caught = sum(verdict.is_caught for verdict in verdicts)
    seconds = round(time.perf_counter() - began_s, 1)
    proof = Proof(len(names), caught, seconds, tuple(verdicts))
    return Outcome(proof, exits.OK if caught == len(names) else exits.FAILED)


def _known(name: str) -> str:
    try:
        return by_name(name).name
    except KeyError as error:
        raise ActFailed(error.args[0], exits.USAGE) from error


def check_positive(flag: str, value: int | None) -> None:
    """Raise ActFailed for a number below 1."""
    if value is not None and value < 1:
        raise ActFailed(f"{flag} {value}: give 1 or more", exits.USAGE)


class _Progress:
    def __init__(self, count: int) -> None:
        self._count = count

    def __call__(self, tally: Tally) -> None:
        if tally.seeds % SHOW_EVERY == 0:
            broken = f", {len(tally.violations)} broke a rule" if tally.violations else ""
            done = f"{tally.seeds} of {self._count} seeds, {tally.seeds_per_s:.1f} a second"
            sys.stderr.write(f"\r{done}{broken} ")
            sys.stderr.flush()


def _progress(count: int) -> _Progress | None:
    return _Progress(count) if sys.stderr.isatty() else None


def _clear_progress() -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
