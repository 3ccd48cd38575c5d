"""Clips values to the bounds of their types: truncates long ones, lowers large ones to the maximum.

For honest senders, whose messages must be accepted whatever a driver or clock reports, and for
records written before bounds existed. Messages of others are refused instead (see `codec`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from wattline_protocol.text.visible import visible_line
from wattline_protocol.wire.bounds import PLAIN
from wattline_protocol.wire.codec import Codec, MalformedMessage

T = TypeVar("T")

Clip = Callable[[Any], Any]


def clipped(message: T, union: Any) -> T:
    """An equal message, inside the bounds of its fields; `union`: all its possible types."""
    fitting: T = msgspec.convert(clip_builtins(_builtins(message), union), union)
    return fitting


def encoded(codec: Codec[T], message: T, union: Any) -> tuple[bytes, str]:
    """The message, clipped where the receiver would not decode it or it cannot be encoded at all
    (an integer beyond 64 bits, half a surrogate pair); and why it was clipped, else ""."""
    try:
        data = codec.encode(message)
        codec.decode(data)
    except (MalformedMessage, UnicodeEncodeError, OverflowError) as error:
        return codec.encode(clipped(message, union)), str(error)
    return data, ""


def clip_builtins(value: Any, form: Any) -> Any:
    """The same for a message as maps, lists and plain values. A value of the wrong type stays
    unchanged."""
    return _clip_of(form)(value)


@cache
def _clip_of(form: Any) -> Clip:
    return _clip(inspect.type_info(form))


def _builtins(message: object) -> Any:
    return msgspec.to_builtins(message, builtin_types=(bytes,))


def _clip(form: inspect.Type) -> Clip:
    """Clip function for a type; created once, because inspecting types is slow."""
    match form:
        case inspect.IntType() | inspect.FloatType():
            return lambda value: _number(value, form)
        case inspect.StrType():
            return lambda value: _text(value, form)
        case inspect.BytesType(max_length=most):
            return lambda value: value[:most] if isinstance(value, bytes) else value
        case inspect.VarTupleType(item_type=item, max_length=most):
            clip = _clip(item)
            return lambda value: _items(value, clip, most)
        case inspect.DictType(key_type=key, value_type=item, max_length=most):
            of_key, of_item = _clip(key), _clip(item)
            return lambda value: _table(value, of_key, of_item, most)
        case inspect.StructType(fields=fields):
            clips = {field.encode_name: _clip(field.type) for field in fields}
            return lambda value: _struct(value, clips)
        case inspect.UnionType(types=types):
            forms = tuple((one, _clip(one)) for one in types)
            return lambda value: _one_of(value, forms)
        case _:
            return lambda value: value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Any, form: inspect.IntType | inspect.FloatType) -> Any:
    if not _is_number(value) or (isinstance(form, inspect.IntType) and isinstance(value, float)):
        return value
    if math.isnan(value):
        value = 0.0
    if form.ge is not None:
        value = max(value, form.ge)
    if form.le is not None:
        value = min(value, form.le)
    if form.lt is not None and value >= form.lt:
        value = form.lt - 1
    return value


def _text(value: Any, form: inspect.StrType) -> Any:
    if not isinstance(value, str):
        return value
    if not value.isascii():
        value = value.encode(errors="replace").decode()
    if form.pattern == PLAIN:
        value = visible_line(value)
    elif form.pattern is not None:
        value = value.replace("\0", "\\0")
    return value[: form.max_length]


def _items(value: Any, clip: Clip, most: int | None) -> Any:
    return [clip(item) for item in value[:most]] if isinstance(value, list | tuple) else value


def _table(value: Any, key: Clip, clip: Clip, most: int | None) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {key(name): clip(item) for name, item in list(value.items())[:most]}


def _struct(value: Any, clips: Mapping[str, Clip]) -> Any:
    if not isinstance(value, Mapping):
        return value
    known = {name: clips[name](item) for name, item in value.items() if name in clips}
    return {**value, **known}


def _one_of(value: Any, forms: Sequence[tuple[inspect.Type, Clip]]) -> Any:
    """By the union's member of its type; an optional number out of bounds becomes None, which is
    more accurate than the nearest valid one."""
    clip = next((clip for one, clip in forms if _is_of_kind(value, one)), None)
    if clip is None:
        return value
    fitting = clip(value)
    is_optional = any(isinstance(one, inspect.NoneType) for one, _ in forms)
    return None if is_optional and _is_number(value) and fitting != value else fitting


def _is_of_kind(value: object, form: inspect.Type) -> bool:
    match form:
        case inspect.BoolType():
            return isinstance(value, bool)
        case inspect.IntType():
            return isinstance(value, int) and not isinstance(value, bool)
        case inspect.FloatType():
            return _is_number(value)
        case inspect.StrType():
            return isinstance(value, str)
        case inspect.BytesType():
            return isinstance(value, bytes)
        case inspect.VarTupleType():
            return isinstance(value, list | tuple)
        case inspect.StructType(tag_field=field, tag=tag):
            return isinstance(value, Mapping) and (field is None or value.get(field) == tag)
        case inspect.DictType():
            return isinstance(value, Mapping)
        case _:
            return False
