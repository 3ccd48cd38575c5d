"""Numbers for people, where some are unknown."""

from wattline.show import units


def test_what_is_unknown_is_no_zero() -> None:
    assert (units.watts(None), units.watts(0.0)) == ("-", "0 W")
    assert (units.seconds(None), units.seconds(187.0)) == ("-", "3m07s")


def test_small_costs_are_not_zero() -> None:
    assert units.usd(0.0123) == "$0.0123"
    assert units.usd(1234.5) == "$1,234.50"
