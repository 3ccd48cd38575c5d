"""Hypothesis strategies for any msgspec type, read from its annotations."""

from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from wattline_protocol.wire.bounds import CONTROL, NO_NUL, PLAIN

INT64 = (-(2**63), 2**63 - 1)
TEXT = st.characters(codec="utf-8")
SIGNS = (PLAIN, NO_NUL)
PLAIN_TEXT = st.characters(codec="utf-8").filter(lambda char: not CONTROL.match(char))


def values_of(annotation: Any) -> st.SearchStrategy[Any]:
    """Values of a msgspec type or union, as deep as its annotations go."""
    return _of(inspect.type_info(annotation))


def members_of(union: Any) -> list[type[msgspec.Struct]]:
    """The struct types of a tagged union."""
    info = inspect.type_info(union)
    types = info.types if isinstance(info, inspect.UnionType) else (info,)
    return [t.cls for t in types if isinstance(t, inspect.StructType)]


def _of(info: inspect.Type) -> st.SearchStrategy[Any]:
    match info:
        case inspect.StructType():
            fields = {f.name: _of(f.type) for f in info.fields}
            return st.builds(info.cls, **fields)
        case inspect.UnionType():
            return st.one_of([_of(t) for t in info.types])
        case inspect.LiteralType():
            return st.sampled_from(info.values)
        case inspect.VarTupleType():
            return st.lists(_of(info.item_type), max_size=3).map(tuple)
        case inspect.TupleType():
            return st.tuples(*map(_of, info.item_types))
        case inspect.DictType():
            return st.dictionaries(_of(info.key_type), _of(info.value_type), max_size=3)
        case _:
            return _plain(info)


def _plain(info: inspect.Type) -> st.SearchStrategy[Any]:
    match info:
        case inspect.IntType():
            low, high = INT64
            return st.integers(low if info.ge is None else info.ge, _most(info, high))
        case inspect.FloatType():
            return _floats(info)
        case inspect.StrType(pattern=str(pattern), max_length=most) if pattern not in SIGNS:
            return st.from_regex(pattern).filter(lambda text: len(text) <= (most or len(text)))
        case inspect.StrType():
            chars = TEXT if info.pattern is None else PLAIN_TEXT
            return st.text(chars, max_size=min(20, info.max_length or 20))
        case inspect.BoolType():
            return st.booleans()
        case inspect.BytesType():
            return st.binary(max_size=20)
        case inspect.NoneType():
            return st.none()
        case _:
            raise TypeError(f"no strategy for {info}")


def _floats(info: inspect.FloatType) -> st.SearchStrategy[float]:
    least = info.ge if info.gt is None else info.gt
    return st.floats(
        least, info.le, allow_nan=False, allow_infinity=False, exclude_min=info.gt is not None
    )


def _most(info: inspect.IntType, high: int) -> int:
    if info.lt is not None:
        return info.lt - 1
    return high if info.le is None else info.le
