"""Plurals, lists and amounts in texts for people."""

import pytest

from wattline_protocol.text import wording as w


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 tasks"), (1, "1 task"), (2, "2 tasks"), (0.5, "0.5 tasks")]
)
def test_counts(count: float, text: str) -> None:
    assert w.counted(count, "task") == text


def test_an_irregular_plural() -> None:
    assert w.counted(2, "try", "tries") == "2 tries"


@pytest.mark.parametrize(
    ("names", "total", "text"),
    [
        ([], 0, ""),
        (["n1", "n2"], 0, "n1, n2"),
        (["n1", "n2", "n3"], 0, "n1, n2 and 1 more"),
        (["n1"], 8, "n1 and 7 more"),
    ],
)
def test_lists(names: list[str], total: int, text: str) -> None:
    assert w.listed(names, 2, total) == text


def test_one_job_and_many_are_named() -> None:
    assert w.named("job", [3]) == "job 3"
    assert w.named("job", [3, 7, 9, 11]) == "jobs 3, 7, 9 and 1 more"


@pytest.mark.parametrize(
    ("names", "text"),
    [([], ""), (["a"], "a"), (["a", "b"], "a or b"), (["a", "b", "c"], "a, b or c")],
)
def test_names_are_joined_with_a_word(names: list[str], text: str) -> None:
    assert w.joined(names, "or") == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.0032, "0.003"),
        (1.0, "1"),
        (1.2345, "1.23"),
        (9.996, "10"),
        (12.34, "12.3"),
        (99.96, "100"),
        (-12.34, "-12.3"),
        (1234.5, "1,234"),
    ],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert w.digits(value) == text


@pytest.mark.parametrize(
    ("value_w", "text"),
    [
        (0.0, "0 W"),
        (742.4, "742 W"),
        (999.6, "1 kW"),
        (3_365.0, "3.37 kW"),
        (12_400.0, "12.4 kW"),
        (-4_800.0, "-4.8 kW"),
        (1.24e6, "1.24 MW"),
    ],
)
def test_watts(value_w: float, text: str) -> None:
    assert w.watts(value_w) == text
    assert w.power_text(value_w * 1000) == text


@pytest.mark.parametrize(
    ("value_w", "text"), [(0.2, "1 W"), (12_301.0, "12.4 kW"), (1_750.0, "1.75 kW")]
)
def test_missing_watts_are_rounded_up(value_w: float, text: str) -> None:
    assert w.watts(value_w, is_wanted=True) == text


@pytest.mark.parametrize(
    ("value_s", "text"),
    [
        (0.0, "0s"),
        (0.82, "820ms"),
        (42.4, "42s"),
        (187.0, "3m07s"),
        (7500.0, "2h05m"),
        (367_200.0, "4d06h"),
        (-5.0, "-5s"),
    ],
)
def test_elapsed_time(value_s: float, text: str) -> None:
    assert w.elapsed(value_s) == text


def test_energy() -> None:
    assert (w.energy(0.0032), w.energy(12.44), w.energy(1_240.0)) == (
        "0.003 kWh",
        "12.4 kWh",
        "1.24 MWh",
    )


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (700, "700 B"),
        (262_144, "256 KiB"),
        (3 << 29, "1.5 GiB"),
        (1 << 62, "4,096 PiB"),
    ],
)
def test_sizes(size_bytes: int, text: str) -> None:
    assert w.about_size(size_bytes) == text


def test_too_little_never_reads_as_enough() -> None:
    one = (80 << 30) - 1
    assert (w.gib(one), w.gib(one, is_wanted=True)) == ("79.9 GiB", "80 GiB")
    assert w.gib(1, is_wanted=True) == "0.1 GiB"
    assert w.gib(80 << 30) == w.gib(80 << 30, is_wanted=True) == "80 GiB"
