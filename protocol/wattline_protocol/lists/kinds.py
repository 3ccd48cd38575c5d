"""Kinds of values in columns: how each is written in a condition, shown, ordered and exported."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from typing import Any

from wattline_protocol.job.spec import PRIORITIES
from wattline_protocol.text import wording
from wattline_protocol.text.moments import is_time_of_day, local_time, moment_unix_s
from wattline_protocol.text.quantities import (
    parse_cost_usd,
    parse_duration_s,
    parse_energy_wh,
    parse_percent,
    parse_power_mw,
    parse_size_bytes,
)
from wattline_protocol.text.toml_fields import nearest

Value = str | int | float | tuple[str, ...] | None
"""None = not known."""

NOT_KNOWN = "-"
"""Shown for it; never a zero."""

NONE = "none"
"""Written for it in a condition."""

_NUMBER = re.compile(r"-?\d{1,18}(?:\.\d{1,9})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Reading:
    """What times in a condition are relative to. `zone` None: that of this machine."""

    now_unix_s: float
    zone: tzinfo | None = None


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind. `read` gives the value and the text that means the same at any time and place."""

    name: str
    read: Callable[[str, Reading], tuple[Value, str]]
    """Raises ValueError with what would be right."""
    show: Callable[[Any], str] = str
    unit: str = ""
    """Of exported numbers, as a suffix of the column's name."""
    is_text: bool = False
    """Has `~` and globs."""
    is_word: bool = False
    """One of a fixed set."""
    rank: Callable[[Any], Any] | None = lambda value: value
    """What values are ordered by; None: they have no order."""
    export: Callable[[Any], str] = str
    is_right: bool = True


def _text(text: str, _: Reading) -> tuple[str, str]:
    return text, text


def _number(text: str, _: Reading) -> tuple[float, str]:
    if _NUMBER.fullmatch(text) is None:
        raise ValueError("expected a number such as 4 or 0.5")
    return float(text), text


def _priority(text: str, reading: Reading) -> tuple[float, str]:
    named = PRIORITIES.get(text.casefold())
    try:
        return _number(text if named is None else str(named), reading)
    except ValueError:
        raise ValueError(f"expected 0 to 100, or {', '.join(PRIORITIES)}") from None


def _quantity(
    parse: Callable[[str], float], per: float, text: str, _: Reading
) -> tuple[Value, str]:
    """Possibly negative; zero needs no unit."""
    size = text.removeprefix("-")
    value = 0.0 if size == "0" else parse(size) / per
    return (-value if size != text else value), text


def _time(text: str, reading: Reading) -> tuple[float, str]:
    """Whole seconds: the text that stands for it is exact."""
    unix_s = math.floor(_moment(text, reading))
    try:
        return float(unix_s), f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (ValueError, OverflowError, OSError):
        raise ValueError("expected a time since 1970") from None


def _moment(text: str, reading: Reading) -> float:
    now_s = reading.now_unix_s
    try:
        return max(0.0, now_s - parse_duration_s(text))
    except ValueError:
        pass
    if is_time_of_day(text):
        today = datetime.fromtimestamp(now_s, reading.zone).date()
        text = f"{today}T{text}"
    try:
        return moment_unix_s(text, now_s, reading.zone)
    except ValueError:
        raise ValueError(
            "expected a time such as 2026-12-01T16:00, 16:00 (of today), 2h (ago) or 'in 2h'"
        ) from None


def _flag(text: str, _: Reading) -> tuple[bool, str]:
    if text.casefold() not in ("yes", "no"):
        raise ValueError("expected yes or no")
    return text.casefold() == "yes", text.casefold()


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"


def _plain_number(value: float) -> str:
    return f"{value:.10g}"


def utc_text(unix_s: float) -> str:
    """ISO 8601 to the second."""
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=unix_s)
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")


def _joined(words: Sequence[str]) -> str:
    return ",".join(words)


TEXT = Kind("text", _text, is_text=True, is_right=False)
TEXTS = Kind(
    "list of texts", _text, _joined, is_text=True, rank=None, export=" ".join, is_right=False
)
NUMBER = Kind("number", _number, _plain_number, export=_plain_number)
AMOUNT = Kind("number", _number, wording.digits, export=_plain_number)
"""A number with three significant digits, where one is shown."""
PRIORITY = Kind("number", _priority, _plain_number, export=_plain_number)
CELSIUS = Kind("number", _number, lambda c: f"{c:.0f} °C", "_c", export=_plain_number)
DURATION = Kind(
    "duration",
    partial(_quantity, parse_duration_s, 1.0),
    wording.elapsed,
    "_s",
    export=_plain_number,
)
TIME = Kind("time", _time, local_time, export=utc_text, is_right=False)
POWER = Kind(
    "power", partial(_quantity, parse_power_mw, 1e3), wording.watts, "_w", export=_plain_number
)
SIZE = Kind("size", partial(_quantity, parse_size_bytes, 1.0), wording.about_size, "_bytes")
ENERGY = Kind(
    "energy", partial(_quantity, parse_energy_wh, 1e3), wording.energy, "_kwh", export=_plain_number
)
COST = Kind(
    "cost",
    partial(_quantity, parse_cost_usd, 1.0),
    wording.usd,
    "_usd",
    export=_plain_number,
)
SHARE = Kind(
    "share",
    partial(_quantity, parse_percent, 1.0),
    lambda share: f"{share * 100:.0f} %",
    export=_plain_number,
)
FLAG = Kind("yes or no", _flag, _yes, rank=None, export=_yes, is_right=False)


def choice(*words: str, is_ordered: bool = False) -> Kind:
    """One of some words, in their order if they have one."""
    meant = {word.casefold(): word for word in words}
    ranks = {word: at for at, word in enumerate(words)}

    def read(text: str, _: Reading) -> tuple[str, str]:
        word = meant.get(text.casefold())
        if word is None:
            near = nearest(text, meant)
            hint = f"the nearest is {meant[near]}" if near else f"expected {', '.join(words)}"
            raise ValueError(hint)
        return word, word

    rank = (lambda word: ranks.get(word, len(ranks))) if is_ordered else None
    name = f"word: {', '.join(words)}"
    return Kind(name, read, is_text=True, is_word=True, rank=rank, is_right=False)
