"""Values on the command line that are more than a word: durations, sheds."""

from typing import Any

import click

from wattline_protocol.text.quantities import parse_duration_s, parse_percent, parse_power_mw


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


def text_option(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """click's callback for options that hold text: a shell variable that is not set leaves an
    empty one, and a job without the limit or the dependency that was meant is no small mistake."""
    if value == "" or (isinstance(value, tuple) and "" in value):
        why = "empty value: set one, or omit the option"
        raise click.BadParameter(why, context, parameter)
    return value


def shed_amount(text: str) -> tuple[float, int]:
    """`25%` as (0.25, 0), `40kW` as (0.0, 40_000_000 mW). Raises ValueError."""
    if text.strip().endswith("%"):
        fraction = parse_percent(text)
        if not 0 < fraction < 1:
            raise ValueError(f"{text}: the share must be above 0 % and below 100 %")
        return fraction, 0
    try:
        by_mw = parse_power_mw(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not an amount such as 25% or 40kW: {error}") from error
    if by_mw == 0:
        raise ValueError(
            f"{text}: the amount must be above zero; to end a shed use `wattline power restore`"
        )
    return 0.0, by_mw
