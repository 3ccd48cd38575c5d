"""Numbers for display: watts, times, bytes and shares, short enough for a column."""

from datetime import datetime

NOT_KNOWN = "-"
"""Shown for a value that is not measured; never a zero."""

_KILO = 1000.0


def watts(value_w: float | None) -> str:
    """`742 W`, `12.4 kW`, `1.20 MW`."""
    if value_w is None:
        return NOT_KNOWN
    size = abs(value_w)
    if size < _KILO:
        return f"{value_w:.0f} W"
    if size < _KILO**2:
        return f"{value_w / _KILO:.1f} kW"
    return f"{value_w / _KILO**2:.2f} MW"


def kwh(value_kwh: float) -> str:
    """Energy with enough digits that a short job is not shown as zero."""
    if abs(value_kwh) < 1.0:
        return f"{value_kwh:.3f} kWh"
    return f"{value_kwh:.1f} kWh" if abs(value_kwh) < _KILO else f"{value_kwh / _KILO:.2f} MWh"


def usd(value_usd: float) -> str:
    """`$0.0123`, `$12.30`."""
    return f"${value_usd:.4f}" if abs(value_usd) < 1.0 else f"${value_usd:,.2f}"


def seconds(value_s: float | None) -> str:
    """`820ms`, `42s`, `3m07s`, `2h05m`, `4d06h`."""
    if value_s is None:
        return NOT_KNOWN
    if value_s < 0:
        return f"-{seconds(-value_s)}"
    if value_s < 1:
        return f"{value_s * 1000:.0f}ms"
    whole = round(value_s)
    for unit_s, unit, part_s, part in ((86400, "d", 3600, "h"), (3600, "h", 60, "m")):
        if whole >= unit_s:
            return f"{whole // unit_s}{unit}{whole % unit_s // part_s:02d}{part}"
    return f"{whole // 60}m{whole % 60:02d}s" if whole >= 60 else f"{whole}s"


def share(value: float | None) -> str:
    """A share of one as a percentage."""
    return NOT_KNOWN if value is None else f"{value * 100:.0f} %"


def clock(unix_s: float | None) -> str:
    """Local date and time to the second."""
    if unix_s is None:
        return NOT_KNOWN
    return datetime.fromtimestamp(unix_s).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def clock_in_zone(unix_s: float | None) -> str:
    """The same with its zone, where times of the site, possibly in another zone, are shown too."""
    if unix_s is None:
        return NOT_KNOWN
    return datetime.fromtimestamp(unix_s).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def time_of_day(unix_s: float) -> str:
    """Local time to the second."""
    return datetime.fromtimestamp(unix_s).astimezone().strftime("%H:%M:%S")


def celsius(value_c: float | None) -> str:
    """`27 °C`."""
    return NOT_KNOWN if value_c is None else f"{value_c:.0f} °C"
