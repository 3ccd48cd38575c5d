"""Numbers for display: watts, times, bytes and shares, short enough for a column."""

from datetime import datetime

from wattline_protocol.lists.kinds import NOT_KNOWN as NOT_KNOWN
from wattline_protocol.text import wording
from wattline_protocol.text.moments import local_time


def watts(value_w: float | None) -> str:
    """`742 W`, `12.4 kW`."""
    return NOT_KNOWN if value_w is None else wording.watts(value_w)


def joules(value_j: float | None) -> str:
    """`62.5 J`, `1.2 kJ`, `3.4 MJ`."""
    return NOT_KNOWN if value_j is None else wording.joules(value_j)


def usd(value_usd: float | None) -> str:
    """`0.0123 USD`, `12.30 USD`."""
    return NOT_KNOWN if value_usd is None else wording.usd(value_usd)


def seconds(value_s: float | None) -> str:
    """`42s`, `3m07s`."""
    return NOT_KNOWN if value_s is None else wording.elapsed(value_s)


def share(value: float | None) -> str:
    """A share of one as a percentage."""
    return NOT_KNOWN if value is None else f"{value * 100:.0f} %"


def clock(unix_s: float | None) -> str:
    """Local date and time to the second."""
    return NOT_KNOWN if unix_s is None else local_time(unix_s)


def clock_in_zone(unix_s: float | None) -> str:
    """The same with its zone, where times of the site, possibly in another zone, are shown too."""
    if unix_s is None:
        return NOT_KNOWN
    return datetime.fromtimestamp(unix_s).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def celsius(value_c: float | None) -> str:
    """`27 °C`."""
    return NOT_KNOWN if value_c is None else f"{value_c:.0f} °C"
