"""Values on the command line that are more than a word: durations, sheds, job selectors."""

import re

import click

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_WATTS = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6}
_SHED_WATTS = re.compile(r"(\d+(?:\.\d+)?)\s*([kKM]?)[wW]", re.ASCII)
_SHED_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%", re.ASCII)
_RANGE = re.compile(r"(\d+)(?:-(\d+))?", re.ASCII)

MAX_SELECTED = 10_000
"""Jobs that one selector may name; more is surely a slip of the finger."""


def duration_s(text: str) -> float:
    """Seconds in `90s`, `1h30m`, `2d`; raises ValueError with the forms that are right."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is no duration; write for example 90s, 15m, 1h30m or 2d")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def duration_option(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> float | None:
    """click's callback for options that hold a duration."""
    if value is None:
        return None
    try:
        return duration_s(value)
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from error


def shed_amount(text: str) -> tuple[float, int]:
    """`25%` as (0.25, 0), `40kW` as (0.0, 40_000_000 mW). Raises ValueError."""
    if match := _SHED_PERCENT.fullmatch(text.strip()):
        percent = float(match[1])
        if not 0 < percent < 100:
            raise ValueError(f"{text}: shed more than 0 % and less than 100 % of the budget")
        return percent / 100, 0
    if match := _SHED_WATTS.fullmatch(text.strip()):
        by_mw = round(float(match[1]) * _WATTS[match[2]] * 1000)
        if by_mw > 0:
            return 0.0, by_mw
    raise ValueError(f"{text!r} is no amount to shed; write for example 25%, 40kW or 800W")


def job_numbers(text: str) -> list[int]:
    """`3-5,8` as [3, 4, 5, 8], each once, in the order given. Raises ValueError."""
    numbers: dict[int, None] = {}
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"{text!r} names no jobs; write for example 8, 3-5, 3-5,8 or last")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(f"{part.strip()}: the range runs backwards; write {last}-{first}")
        if last - first + len(numbers) >= MAX_SELECTED:
            raise ValueError(f"{part.strip()}: at most {MAX_SELECTED} jobs at a time")
        numbers.update(dict.fromkeys(range(first, last + 1)))
    return list(numbers)
