"""Values on the command line."""

import pytest

from wattline.acts.report import moment
from wattline.failures import ActFailed
from wattline.verbs.values import job_numbers, shed_amount


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("8", [8]), ("3-5,8", [3, 4, 5, 8]), ("2,2,1", [2, 1]), (" 4 - 4".replace(" ", ""), [4])],
)
def test_job_numbers(text: str, numbers: list[int]) -> None:
    assert job_numbers(text) == numbers


@pytest.mark.parametrize("text", ["", "x", "3-", "5-3", "1,,2", "1-20001", "-4", "1" * 40])
def test_wrong_job_numbers_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write|at most"):
        job_numbers(text)


@pytest.mark.parametrize(
    ("text", "amount"),
    [("25%", (0.25, 0)), ("12.5 %", (0.125, 0)), ("40kW", (0.0, 40_000_000)), ("1W", (0.0, 1000))],
)
def test_shed_amount(text: str, amount: tuple[float, int]) -> None:
    assert shed_amount(text) == amount


@pytest.mark.parametrize("text", ["0%", "100%", "120%", "0kW", "25", "kW", "-3kW", "40 horses"])
def test_wrong_shed_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"%|kW"):
        shed_amount(text)


def test_moments() -> None:
    assert moment("1h30m", 10_000.0) == 10_000.0 - 5400.0
    assert moment("2026-11-01T00:00:00+00:00", 0.0) == 1_793_491_200.0
    with pytest.raises(ActFailed, match="how long ago") as failed:
        moment("yesterday", 0.0)
    assert failed.value.status == 2
