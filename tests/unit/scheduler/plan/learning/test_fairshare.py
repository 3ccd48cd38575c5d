"""Fair Tree: siblings by use over shares, all below one before all below the next."""

from math import isclose

from hypothesis import given
from hypothesis import strategies as st

from wattline_protocol.site.model import Account, FairShare
from wattline_scheduler.plan.learning.fairshare import (
    LEAST_USE,
    FairTree,
    Standing,
    Use,
    comparable,
)


def standings(
    use: dict[str, Use], *accounts: Account, rules: FairShare | None = None
) -> dict[str, Standing]:
    return FairTree(rules or FairShare(), accounts).standings(use)


def hours(gpu_hours: float) -> Use:
    """So much GPU time, and a kWh for each hour."""
    return Use(gpu_hours, gpu_hours)


def in_order(found: dict[str, Standing]) -> list[str]:
    return sorted(found, key=lambda name: (found[name].level, name))


def test_who_used_less_comes_first() -> None:
    found = standings({"ada": hours(30), "bob": hours(10), "eve": hours(20)})
    assert in_order(found) == ["bob", "eve", "ada"]
    assert isclose(found["bob"].share, 1 / 3)
    assert isclose(found["bob"].used, 1 / 6)
    assert isclose(found["bob"].ratio, 0.5)


def test_shares_say_what_is_due() -> None:
    use = {"research": hours(60), "prod": hours(40)}
    found = standings(use, Account("research", shares=75), Account("prod", shares=25))
    assert in_order(found) == ["research", "prod"]
    assert isclose(found["research"].ratio, 0.6 / 0.75)
    assert isclose(found["prod"].ratio, 0.4 / 0.25)


def test_all_below_one_account_come_before_all_below_the_next() -> None:
    """Vision used least of the site; its parent used more than is due to it."""
    accounts = (
        Account("research"),
        Account("vision", "research"),
        Account("speech", "research"),
        Account("prod"),
        Account("web", "prod"),
    )
    found = standings({"vision": hours(5), "speech": hours(60), "web": hours(40)}, *accounts)
    assert in_order(found) == ["prod", "web", "research", "vision", "speech"]
    assert isclose(found["vision"].share, 1 / 4)
    assert found["research"].use == hours(65)


def test_jobs_of_an_account_that_has_parts_count_as_one_more_part() -> None:
    accounts = (Account("research"), Account("vision", "research", shares=3.0))
    found = standings({"research": hours(40), "vision": hours(60)}, *accounts)
    assert in_order(found) == ["vision", "research"]
    assert isclose(found["vision"].share, 3 / 4)
    assert found["research"].use == hours(100)


def test_who_is_not_named_has_the_usual_shares_at_the_top() -> None:
    rules = FairShare(shares=5.0)
    found = standings({"ada": hours(1)}, Account("research", shares=95), rules=rules)
    assert isclose(found["ada"].share, 0.05)


def test_what_hardly_counts_is_shown_as_it_is() -> None:
    found = standings({"ada": hours(0.001), "bob": hours(0.003)})
    assert found["ada"].level == found["bob"].level
    assert isclose(found["bob"].ratio, 1.5)


def test_each_measure_counts_by_its_weight_whatever_its_unit() -> None:
    use = {"cool": Use(30, 1_000), "hot": Use(10, 3_000)}
    assert in_order(standings(use, rules=FairShare(gpu_hours=1, energy=0))) == ["hot", "cool"]
    assert in_order(standings(use, rules=FairShare(gpu_hours=0, energy=1))) == ["cool", "hot"]
    even = standings(use)
    assert even["hot"].level == even["cool"].level
    none = standings(use, rules=FairShare(gpu_hours=0, energy=0))
    assert none["hot"].level == none["cool"].level


def test_where_no_energy_is_measured_time_alone_counts() -> None:
    found = standings({"ada": Use(30, 0), "bob": Use(10, 0)})
    assert isclose(found["ada"].used, 0.75)


def test_small_differences_and_hardly_any_use_do_not_count() -> None:
    close = standings({"ada": hours(50.5), "bob": hours(49.5)})
    assert close["ada"].level == close["bob"].level
    little = standings({"ada": hours(LEAST_USE / 1000), "bob": hours(0)})
    assert little["ada"].level == little["bob"].level


def test_depth_alone_puts_nobody_first() -> None:
    accounts = (Account("research"), Account("vision", "research"))
    unused = standings({"ada": hours(0), "vision": hours(0)}, *accounts)
    assert comparable(unused["ada"].level) == comparable(unused["vision"].level)
    even = standings({"ada": hours(50), "vision": hours(50)}, *accounts)
    assert comparable(even["ada"].level) == comparable(even["vision"].level)


names = st.sampled_from("abcdef")
uses = st.dictionaries(names, st.builds(Use, st.floats(0, 1e6), st.floats(0, 1e6)))


@st.composite
def trees(draw: st.DrawFn) -> tuple[Account, ...]:
    """Each account is below none or one before it."""
    found: list[Account] = []
    for name in draw(st.lists(names, unique=True)):
        parent = draw(st.none() | st.sampled_from([a.name for a in found])) if found else None
        found.append(Account(name, parent, draw(st.floats(0.1, 100))))
    return tuple(found)


@given(trees(), uses)
def test_of_any_tree(accounts: tuple[Account, ...], use: dict[str, Use]) -> None:
    found = standings(use, *accounts)
    parents = {account.name: account.parent for account in accounts}
    assert set(found) == set(parents) | set(use)
    with_parts = set(parents.values())
    for name, standing in found.items():
        parent = parents.get(name)
        has_own = name in use and name in with_parts
        if parent is not None and parent not in use and not has_own:
            assert standing.level[:-1] == found[parent].level, "below its parent, and only there"
    tops = [one for name, one in found.items() if parents.get(name) is None]
    assert not tops or isclose(sum(one.share for one in tops), 1.0)
    assert sum(one.used for one in tops) <= 1.0 + 1e-9


@given(trees(), uses, names)
def test_who_uses_more_never_gains_by_it(
    accounts: tuple[Account, ...], use: dict[str, Use], name: str
) -> None:
    before = standings({**use, name: use.get(name, Use())}, *accounts)
    after = standings({**use, name: use.get(name, Use()) + hours(1000)}, *accounts)
    assert after[name].level >= before[name].level
