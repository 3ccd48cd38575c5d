"""A plan of what a service will take."""

import math

import msgspec

from wattline import exits
from wattline.client import Client
from wattline.failures import ActFailed
from wattline_protocol.job.scaling_values import slo_rule
from wattline_protocol.job.spec import Slo
from wattline_protocol.views.capacity_views import MAX_GROWTH, MAX_WEEKS, CapacityView, GetCapacity


def capacity(
    client: Client, *, name: str, weeks: int, growth: str, slo: str | None
) -> CapacityView:
    """The plan of one service."""
    if not 1 <= weeks <= MAX_WEEKS:
        raise ActFailed(f"--weeks {weeks}: 1 to {MAX_WEEKS} are on record", exits.USAGE)
    request = GetCapacity(name, weeks, growth_of(growth), None if slo is None else slo_of(slo))
    return client.capacity(request)


def growth_of(text: str) -> float:
    """`2x`, or `1.5`."""
    try:
        found = float(text.removesuffix("x"))
    except ValueError:
        found = math.nan
    if not 0.0 < found <= MAX_GROWTH:
        expected = f"expected a factor above 0, at most {MAX_GROWTH:.0f}, as in 2x"
        raise ActFailed(f"--growth {text}: {expected}", exits.USAGE)
    return found


def slo_of(text: str) -> Slo:
    """As in a job file's flag."""
    try:
        return msgspec.convert(slo_rule(text), Slo)
    except ValueError as error:
        raise ActFailed(f"--slo {text}: {error}", exits.USAGE) from error
