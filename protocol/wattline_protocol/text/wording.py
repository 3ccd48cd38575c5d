"""Wording of texts for people: plurals, lists, and amounts with three significant digits.

Amounts that are parsed again are formatted by `quantities`.
"""

from collections.abc import Sequence

MOST_LISTED = 5

_GIB = 1 << 30
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_DECIMAL = ("", "k", "M", "G", "T")


def counted(count: float, thing: str, things: str = "") -> str:
    """`1 task`, `2 tasks`, `0.5 GPUs`; `things` where the plural is irregular."""
    number = f"{count:.10g}" if isinstance(count, float) else f"{count}"
    return f"{number} {thing if count == 1 else things or thing + 's'}"


def many(count: int, thing: str) -> str:
    """`1 node`, `1,000 nodes`."""
    return f"{count:,} {thing if count == 1 else thing + 's'}"


def listed(names: Sequence[object], most: int = MOST_LISTED, total: int = 0) -> str:
    """The first names: `n1, n2, n3 and 7 more`; `total` where `names` are not all of them."""
    shown = names[:most]
    more = max(total, len(names)) - len(shown)
    return ", ".join(map(str, shown)) + (f" and {more} more" if more else "")


def named(thing: str, names: Sequence[object], most: int = 3) -> str:
    """`job 3`, `jobs 3, 7, 9 and 4 more`."""
    return f"{thing if len(names) == 1 else thing + 's'} {listed(names, most)}"


def joined(names: Sequence[str], word: str = "and") -> str:
    """All names: `n1`, `n1 and n2`, `n1, n2 and n3`."""
    first = ", ".join(names[:-1])
    return f"{first} {word} {names[-1]}" if first else "".join(names)


def digits(value: float) -> str:
    """`0.123`, `1.23`, `12.3`, `123`, `1,230`; no trailing zeros."""
    size = abs(value)
    if size >= 99.95:
        return f"{value:,.0f}"
    text = f"{value:.{1 if size >= 9.995 else 2 if size >= 0.9995 else 3}f}"
    return text.rstrip("0").rstrip(".")


def watts(value_w: float, *, is_wanted: bool = False) -> str:
    """`742 W`, `3.37 kW`, `12.4 kW`, `1.24 MW`; wanted or missing watts are rounded up."""
    if is_wanted:
        step_w = 10 ** max(0, len(str(int(value_w))) - 3)
        value_w = -(-value_w // step_w) * step_w
    size_w = abs(value_w)
    if size_w < 999.5:
        return f"{value_w:.0f} W"
    return f"{digits(value_w / 1e3)} kW" if size_w < 999_500 else f"{digits(value_w / 1e6)} MW"


def power_text(power_mw: float, *, is_wanted: bool = False) -> str:
    """The same for milliwatts."""
    return watts(power_mw / 1000, is_wanted=is_wanted)


def energy(value_kwh: float) -> str:
    """`0.003 kWh`, `12.4 kWh`, `1.24 MWh`."""
    if abs(value_kwh) < 999.5:
        return f"{digits(value_kwh)} kWh"
    return f"{digits(value_kwh / 1e3)} MWh"


def joules(value_j: float) -> str:
    """`62.5 J`, `1.2 kJ`, `3.4 MJ`."""
    for unit, size_j in (("MJ", 1e6), ("kJ", 1e3)):
        if abs(value_j) >= size_j:
            return f"{digits(value_j / size_j)} {unit}"
    return f"{digits(value_j)} J"


def usd(value_usd: float) -> str:
    """`0.0005 USD`, `12.30 USD`, `1,234 USD`: cents only where they count."""
    size = abs(value_usd)
    decimals = 4 if 0 < size < 0.1 else 2 if size < 999.5 else 0
    return f"{value_usd:,.{decimals}f} USD"


def elapsed(value_s: float) -> str:
    """`820ms`, `42s`, `3m07s`, `2h05m`, `4d06h`."""
    if value_s < 0:
        return f"-{elapsed(-value_s)}"
    if 0 < value_s < 1:
        return f"{value_s * 1000:.0f}ms"
    whole = round(value_s)
    for unit_s, unit, part_s, part in ((86400, "d", 3600, "h"), (3600, "h", 60, "m")):
        if whole >= unit_s:
            return f"{whole // unit_s}{unit}{whole % unit_s // part_s:02d}{part}"
    return f"{whole // 60}m{whole % 60:02d}s" if whole >= 60 else f"{whole}s"


def about_size(size_bytes: int) -> str:
    """`700 B`, `256 KiB`, `1.5 GiB`."""
    power = min(max(0, size_bytes.bit_length() - 1) // 10, len(_BINARY) - 1)
    return f"{digits(size_bytes / (1 << 10 * power))} {_BINARY[power]}"


def bit_rate(bytes_s: float) -> str:
    """`0 b/s`, `240 kb/s`, `1.5 Mb/s`, `18 Gb/s`: links are rated in bits."""
    value, power = bytes_s * 8, 0
    while value >= 999.5 and power < len(_DECIMAL) - 1:
        value, power = value / 1e3, power + 1
    return f"{digits(value)} {_DECIMAL[power]}b/s"


def gib(size_bytes: int, *, is_wanted: bool = False) -> str:
    """In GiB to a tenth: available rounded down, wanted or missing rounded up.

    So too little never reads as enough: a GPU "of 80 GB" has 79.6 GiB.
    """
    tenths = -(-10 * size_bytes // _GIB) if is_wanted else 10 * size_bytes // _GIB
    whole, tenth = divmod(tenths, 10)
    return f"{whole}.{tenth} GiB" if tenth else f"{whole} GiB"
