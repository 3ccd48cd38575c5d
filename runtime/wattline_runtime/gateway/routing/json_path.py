"""Values in a JSON document by their path; only the objects on the way are decoded. No I/O."""

from math import isfinite
from typing import Any

import msgspec

from wattline_protocol.routing.values import json_key

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LIST = msgspec.json.Decoder(list[msgspec.Raw])


def text_at(data: bytes | msgspec.Raw, path: str) -> str | None:
    """The value as a rule names it, as JSON; None: there is none, or it is no such value."""
    value = _value_at(data, path)
    try:
        return None if value is None else json_key(value)
    except ValueError:
        return None


def number_at(data: bytes | msgspec.Raw, path: str) -> float | None:
    """The finite number there; None: there is none."""
    value = _value_at(data, path)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and isfinite(value) else None


def _value_at(data: bytes | msgspec.Raw, path: str) -> Any:
    """A text, number or truth value; None for anything else."""
    found: bytes | msgspec.Raw | None = data
    try:
        for step in path.split("."):
            found = _step(found, step)
            if found is None:
                return None
        if found is None or bytes(found).lstrip()[:1] in (b"{", b"["):
            return None
        return msgspec.json.decode(found)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError):
        return None


def _step(data: bytes | msgspec.Raw | None, step: str) -> msgspec.Raw | None:
    first = bytes(data or b"").lstrip()[:1]
    if first == b"{":
        return _OBJECT.decode(data).get(step)  # type: ignore[arg-type]
    if first == b"[" and step.isdecimal():
        items = _LIST.decode(data)  # type: ignore[arg-type]
        return items[int(step)] if len(step) < 10 and int(step) < len(items) else None
    return None
