"""Numbers for people."""

import pytest

from wattline.show import units


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (0.0, "0 W"),
        (742.4, "742 W"),
        (12_400.0, "12.4 kW"),
        (1.2e6, "1.20 MW"),
        (-4800.0, "-4.8 kW"),
    ],
)
def test_watts(value: float | None, shown: str) -> None:
    assert units.watts(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (0.82, "820ms"),
        (42.4, "42s"),
        (187.0, "3m07s"),
        (7500.0, "2h05m"),
        (367_200.0, "4d06h"),
        (-5.0, "-5s"),
    ],
)
def test_seconds(value: float | None, shown: str) -> None:
    assert units.seconds(value) == shown


def test_small_energy_and_cost_are_not_zero() -> None:
    assert units.kwh(0.0032) == "0.003 kWh"
    assert units.usd(0.0123) == "$0.0123"
    assert units.usd(1234.5) == "$1,234.50"
