"""Standings of accounts: how often they are computed."""

from collections.abc import Mapping

import pytest

from wattline_protocol.site.model import Account, FairShare
from wattline_scheduler.core.model.queue.expected_service import Service
from wattline_scheduler.core.model.queue.queue_order import Order
from wattline_scheduler.plan.learning.fairshare import NOTHING, FairTree, Standing, Use
from wattline_scheduler.plan.model.columns import GpuClasses

NEW = tuple(f"new-{number}" for number in range(500))


class Counting(FairTree):
    """Counts how often all accounts are ordered."""

    count = 0

    def standings(self, use: Mapping[str, Use], newcomers: int = 1) -> dict[str, Standing]:
        self.count += 1
        return super().standings(use, newcomers)


def order_of(*accounts: Account) -> tuple[Order, Counting]:
    tree = Counting(FairShare(), accounts)
    order = Order(tree, Service(0.0, GpuClasses()))
    tree.count = 0
    return order, tree


def test_accounts_without_use_are_not_ordered_again_for_each() -> None:
    """A member may name a new account in each of 50,000 jobs, and a plan asks for all of them."""
    order, tree = order_of(Account("lab"))
    standings = [order.standing(account) for account in NEW]
    assert tree.count == 1
    order.note(dict.fromkeys(NEW, NOTHING))
    assert [order.standing(account).level for account in NEW] == [one.level for one in standings]
    assert tree.count == 2


def test_accounts_without_use_share_what_is_due_to_them() -> None:
    order, _ = order_of()
    order.note({"old": Use(gpu_hours=8.0), **dict.fromkeys(NEW[:3], NOTHING)})
    assert [order.standing(name).share for name in ("old", *NEW[:3])] == [pytest.approx(0.25)] * 4
    assert order.standing("old").level > order.standing(NEW[0]).level
    assert [*order.standings()] == ["old"]


def test_accounts_of_the_site_file_keep_their_own_standing_without_use() -> None:
    order, _ = order_of(Account("large", shares=3.0), Account("small", shares=1.0))
    order.note({})
    assert order.standing("large").share == pytest.approx(0.75)
    assert [*order.standings()] == ["large", "small"]
