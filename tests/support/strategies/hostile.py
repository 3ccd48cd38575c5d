"""Values whose every text would act on a terminal, were it sent there as it is."""

from typing import Any

from msgspec import inspect

HOSTILE = "\x1b]0;own\x07\x1b[2J\x9b31m\u202e\r\x08[/red][b]:smile:\x7f\n"
"""A window title, a cleared screen, a C1 colour, reversed text, markup of rich and Textual."""


SHA256 = "0" * 64
GIVEN = {"parent": None, "task": 0, "digest": SHA256, "sha256": SHA256, "manifest_sha256": SHA256}
"""With one name for everything each thing would be its own parent; an array of one has task 0; a
digest has a form of its own."""


def filled(annotation: Any, text: str = HOSTILE) -> Any:
    """A value of a msgspec type: one entry in every collection, `text` wherever text may be."""
    return _of(inspect.type_info(annotation), text)


def _field(field: inspect.Field, text: str) -> Any:
    given, is_text = GIVEN.get(field.name), isinstance(field.type, inspect.StrType)
    is_given = field.name in GIVEN and isinstance(given, str) == is_text  # a view has tasks as text
    return given if is_given else _of(field.type, text)


def _of(info: inspect.Type, text: str) -> Any:
    match info:
        case inspect.StructType():
            return info.cls(**{f.name: _field(f, text) for f in info.fields})
        case inspect.UnionType():
            return _of(next(t for t in info.types if not isinstance(t, inspect.NoneType)), text)
        case inspect.LiteralType():
            return info.values[0]
        case inspect.VarTupleType() | inspect.ListType():
            return (_of(info.item_type, text),)
        case inspect.TupleType():
            return tuple(_of(item, text) for item in info.item_types)
        case inspect.DictType():
            return {_of(info.key_type, text): _of(info.value_type, text)}
        case inspect.StrType():
            return SHA256 if info.min_length == len(SHA256) else text
        case inspect.BytesType():
            return text.encode()
        case inspect.BoolType():
            return True
        case inspect.IntType():
            return max(1, info.ge or 0)
        case inspect.FloatType():
            return 1.0 if info.le is None else min(1.0, info.le)
        case _:
            raise TypeError(f"no value for {info}")


def acting(text: str) -> list[str]:
    """The characters of `text` that a terminal would obey, newlines aside."""
    return [c for c in text if c != "\n" and not c.isprintable()]
