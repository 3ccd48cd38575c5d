"""Values in a JSON document by their path. No I/O.

Only what is on the way to a value is decoded, and each object once: a body may be large, and a
route may ask for many of its fields.
"""

from math import isfinite
from typing import Any

import msgspec

from wattline_protocol.routing.values import json_key
from wattline_protocol.wire.bounds import MAX_WORD_CHARS

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_SCALAR = msgspec.json.Decoder(str | int | float | bool | None)
_INVALID = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
MAX_POSITION_CHARS = 9
MAX_SCALAR_BYTES = 12 * MAX_WORD_CHARS + 2
"""A longer value equals none of a rule, whose characters take up to 12 bytes. It is not decoded: it
may have a megabyte, and each of 64 rules may ask for it."""

Path = tuple[str, ...]


class JsonDocument:
    """One document; what is no JSON has no values."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._opened: dict[Path, dict[str, msgspec.Raw] | list[msgspec.Raw] | None] = {}

    def text_at(self, path: str) -> str | None:
        """The value as a rule names it, as JSON; None: there is none, or it is no such value."""
        value = self._scalar(path)
        try:
            return None if value is None else json_key(value)
        except ValueError:
            return None

    def number_at(self, path: str) -> float | None:
        """The finite number there; None: there is none."""
        value = self._scalar(path)
        if not isinstance(value, int | float) or isinstance(value, bool):
            return None
        try:
            number = float(value)
        except OverflowError:  # whole numbers have any length
            return None
        return number if isfinite(number) else None

    def _scalar(self, path: str) -> Any:
        """A text, number or truth value; None for anything else."""
        found = self._at(tuple(path.split(".")))
        if found is None or memoryview(found).nbytes > MAX_SCALAR_BYTES:
            return None
        try:
            return _SCALAR.decode(found)
        except _INVALID:
            return None

    def _at(self, path: Path) -> bytes | msgspec.Raw | None:
        if not path:
            return self._data
        *above, step = path
        inside = self._open(tuple(above))
        if isinstance(inside, dict):
            return inside.get(step)
        if inside and step.isdecimal() and len(step) <= MAX_POSITION_CHARS:
            return inside[int(step)] if int(step) < len(inside) else None
        return None

    def _open(self, path: Path) -> dict[str, msgspec.Raw] | list[msgspec.Raw] | None:
        if path not in self._opened:
            found = self._at(path)
            self._opened[path] = None if found is None else _entries(found)
        return self._opened[path]


def _entries(data: bytes | msgspec.Raw) -> dict[str, msgspec.Raw] | list[msgspec.Raw] | None:
    """Of an object or a list; a wrong type is found at the first character."""
    try:
        return _OBJECT.decode(data)
    except msgspec.ValidationError:
        pass
    except _INVALID:
        return None
    try:
        return _LIST.decode(data)
    except _INVALID:
        return None
