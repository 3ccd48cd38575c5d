"""Numbers for people, where some are unknown."""

from wattline.show import units


def test_what_is_unknown_is_no_zero() -> None:
    assert (units.watts(None), units.watts(0.0)) == ("-", "0 W")
    assert (units.seconds(None), units.seconds(187.0)) == ("-", "3m07s")


def test_small_costs_are_not_zero_and_large_ones_have_no_cents() -> None:
    assert (units.usd(0.0123), units.usd(0.0)) == ("0.0123 USD", "0.00 USD")
    assert (units.usd(12.3), units.usd(999.49)) == ("12.30 USD", "999.49 USD")
    assert (units.usd(1234.6), units.usd(None)) == ("1,235 USD", "-")
