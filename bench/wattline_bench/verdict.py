"""What a benchmark returns, and how missed budgets become an exit status."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import msgspec

from wattline import exits
from wattline.verbs.run import Outcome
from wattline_bench.rig.sigterm import exit_at_sigterm

P = ParamSpec("P")


class Figures(msgspec.Struct, frozen=True):
    """What one measurement gave; subclasses add fields with units in their names."""

    def misses(self) -> tuple[str, ...]:
        """A sentence for each budget that was missed."""
        return ()


Measure = Callable[P, Figures | tuple[Figures, ...]]


def judged(measure: Measure[P]) -> Callable[P, Outcome]:
    """An act for the table of verbs: exit status 1 and a line on stderr for each missed budget."""

    @wraps(measure)
    def act(*args: P.args, **options: P.kwargs) -> Outcome:
        with exit_at_sigterm():
            found = measure(*args, **options)
        rows = found if isinstance(found, tuple) else (found,)
        missed = [sentence for row in rows for sentence in row.misses()]
        for sentence in missed:
            print(f"budget missed: {sentence}", file=sys.stderr)
        return Outcome(found, exits.FAILED if missed else exits.OK)

    return act


def over(name: str, value: float, limit: float) -> tuple[str, ...]:
    """The sentence for a value above its limit, if it is."""
    return (f"{name} is {value:,.3g}, at most {limit:,g}",) if value > limit else ()


def under(name: str, value: float, limit: float) -> tuple[str, ...]:
    """The sentence for a value below its limit, if it is."""
    return (f"{name} is {value:,.3g}, at least {limit:,g}",) if value < limit else ()
