"""Durations, sizes, watts, energy, money and shares as users write them: "12h", "40GiB", "25%".

Every `parse_…` raises ValueError with a valid example. Numbers are exact decimals: a formatted
value is parsed to the same value.
"""

import re
from collections.abc import Mapping
from decimal import Decimal

MAX_DURATION_S = 10 * 365 * 86_400.0
MAX_SIZE_BYTES = 1 << 60
MAX_POWER_MW = 10**13
"""10 GW: no site is larger; every sum of milliwatts fits in 64 bits."""
MAX_AMOUNT = 1e15
"""Watt-hours, dollars …: no limit is larger."""
MAX_QUANTITY_CHARS = 64
MAX_RATE_PER_S = 1e6
MAX_TALLY = 10**15
"""Counts of tokens: a sum of thousands fits in 64 bits."""

_DURATION_UNITS = {
    "d": Decimal(86_400),
    "h": Decimal(3600),
    "m": Decimal(60),
    "s": Decimal(1),
    "ms": Decimal("0.001"),
}
_BINARY_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "PiB": 1 << 50}
_SIZE_UNITS = {
    "B": 1,
    **_BINARY_UNITS,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}
_POWER_UNITS = {"mW": 1, "W": 1000, "kW": 10**6, "MW": 10**9}
_ENERGY_UNITS = {"Wh": 1, "kWh": 1000, "MWh": 10**6}
_MONEY_UNITS = {"USD": 1}
_RATE_UNITS = {"/s": 1, "/m": 60, "/h": 3600, "/d": 86_400}

_COUNT_UNITS = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9}

_NUMBER = r"(\d+(?:\.\d+)?)"
_ONE = re.compile(rf"{_NUMBER}\s*([A-Za-z]+)")
_DURATION = re.compile(rf"{_NUMBER}(ms|[dhms])")
_SLURM_DURATION = re.compile(
    r"(?:(?P<d>\d+)-(?P<dh>\d+)(?::(?P<dm>\d+))?(?::(?P<ds>\d+))?)"
    r"|(?:(?:(?P<h>\d+):)?(?P<m>\d+):(?P<s>\d+))",
    re.ASCII,
)
"""D-HH, D-HH:MM, D-HH:MM:SS, HH:MM:SS, MM:SS; a bare number, Slurm's minutes, has no unit."""

_DURATION_WANTED = 'expected a duration such as "90s", "15m" or "1h30m"'


def parse_duration_s(text: str) -> float:
    """Seconds in "90s", "15m", "1h30m" or "2d"."""
    return _in_units_s(_short(text), _DURATION_WANTED)


def parse_job_duration_s(text: str) -> float:
    """The same, or in the forms of Slurm: "12:00:00", "90:00" (minutes), "1-12", "1-12:00:00".

    For durations of jobs only: elsewhere "12:00" may be a time of day, or hours to an operator.
    """
    short = _short(text)
    match = _SLURM_DURATION.fullmatch(short)
    if match is None:
        wanted = f'{_DURATION_WANTED}, or as in Slurm "12:00:00" or "1-12:00:00"'
        return _in_units_s(short, wanted)
    found = {name: int(digits) for name, digits in match.groupdict("0").items()}
    return _within_ten_years(
        sum((count * _DURATION_UNITS[name[-1]] for name, count in found.items()), Decimal(0))
    )


def _in_units_s(text: str, wanted: str) -> float:
    total, at, last_unit = Decimal(0), 0, "more"
    order = ["more", *_DURATION_UNITS]
    while at < len(text):
        match = _DURATION.match(text, at)
        if match is None or order.index(match[2]) <= order.index(last_unit):
            raise ValueError(wanted)
        total += Decimal(match[1]) * _DURATION_UNITS[match[2]]
        at, last_unit = match.end(), match[2]
    if at == 0:
        raise ValueError(wanted)
    return _within_ten_years(total)


def _within_ten_years(total_s: Decimal) -> float:
    if total_s > Decimal(MAX_DURATION_S):
        raise ValueError("expected a duration of at most ten years")
    return float(total_s)


def format_duration(duration_s: float) -> str:
    """The shortest exact form: 5400.0 → "1h30m", 0.25 → "0.25s". Raises ValueError for none."""
    if not 0 <= duration_s <= MAX_DURATION_S:
        raise ValueError(f"{duration_s} s is not a duration from 0 to ten years")
    rest = Decimal(repr(duration_s))
    parts: list[str] = []
    for unit in ("d", "h", "m"):
        count, rest = divmod(rest, _DURATION_UNITS[unit])
        if count:
            parts.append(f"{int(count)}{unit}")
    if rest or not parts:
        parts.append(f"{_plain(rest)}s")
    return "".join(parts)


def format_clipped(duration_s: float) -> str:
    """In whole seconds, clipped to 0 and ten years: of a computed duration, such as the difference
    of two clocks, or a time limit and its grace period."""
    return format_duration(round(min(max(duration_s, 0.0), MAX_DURATION_S)))


def parse_size_bytes(text: str) -> int:
    """Bytes in "40GiB", "1.5TiB", "200GB" or "512B"."""
    return _whole(text, _SIZE_UNITS, MAX_SIZE_BYTES, 'expected a size such as "40GiB" or "512MiB"')


def format_size(size_bytes: int) -> str:
    """The largest binary unit that divides it: 42949672960 → "40GiB"."""
    for unit, factor in reversed(_BINARY_UNITS.items()):
        if size_bytes and size_bytes % factor == 0:
            return f"{size_bytes // factor}{unit}"
    return f"{size_bytes}B"


def parse_power_mw(text: str) -> int:
    """Milliwatts in "40kW", "650W" or "1.2MW"."""
    return _whole(text, _POWER_UNITS, MAX_POWER_MW, 'expected a power such as "40kW" or "650W"')


def format_power(power_mw: int) -> str:
    """In kilowatts from 10 kW up, in watts below: 40000000 → "40kW", 650000 → "650W"."""
    unit = "kW" if power_mw >= 10_000_000 else "W"
    return f"{_plain(Decimal(power_mw) / _POWER_UNITS[unit])}{unit}"


def parse_energy_wh(text: str) -> float:
    """Watt hours in "80kWh" or "500Wh"."""
    return _amount(text, _ENERGY_UNITS, 'expected an energy such as "80kWh"')


def parse_cost_usd(text: str) -> float:
    """US dollars in "400USD"."""
    return _amount(text, _MONEY_UNITS, 'expected a cost such as "400USD"')


def format_energy(energy_wh: float) -> str:
    """In kilowatt hours from one up, in watt hours below: 80000.0 → "80kWh"."""
    unit = "kWh" if energy_wh >= 1000 else "Wh"
    return f"{_plain(Decimal(repr(energy_wh)) / _ENERGY_UNITS[unit])}{unit}"


def format_cost(cost_usd: float) -> str:
    """400.0 → "400USD"."""
    return f"{_plain(Decimal(repr(cost_usd)))}USD"


def parse_rate_per_s(text: str) -> float:
    """Per second, in "50/s", "100/m", "5000/h" or "20000/d"."""
    match = re.fullmatch(rf"{_NUMBER}\s*(/[smhd])", _short(text))
    rate = float(match[1]) / _RATE_UNITS[match[2]] if match else 0.0
    if not 0 < rate <= MAX_RATE_PER_S:
        raise ValueError('expected a rate above 0 such as "50/s", "100/m" or "5000/h"')
    return rate


def format_rate(per_s: float) -> str:
    """As a whole number of the shortest unit in which it is one: 50.0 → "50/s", 0.1 → "6/m"."""
    given = {unit: float(f"{per_s * length_s:.9g}") for unit, length_s in _RATE_UNITS.items()}
    whole = (unit for unit, value in given.items() if value.is_integer() and value)
    unit = next(whole, "/s")
    return f"{_plain(Decimal(repr(given[unit])))}{unit}"


def parse_count(text: str) -> int:
    """A whole number above 0 in "2M", "500k" or "2000000"."""
    match = re.fullmatch(rf"{_NUMBER}\s*([kKMG]?)", _short(text))
    value = Decimal(match[1]) * _COUNT_UNITS[match[2]] if match else Decimal(0)
    if not 0 < value <= MAX_TALLY or value != value.to_integral_value():
        raise ValueError('expected a whole number above 0 such as "2M", "500k" or "1500"')
    return int(value)


def format_count(count: int) -> str:
    """With the largest unit in which it has three decimals at most: 2_500_000 → "2.5M"."""
    for unit in ("G", "M", "k"):
        size = _COUNT_UNITS[unit]
        if count >= size and count % (size // 1000) == 0:
            return f"{_plain(Decimal(count) / size)}{unit}"
    return str(count)


def parse_percent(text: str) -> float:
    """0.25 from "25%" (0 to 100)."""
    match = re.fullmatch(rf"{_NUMBER}\s*%", _short(text))
    if match is None or Decimal(match[1]) > 100:
        raise ValueError('expected a percentage from "0%" to "100%"')
    return float(Decimal(match[1]) / 100)


def _whole(text: str, units: Mapping[str, int], most: int, wanted: str) -> int:
    value = _measured(text, units, wanted)
    if value != value.to_integral_value():
        raise ValueError(f"{wanted}; this is not a whole number of {next(iter(units))}")
    if value > most:
        raise ValueError(f"{wanted}; this is out of range")
    return int(value)


def _amount(text: str, units: Mapping[str, int], wanted: str) -> float:
    value = _measured(text, units, wanted)
    if value > Decimal(MAX_AMOUNT):
        raise ValueError(f"{wanted}; this is out of range")
    return float(value)


def _measured(text: str, units: Mapping[str, int], wanted: str) -> Decimal:
    match = _ONE.fullmatch(_short(text))
    if match is None:
        raise ValueError(wanted)
    if match[2] not in units:
        raise ValueError(f'{wanted}; there is no unit "{match[2]}" ({", ".join(units)})')
    return Decimal(match[1]) * units[match[2]]


def _short(text: str) -> str:
    stripped = text.strip()
    if len(stripped) > MAX_QUANTITY_CHARS:
        raise ValueError("too long for a quantity")
    return stripped


def _plain(value: Decimal) -> str:
    """Decimal digits without exponent or trailing zeros."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
