"""Why shapes do not fit: on a large site asked again in turn, so that no cycle asks of all."""

import dataclasses
from typing import Any

import pytest

from support.core.sites import job
from support.core.snapshots import offer, snapshot, waits
from wattline_scheduler.plan import cycle as planner
from wattline_scheduler.plan.model.memory import EMPTY
from wattline_scheduler.plan.model.snapshot import Snapshot
from wattline_scheduler.plan.search.blocked_shapes import AGAIN_CYCLES, LARGE_SITE_NODES
from wattline_scheduler.plan.wait_reasons import wait_reason

SHAPES = 5 * AGAIN_CYCLES


def site(nodes: int) -> Snapshot:
    """Full, and unlike jobs that wait."""
    offers = [offer(f"n{at}", free=0) for at in range(nodes)]
    queue = [waits(number, job().gpus(8).memory(number)) for number in range(1, SHAPES + 1)]
    return snapshot(*offers, waiting=tuple(queue))


def asked(monkeypatch: pytest.MonkeyPatch, nodes: int, cycles: int) -> list[int]:
    """Of how many shapes it is asked in each cycle."""
    count = [0]

    def found(*args: Any) -> str:
        count[0] += 1
        return wait_reason(*args)

    monkeypatch.setattr(planner, "wait_reason", found)
    memory, snap, counts = EMPTY, site(nodes), []
    for _ in range(cycles):
        count[0] = 0
        result = planner.plan(dataclasses.replace(snap), memory)
        memory = result.memory
        assert len(result.waits) == SHAPES
        counts.append(count[0])
    return counts


def test_a_large_site_asks_of_a_part_in_each_cycle_and_of_all_in_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, *later = asked(monkeypatch, LARGE_SITE_NODES + 1, 1 + 2 * AGAIN_CYCLES)
    assert first == SHAPES
    assert set(later) == {SHAPES // AGAIN_CYCLES}


def test_a_small_site_asks_of_all_in_each_cycle(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(monkeypatch, 2, 3) == [SHAPES] * 3
