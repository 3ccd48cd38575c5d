"""Every field of every message with extremes: what a stolen key can say, as raw MessagePack.

From the types themselves: a valid message of each, with every field given, of which one value after
the other is replaced. So a field that is added is walked from then on.
"""

import math
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
from msgspec import inspect

Path = tuple[str | int, ...]

HUGE = 100_000
DEEP = 300

LONG_TEXT = "x" * HUGE
MANY: list[None] = [None] * HUGE
MANY_NAMES = dict.fromkeys(map(str, range(HUGE)), 1)


def _nested() -> list[Any]:
    nested: list[Any] = []
    for _ in range(DEEP):
        nested = [nested]
    return nested


WHOLE = (0, 1, -1, 2**31 - 1, 2**31, 2**53, 2**60, 2**63 - 1, 2**64 - 1, -(2**31), -(2**63))
LIMITS = (16, 200, 1_000, 1_024, 65_535, 10**10, 10**12, 10**13, 10**15, 10**16)
REAL = (math.nan, math.inf, -math.inf, -1.0, 1e-300, 0.5, 1e15, 315_360_000.0, 7_258_204_800.0)
LARGEST = (sys.float_info.max, -sys.float_info.max)
TEXTS = ("", "x" * 128, "x" * 1_000, LONG_TEXT, "\x1b]0;title\x07", "a\x00b", "../../etc/passwd")
ODD_TEXTS = ("\u202eabc", "-1", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00+14:00", "*" * 60)
OTHERS: tuple[Any, ...] = (
    None,
    True,
    b"",
    b"\x00" * 100,
    [],
    {},
    {"a": {}},
    [[]],
    MANY,
    MANY_NAMES,
)

EXTREMES: tuple[Any, ...] = (
    *WHOLE,
    *LIMITS,
    *REAL,
    *LARGEST,
    *TEXTS,
    *ODD_TEXTS,
    *OTHERS,
    _nested(),
)


class Extreme(NamedTuple):
    """One message with one value that is not what it should be."""

    path: Path
    """Where, from the message down."""
    message: dict[str, Any]

    @property
    def tag(self) -> str:
        """Kind of the message."""
        return str(self.message["t"])

    def encoded(self) -> bytes:
        """As it travels."""
        return msgspec.msgpack.encode(self.message)


def extremes(union: Any, *, step: int = 1, first: int = 0) -> Iterator[Extreme]:
    """Of every message of a tagged union. `step`: only one of so many, from number `first` on."""
    number = 0
    for base in valid(union):
        for path in paths(base):
            for value in EXTREMES:
                if number % step == first:
                    yield Extreme(path, replaced(base, path, value))
                number += 1


def valid(union: Any) -> list[dict[str, Any]]:
    """Of each kind of message one that is right, or more where a field may be of several kinds."""
    return [sample for sample in _samples(inspect.type_info(union)) if isinstance(sample, dict)]


def paths(value: Any, at: Path = ()) -> Iterator[Path]:
    """Every place in a message, containers and what is in them; not the message itself."""
    if at:
        yield at
    if isinstance(value, dict):
        for name, item in value.items():
            yield from paths(item, (*at, name))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from paths(item, (*at, number))


def replaced(value: Any, path: Path, by: Any) -> Any:
    """A copy with another value at one place."""
    if not path:
        return by
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], by)
    return copy


def _samples(form: inspect.Type) -> list[Any]:
    """Values of a form; several only where they are of different kinds."""
    match form:
        case inspect.StructType():
            return _structs(form)
        case inspect.UnionType(types=types):
            some = [one for one in types if not isinstance(one, inspect.NoneType)]
            return [sample for one in some for sample in _samples(one)]
        case inspect.VarTupleType(item_type=item):
            return [[sample] for sample in _samples(item)]
        case inspect.TupleType(item_types=items):
            return [[_samples(item)[0] for item in items]]
        case inspect.DictType(key_type=key, value_type=item):
            return [{_samples(key)[0]: sample} for sample in _samples(item)]
        case inspect.LiteralType(values=values):
            return [values[0]]
        case _:
            return [_plain(form)]


def _plain(form: inspect.Type) -> Any:
    match form:
        case inspect.IntType(ge=least):
            return max(1, least or 0)
        case inspect.FloatType():
            return 1.0
        case inspect.StrType():
            return "a"
        case inspect.BytesType():
            return b"a"
        case inspect.BoolType():
            return False
        case _:
            raise TypeError(f"no sample of {form}")


def _structs(form: inspect.StructType) -> list[dict[str, Any]]:
    tag = {} if form.tag_field is None else {form.tag_field: form.tag}
    of_fields = {field.encode_name: _samples(field.type) for field in form.fields}
    base = {**tag, **{name: samples[0] for name, samples in of_fields.items()}}
    others = [
        {**base, name: sample} for name, samples in of_fields.items() for sample in samples[1:]
    ]
    return [base, *others]
