"""Watts and times in columns: one unit for a panel, figures of the same width."""

from collections.abc import Iterable
from typing import Literal

from wattline_protocol.text.wording import elapsed
from wattline_protocol.views.site_views import DomainView

Unit = Literal["MW", "kW"]
_WATTS: dict[Unit, float] = {"MW": 1e6, "kW": 1e3}

MEGAWATTS_FROM_W = 1e6


def unit_of(domains: Iterable[DomainView]) -> Unit:
    """MW where a budget is that large."""
    largest_w = max((max(one.full_budget_w, one.budget_w) for one in domains), default=0.0)
    return "MW" if largest_w >= MEGAWATTS_FROM_W else "kW"


def amount(value_w: float, unit: Unit) -> str:
    """Without the unit, in at most five characters up to 9,999: `4.31`, `.038`, `11.3`, `812`."""
    value = value_w / _WATTS[unit]
    size = abs(value)
    if unit == "MW" and size < 0.9995:
        return f"{value:.3f}".replace("0.", ".", 1)
    places = 2 if unit == "MW" and size < 9.995 else 1 if size < 99.95 else 0
    return f"{value:.{places}f}"


def short(seconds: float) -> str:
    """The larger units only: `42s`, `4m`, `2h11m`, `3d04h`."""
    whole_s = max(0, int(seconds))
    return f"{whole_s // 60}m" if 60 <= whole_s < 3600 else elapsed(whole_s)
