"""Values on the command line that are more than a word: durations, sheds, moments."""

import re
from datetime import datetime, time, timedelta

import click

from wattline_protocol.quantities import parse_duration_s, parse_percent, parse_power_mw

_TIME_OF_DAY = re.compile(r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d)?")


def duration_option(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> float | None:
    """click's callback for options that hold a duration; gives seconds."""
    if value is None:
        return None
    try:
        return parse_duration_s(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r}: {error}", context, parameter) from error


def shed_amount(text: str) -> tuple[float, int]:
    """`25%` as (0.25, 0), `40kW` as (0.0, 40_000_000 mW). Raises ValueError."""
    if text.strip().endswith("%"):
        fraction = parse_percent(text)
        if not 0 < fraction < 1:
            raise ValueError(f"{text}: shed more than 0 % and less than 100 % of the budget")
        return fraction, 0
    try:
        by_mw = parse_power_mw(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no amount to shed, such as 25% or 40kW: {error}") from error
    if by_mw == 0:
        raise ValueError(f"{text}: shed more than nothing, or use `wattline power restore`")
    return 0.0, by_mw


def moment_unix_s(text: str, after_unix_s: float) -> float:
    """A time of day (the next one after `after_unix_s`), a date and time, or `in 30m` from it.

    Local time, unless the text says otherwise (`2026-12-01T16:00Z`). Raises ValueError.
    """
    after = datetime.fromtimestamp(after_unix_s).astimezone()
    if text.startswith("in "):
        return after_unix_s + parse_duration_s(text.removeprefix("in "))
    try:
        if _TIME_OF_DAY.fullmatch(text):
            at = datetime.combine(after.date(), time.fromisoformat(text)).astimezone()
            later = at if at > after else (at.replace(tzinfo=None) + timedelta(days=1)).astimezone()
            return later.timestamp()
        return datetime.fromisoformat(text).astimezone().timestamp()
    except ValueError:
        raise ValueError(
            f"{text!r} is no time; write 16:00, 2026-12-01T16:00 or 'in 30m'"
        ) from None
