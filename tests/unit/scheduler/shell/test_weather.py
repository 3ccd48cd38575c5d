"""Weather files: read, interpolated over the year's end, refused with the line that is wrong."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from wattline_scheduler.shell.sensing.sensor_values import ReadingFailed
from wattline_scheduler.shell.sensing.weather import hour_of_year, read_weather


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def test_by_month_day_and_hour(tmp_path: Path) -> None:
    path = tmp_path / "w.csv"
    path.write_text("month,day,hour,dry_bulb_c\n7,1,14,40.0\n7,1,15,44.0\n7,1,16,42\n")
    weather = read_weather(path)
    assert weather.outside_c(at("2026-07-01T14:00")) == 40.0
    assert weather.outside_c(at("2031-07-01T14:45")) == 43.0
    assert weather.outside_c(at("2026-12-24T12:00")) == 42.0


def test_by_time_over_the_end_of_the_year(tmp_path: Path) -> None:
    path = tmp_path / "w.csv"
    path.write_text("time,outside_c\n2019-12-31T23:00,2\n2019-01-01T00:00+00:00,4\n")
    assert read_weather(path).outside_c(at("2026-12-31T23:30")) == 3.0


def test_the_hours_of_a_year() -> None:
    assert hour_of_year(1, 1, 0) == 0
    assert hour_of_year(12, 31, 23) == 8759
    assert hour_of_year(2, 29, 5) == hour_of_year(2, 28, 5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no column outside_c or dry_bulb_c"),
        ("time,outside_c\n", "has no rows"),
        ("hour,outside_c\n1,2\n", "w.csv:2: there is no column month"),
        ("time,outside_c\n2019-01-01T00:00,warm\n", "w.csv:2: could not convert"),
        ("time,outside_c\nnoon,1\n", "w.csv:2: Invalid isoformat"),
        ("time,outside_c\n2019-01-01T00:00,99\n", "is not plausible"),
        ("month,day,hour,outside_c\n2,31,0,1\n", "w.csv:2: day"),
    ],
)
def test_what_is_no_weather(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "w.csv"
    path.write_text(text)
    with pytest.raises(ReadingFailed) as caught:
        read_weather(path)
    assert words in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ReadingFailed, match="cannot read"):
        read_weather(tmp_path / "none.csv")
