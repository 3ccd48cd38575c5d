"""Outside temperature by the hour of a typical year, from a CSV as weather services provide it."""

import csv
from collections.abc import Iterator, Mapping
from datetime import MAXYEAR, MINYEAR, UTC, datetime, timedelta
from pathlib import Path

from wattline_scheduler.shell.sensing.sensor_values import ReadingFailed

TEMPERATURES = ("outside_c", "dry_bulb_c")
"""Wattline's column name, and that of columns taken from an EPW file."""

ANY_YEAR = 2023
"""Without a 29 February; that day of a leap year takes the temperature of the 28th."""
HOURS = 8760
MAX_ROWS = 4 * HOURS
MAX_BYTES = 16 * 1024 * 1024

LOWEST_C, HIGHEST_C = -90.0, 60.0
"""Record temperatures on Earth."""


class Weather:
    """Hourly temperatures of a year, repeated every year."""

    def __init__(self, by_hour: Mapping[int, float]) -> None:
        self._by_hour = by_hour

    def outside_c(self, unix_s: float) -> float:
        """Temperature at a time, interpolated between two hours."""
        at = datetime.fromtimestamp(unix_s, UTC)
        before = at.replace(minute=0, second=0, microsecond=0)
        part = (at - before).total_seconds() / 3600
        first, second = self._at(before), self._at(before + timedelta(hours=1))
        return first + (second - first) * part

    def _at(self, hour: datetime) -> float:
        number = hour_of_year(hour.month, hour.day, hour.hour)
        while number not in self._by_hour:  # a gap is filled with the hour before it
            number = (number - 1) % HOURS
        return self._by_hour[number]


def hour_of_year(month: int, day: int, hour: int) -> int:
    """0 to 8759. Raises ValueError for an invalid day."""
    if (month, day) == (2, 29):
        day = 28
    start = datetime(ANY_YEAR, 1, 1, tzinfo=UTC)
    return int((datetime(ANY_YEAR, month, day, hour, tzinfo=UTC) - start).total_seconds() // 3600)


def read_weather(path: Path) -> Weather:
    """The parsed file. Raises ReadingFailed with the wrong line."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ReadingFailed(f"{path} has over {MAX_BYTES} bytes; a year of hours is expected")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ReadingFailed(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ReadingFailed(f"{path} is not UTF-8 text") from error
    by_hour = dict(_rows(text, path))
    if not by_hour:
        raise ReadingFailed(f"{path} has no rows")
    return Weather(by_hour)


def _rows(text: str, path: Path) -> Iterator[tuple[int, float]]:
    rows = csv.DictReader(text.splitlines())
    names = rows.fieldnames or []
    temperature = next((name for name in TEMPERATURES if name in names), None)
    if temperature is None:
        raise ReadingFailed(f"{path} has no column {' or '.join(TEMPERATURES)}")
    for row in rows:
        if rows.line_num > MAX_ROWS:
            raise ReadingFailed(f"{path} has over {MAX_ROWS} rows; a year of hours is expected")
        try:
            yield _hour(row), _checked(float(row[temperature]))
        except (KeyError, TypeError, ValueError) as error:
            raise ReadingFailed(f"{path}:{rows.line_num}: {_problem(error)}") from error


def _hour(row: Mapping[str, str]) -> int:
    if "time" not in row:
        return hour_of_year(int(row["month"]), int(row["day"]), int(row["hour"]))
    at = datetime.fromisoformat(row["time"])
    if not MINYEAR < at.year < MAXYEAR:  # its offset may lead to an invalid year
        raise ValueError(f"year {at.year} is out of range")
    if at.tzinfo is not None:
        at = at.astimezone(UTC)
    return hour_of_year(at.month, at.day, at.hour)


def _checked(outside_c: float) -> float:
    if not LOWEST_C <= outside_c <= HIGHEST_C:
        raise ValueError(f"{outside_c:g} °C is not plausible")
    return outside_c


def _problem(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"there is no column {error.args[0]}; expected time, or month, day and hour"
    return str(error)
