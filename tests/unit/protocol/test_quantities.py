"""Durations, sizes and watts as people write them."""

from collections.abc import Callable

import pytest

from wattline_protocol.job.file import job_from_options
from wattline_protocol.text import quantities as q


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("1h30m", 5400), ("2d", 172_800), ("500ms", 0.5), (" 1.5h ", 5400)],
)
def test_durations(text: str, seconds: float) -> None:
    assert q.parse_duration_s(text) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("01:30:00", 5400),
        ("36:00:00", 129_600),
        ("90:00", 5400),
        ("0:90", 90),
        ("1-12", 129_600),
        ("1-12:30", 131_400),
        ("1-12:30:05", 131_405),
        ("1h30m", 5400),
    ],
)
def test_durations_of_jobs_may_have_the_forms_of_slurm(text: str, seconds: float) -> None:
    assert q.parse_job_duration_s(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "60", "1-", "-12", "1:2:3:4", "1-2h", "1:30m", "1:-5", "1.5:00", "١:٠٠"]
)
def test_a_refused_duration_of_a_job_names_both_forms(text: str) -> None:
    with pytest.raises(ValueError, match=r'"1h30m", or as in Slurm "12:00:00" or "1-12:00:00"'):
        q.parse_job_duration_s(text)


def test_ten_years_bound_both_forms() -> None:
    for text in ("3651d", "3651-00:00:00", "9" * 60 + ":00"):
        with pytest.raises(ValueError, match="ten years"):
            q.parse_job_duration_s(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(5400.0, "1h30m"), (0.25, "0.25s"), (0.0, "0s"), (90_061.5, "1d1h1m1.5s")]
)
def test_durations_are_written_short(seconds: float, text: str) -> None:
    assert q.format_duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(90.4, "1m30s"), (-1.0, "0s"), (1e12, "3650d"), (float("inf"), "3650d")]
)
def test_a_computed_duration_is_clipped(seconds: float, text: str) -> None:
    assert q.format_clipped(seconds) == text


@pytest.mark.parametrize("text", ["", "12", "h", "1m1h", "1h1h", "-1s", "1 week", "1e3s", "9" * 80])
def test_what_is_no_duration_is_told_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|too long"):
        q.parse_duration_s(text)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0, 1e12])
def test_what_is_no_duration_is_not_written(seconds: float) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        q.format_duration(seconds)


@pytest.mark.parametrize(
    ("text", "size"),
    [("40GiB", 40 << 30), ("200GB", 200 * 10**9), ("512 MiB", 512 << 20), ("7B", 7)],
)
def test_sizes(text: str, size: int) -> None:
    assert q.parse_size_bytes(text) == size


def test_sizes_are_written_in_the_largest_unit_that_divides_them() -> None:
    assert q.format_size(40 << 30) == "40GiB"
    assert q.format_size((40 << 30) + 1) == "42949672961B"
    assert q.format_size(0) == "0B"


@pytest.mark.parametrize(
    ("text", "milliwatts"), [("40kW", 40_000_000), ("650W", 650_000), ("1.2MW", 1_200_000_000)]
)
def test_watts(text: str, milliwatts: int) -> None:
    assert q.parse_power_mw(text) == milliwatts


@pytest.mark.parametrize(
    ("parse", "text", "said"),
    [
        (q.parse_size_bytes, "40", "expected a size"),
        (q.parse_size_bytes, "40gib", 'no unit "gib"'),
        (q.parse_size_bytes, "0.3B", "whole number"),
        (q.parse_size_bytes, "9999999TiB", "out of range"),
        (q.parse_power_mw, "40kWh", 'no unit "kWh"'),
        (q.parse_power_mw, "0.0001W", "whole number"),
        (q.parse_energy_wh, "80kW", 'expected an energy such as "80kWh"'),
        (q.parse_cost_usd, "400EUR", 'expected a cost such as "400USD"'),
        (q.parse_percent, "101%", "percentage"),
        (q.parse_percent, "25", "percentage"),
    ],
)
def test_wrong_quantities_are_told_with_an_example(
    parse: Callable[[str], object], text: str, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        parse(text)


def test_shares_energy_and_cost() -> None:
    assert q.parse_percent("25%") == 0.25
    assert q.parse_energy_wh("80kWh") == 80_000
    assert q.parse_cost_usd("400USD") == 400


@pytest.mark.parametrize(
    ("text", "per_s", "written"),
    [
        ("50/s", 50.0, "50/s"),
        ("0.5/s", 0.5, "30/m"),
        ("100 /m", 100 / 60, "100/m"),
        ("5000/h", 5000 / 3600, "5000/h"),
        ("7/d", 7 / 86_400, "7/d"),
        ("0.123456789/s", 0.123456789, "0.123456789/s"),
        ("1000000/s", 1e6, "1000000/s"),
    ],
)
def test_rates(text: str, per_s: float, written: str) -> None:
    assert q.parse_rate_per_s(text) == pytest.approx(per_s)
    assert q.parse_rate_per_s(q.format_rate(per_s)) == pytest.approx(per_s, rel=1e-6)
    assert q.format_rate(q.parse_rate_per_s(text)) == written


@pytest.mark.parametrize("text", ["", "50", "/s", "0/s", "-1/s", "1e3/s", "50/w", "1000001/s"])
def test_what_is_no_rate_is_told_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match='such as "50/s"'):
        q.parse_rate_per_s(text)


@pytest.mark.parametrize(
    ("text", "count"), [("2M", 2_000_000), ("1.5k", 1_500), ("1500", 1_500), ("1G", 10**9)]
)
def test_counts(text: str, count: int) -> None:
    assert q.parse_count(text) == count
    assert q.parse_count(q.format_count(count)) == count


@pytest.mark.parametrize("text", ["0", "-1", "2m", "1.5", "0.0001k", "9999999G", "", "M", "2 M M"])
def test_what_is_no_count(text: str) -> None:
    with pytest.raises(ValueError, match="expected a whole number above 0"):
        q.parse_count(text)


def test_counts_are_written_with_the_largest_unit_that_is_exact() -> None:
    shown = [q.format_count(count) for count in (999, 2_500_000, 1_234_567, 10**9)]
    assert shown == ["999", "2.5M", "1234.567k", "1G"]


def test_every_duration_of_a_job_may_have_them() -> None:
    job = job_from_options(
        command="true",
        time="1-12",
        grace="1:30",
        checkpoint_every="00:15:00",
        no_progress="10:00",
        idle_gpu="below=0.05,for=0:30:00,action=warn",
    )
    assert job.limits.runtime_s == 129_600
    assert (job.recovery.grace_s, job.recovery.checkpoint_every_s) == (90, 900)
    assert job.recovery.no_progress_s == 600
    assert job.limits.idle_gpu is not None
    assert job.limits.idle_gpu.for_s == 1800
