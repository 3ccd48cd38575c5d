"""Which leases change at once, and which at their own moment."""

import numpy as np
import pytest

from wattline_protocol.ids import Epoch, Instant, NodeId
from wattline_scheduler.power.allocation.lease_pacing import HOLD_S, RELEASE_SPREAD_S, Pace
from wattline_scheduler.power.topology.matrix import Bools, Ints

COUNT = 200
KW = 1_000_000
NODES = tuple(NodeId(f"n{at}") for at in range(COUNT))


class Fleet:
    """Nodes that all hold the same lease; a due change is carried out at once."""

    def __init__(self, lease_kw: int, epoch: int = 1) -> None:
        self.pace = Pace(NODES, Epoch(epoch))
        self.lease_mw: Ints = np.full(COUNT, lease_kw * KW)
        self.at = 100.0

    def step(self, wish_kw: int, target_kw: int, seconds: float = 1.0, **flags: bool) -> int:
        """How many leases changed."""
        self.at += seconds
        wish_mw = np.full(COUNT, wish_kw * KW)
        due = self.pace.due(
            wish_mw,
            self.lease_mw,
            np.full(COUNT, target_kw * KW),
            must=every(flags.get("must", False)),
            hurry=every(flags.get("hurry", False)),
            surge=every(flags.get("surge", False)),
            at=Instant(self.at),
        )
        self.lease_mw = np.where(due, wish_mw, self.lease_mw)
        return int(due.sum())


def every(value: bool) -> Bools:
    return np.full(COUNT, value)


def settled(lease_kw: int, target_kw: int) -> Fleet:
    fleet = Fleet(lease_kw)
    fleet.step(lease_kw, target_kw)
    return fleet


def test_demand_that_rose_is_covered_at_once_even_in_a_surge() -> None:
    assert settled(3, 3).step(5, 5, surge=True) == COUNT


def test_freed_watts_are_taken_by_one_node_after_the_other() -> None:
    fleet = settled(3, 5)
    seconds = [fleet.step(5, 5, 0.25, surge=True) for _ in range(16)]
    assert sum(seconds) == COUNT
    assert max(seconds) <= COUNT * 0.25 / RELEASE_SPREAD_S * 2
    assert seconds[0] < COUNT // 8


def test_a_little_that_became_free_is_taken_at_once() -> None:
    assert settled(3, 5).step(5, 5, surge=False) == COUNT


def test_what_is_not_used_is_kept_for_a_while_and_then_given_up_little_by_little() -> None:
    fleet = settled(5, 5)
    assert [fleet.step(3, 3) for _ in range(int(HOLD_S))] == [0] * int(HOLD_S)
    later = [fleet.step(3, 3) for _ in range(int(RELEASE_SPREAD_S) + 1)]
    assert sum(later) == COUNT
    assert max(later) < COUNT // 2


def test_a_pause_between_two_phases_gives_nothing_up() -> None:
    fleet = settled(5, 5)
    for _ in range(4):
        assert fleet.step(3, 3) == fleet.step(3, 3) == 0
        assert fleet.step(5, 5) == 0


@pytest.mark.parametrize("flag", ["must", "hurry"])
def test_watts_that_somebody_waits_for_move_at_once(flag: str) -> None:
    assert settled(5, 5).step(3, 3, **{flag: True}) == COUNT


def test_the_order_follows_from_names_and_epoch_alone() -> None:
    def order(epoch: int) -> list[int]:
        fleet = Fleet(3, epoch)
        fleet.step(3, 5)
        return [fleet.step(5, 5, 0.25, surge=True) for _ in range(13)]

    assert order(1) == order(1)
    assert order(1) != order(2)
