"""The simulation catches the protocol with a rule removed: a proof that it can fail.

The quickest of the mutants; `make sim-mutants` runs them all.
"""

from pathlib import Path

import pytest

from wattline_sim.fleet.mutants.check import MUTANTS, try_mutant
from wattline_sim.fleet.mutants.mutant import Mutant, applied

SEEDS = 200
"""Which seed shows the harm depends on every detail of the cores; most need fewer than 20."""

QUICK = (
    "acknowledge-before-caps",
    "idle-at-once",
    "committed-is-last-acknowledged",
    "committed-is-newest-sent",
    "unheard-counts-nothing",
    "reclaim-on-time-out",
    "report-changes-books",
    "hello-of-old-incarnation",
    "off-but-heard",
    "off-unconfirmed",
    "task-lease-too-short",
    "gang-before-watts",
    "start-before-parents",
    "start-where-reserved",
    "growth-not-on-disk",
    "growth-in-pieces",
    "epoch-not-durable",
    "backup-without-recover",
    "numbers-again",
    "start-beyond-quota",
    "held-uncounted",
    "preempted-from-above",
    "use-forgotten",
    "use-after-the-end",
    "device-allocated-twice",
    "whole-though-divided",
    "any-profile",
    "watts-by-slices",
    "slices-uncounted",
    "normal-operation-only",
    "durations-by-wall-clock",
    "rollout-keeps-all",
    "rollout-does-not-wait",
)
pytestmark = pytest.mark.timeout(400)


@pytest.mark.parametrize("name", QUICK)
def test_a_mutant_is_caught(name: str) -> None:
    verdict = try_mutant(name, SEEDS)
    assert verdict.is_caught, f"{verdict.seeds} seeds, {verdict.caught_by}: {verdict.text}"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_a_mutant_changes_what_is_there_and_leaves_nothing_behind(mutant: Mutant) -> None:
    swaps = mutant.swaps
    before = [getattr(target, name) for target, name, _ in swaps]
    with applied(mutant):
        assert all(getattr(t, n) is instead for t, n, instead in swaps)
    assert [getattr(target, name) for target, name, _ in swaps] == before


def test_every_rule_has_one_mutant() -> None:
    rules = [mutant.rule for mutant in MUTANTS]
    assert len(rules) >= 12
    assert len(set(rules)) == len(rules)


def test_the_manual_lists_them_all_as_they_are() -> None:
    page = (Path(__file__).parents[2] / "docs/simulation.md").read_text()
    section = page.split("## Mutants")[1].split("\n## ")[0]
    listed = [line for line in section.splitlines() if line.startswith("| `")]
    assert listed == [f"| `{m.name}` | {m.source}: {m.rule} | {m.covered_by} |" for m in MUTANTS]
