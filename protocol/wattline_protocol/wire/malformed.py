"""Error text for an invalid message: the field, its value, and a valid one.

Made from the decoder's error and from the bytes decoded again; only after a refusal.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from wattline_protocol.text.visible import visible_line
from wattline_protocol.wire.bounds import CONTROL

MAX_READ_BYTES = 1024 * 1024
"""A larger message is not decoded again: the decoder's text must suffice."""

MAX_SAID_CHARS = 500

_AT = re.compile(r"(?P<wanted>.*?)(?: - at (?:`key` in )?`\$\.?(?P<path>[^`]*)`)?", re.DOTALL)
_UNKNOWN = re.compile(
    r"Object contains unknown field `(?P<key>.*)`|Invalid (?:enum )?value '(?P<value>.*)'",
    re.DOTALL,
)
_KIND = "t"
"""The key that names the kind of a message."""
_STEP = re.compile(r"([A-Za-z_]\w*)|\[(\d+|\.\.\.)\]")


def in_words(data: bytes, error: Exception) -> str:
    """`request.reason holds the control character U+001B`, `gpus[2].index is 5000: expected …`.

    On one line, safe to show: the decoder repeats text of the sender.
    """
    return visible_line(_in_words(data, error)[:MAX_SAID_CHARS])


def unknown_word(text: str) -> str:
    """`the key launch.image`, of a decoder's text about a word that it does not know; else empty.

    Keys of a job are named as in its file, without the message around them.
    """
    found = _AT.fullmatch(text)
    unknown = _UNKNOWN.fullmatch(found["wanted"]) if found is not None else None
    if found is None or unknown is None:
        return ""
    *above, last = (found["path"] or "").split(".")
    value = unknown["value"]
    if value is not None and last == _KIND:
        return f"the {above[-1] if above else 'message'} {value}"
    path = ".".join(filter(None, [*above, last, unknown["key"]]))
    path = path.removeprefix("request.").removeprefix("spec.")
    return f"the key {path}" if value is None else f"the value {value} of {path}"


def _in_words(data: bytes, error: Exception) -> str:
    if word := unknown_word(str(error)):
        return f"{word} is not known"
    found = _AT.fullmatch(str(error))
    is_plain = found is None or not found["wanted"].startswith("Expected")
    if found is None or is_plain or not found["path"] or len(data) > MAX_READ_BYTES:
        return str(error)
    path, wanted = found["path"], _wanted(found["wanted"])
    try:
        return _of_values(data, path, wanted)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return f"{path}: {wanted}"


def _of_values(data: bytes, path: str, wanted: str) -> str:
    """Raises DecodeError, UnicodeDecodeError, RecursionError.

    Decoded again, a map that has a key twice has its last value, while the decoder's error is about
    the first wrong one: the value at the path may be anything.
    """
    values = list(_values(msgspec.msgpack.decode(data), _STEP.findall(path)))
    if "matching regex" in wanted:
        return f"{path} {_control(values)}"
    size = _size(values[0]) if len(values) == 1 and ", got " not in wanted else ""
    return f"{path}{size}: {wanted}"


def _wanted(text: str) -> str:
    plain = text.replace("`", "")
    return f"{plain[:1].lower()}{plain[1:]}"


def _values(value: Any, steps: list[tuple[str, str]]) -> Iterator[Any]:
    """Values at a path; where a step means any entry of a table, all of them."""
    if not steps:
        yield value
        return
    (name, at), *rest = steps
    if at == "...":
        for item in _items(value):
            yield from _values(item, rest)
    elif isinstance(value, dict) and name in value:
        yield from _values(value[name], rest)
    elif isinstance(value, list) and at and int(at) < len(value):
        yield from _values(value[int(at)], rest)


def _items(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _texts(name)
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _control(values: list[Any]) -> str:
    texts = [text for value in values for text in _texts(value)]
    first = next((found for text in texts if (found := CONTROL.search(text))), None)
    if first is None:
        return "holds a character that is not allowed"
    return (
        f"holds the control character U+{ord(first[0]):04X} as its character {first.start() + 1}; "
        "leave it out"
    )


def _size(value: Any) -> str:
    match value:
        case bool():
            return ""
        case int() | float():
            return f" is {value}"
        case str():
            return f" has {len(value)} characters"
        case bytes():
            return f" has {len(value)} bytes"
        case list() | dict():
            return f" has {len(value)} entries"
        case _:
            return ""
