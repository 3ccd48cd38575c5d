"""The simulation catches the protocol with a rule removed: a proof that it can fail.

The quickest of the mutants; `make sim-mutants` runs them all.
"""

from pathlib import Path

import pytest

from wattline_sim.fleet.mutants.check import MUTANTS, try_mutant
from wattline_sim.fleet.mutants.mutant import Mutant, applied

SEEDS = 200
"""Which seed shows the harm depends on every detail of the cores; most need fewer than 20."""

QUICK = {
    "acknowledge-before-caps": 372,
    "idle-at-once": 0,
    "committed-is-last-acknowledged": 4,
    "committed-is-newest-sent": 4,
    "unheard-counts-nothing": 0,
    "reclaim-on-time-out": 2,
    "report-changes-books": 5,
    "hello-of-old-incarnation": 21,
    "off-but-heard": 68,
    "off-unconfirmed": 5,
    "task-lease-too-short": 33,
    "task-lease-when-ordered": 52,
    "gang-before-watts": 9,
    "start-before-parents": 0,
    "start-where-reserved": 3,
    "start-on-cordoned": 1,
    "cordon-stops-work": 1,
    "cordon-of-named-only": 3,
    "growth-not-on-disk": 0,
    "growth-in-pieces": 1,
    "epoch-not-durable": 0,
    "output-forgotten": 7,
    "start-before-data": 1,
    "data-in-use-leaves": 1,
    "backup-without-recover": 15,
    "numbers-again": 15,
    "start-beyond-quota": 34,
    "held-uncounted": 34,
    "preempted-from-above": 10,
    "use-forgotten": 0,
    "use-after-the-end": 0,
    "device-allocated-twice": 7,
    "whole-though-divided": 0,
    "any-profile": 0,
    "watts-by-slices": 0,
    "slices-uncounted": 45,
    "normal-operation-only": 0,
    "durations-by-wall-clock": 3,
    "rollout-keeps-all": 0,
    "rollout-does-not-wait": 403,
    "freezes-replicas": 24,
    "fence-beyond-max": 5,
    "fence-by-any-bmc": 144,
}
"""The seed that showed the harm last: it is tried first."""
pytestmark = pytest.mark.timeout(400)


@pytest.mark.parametrize("name", QUICK)
def test_a_mutant_is_caught(name: str) -> None:
    verdict = try_mutant(name, 1, start=QUICK[name])
    if not verdict.is_caught:
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
