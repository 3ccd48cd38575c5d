"""What a mutant is: a rule, and how to take it away while a run lasts."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from unittest.mock import patch

Swap = tuple[object, str, object]
"""Where, which name, and what stands there instead."""

CATCHES = frozenset(
    (
        "Overdraw",
        "Overgranted",
        "KilledInnocent",
        "GrowthStopped",
        "Overcounted",
        "RunTwice",
        "StartedEarly",
        "StartedOutside",
        "CordonIgnored",
        "StartedWithoutData",
        "OutputLost",
        "GivenTwice",
        "GivenOther",
        "GivenForeign",
        "FalseAlarm",
        "BmcUndone",
        "OverQuota",
        "UseMiscounted",
        "SentAwayInVain",
        "NameShared",
        "ReplacedEarly",
        "ScaledBeyond",
        "ReplicaFrozen",
        "NotSettled",
        "InvariantBroken",
        "NumberedTwice",
        "StoreLied",
        "FencedWrongly",
    )
)
"""Checks whose alarm counts. Anything else that a run dies of says that the mutant is broken."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """The product with one rule removed."""

    name: str
    rule: str
    """The rule that it breaks, as a sentence."""
    swaps: tuple[Swap, ...]
    source: str = ""
    """Where the rule stands: an invariant of the design."""
    covered_by: str = ""
    """Why the product stays right without this rule alone: the rule that covers it, which `swaps`
    remove as well."""


@contextmanager
def applied(mutant: Mutant) -> Iterator[None]:
    """The product without the rule, until the end of the block."""
    with ExitStack() as stack:
        for target, name, instead in mutant.swaps:
            stack.enter_context(patch.object(target, name, instead))
        yield
