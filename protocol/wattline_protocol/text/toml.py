"""TOML as text: writing it, and finding the line of a key.

`tomllib` returns values without their lines. `key_lines` scans a text that `tomllib` has accepted
and records the line of every key, so that an error can name it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

KeyPath = tuple[str | int, ...]
"""Position of a value: keys, and indices inside arrays. () is the document itself."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPES = {
    "\b": "\\b",
    "\t": "\\t",
    "\n": "\\n",
    "\f": "\\f",
    "\r": "\\r",
    '"': '\\"',
    "\\": "\\\\",
}
_VALUE = re.compile(r"[^,\]}#\n]*")
_KEY = re.compile(r"[\w-]*")
_SPACE = re.compile(r"[ \t\r\n]*")
_COMMENT = re.compile(r"[^\n]*")
_BLANK = re.compile(r"[ \t]*")
_UNESCAPES = {escape[1]: char for char, escape in _ESCAPES.items()}


# --- Writing ----------------------------------------------------------------------------


def quoted(text: str) -> str:
    """`text` as a TOML basic string."""
    return '"' + "".join(_escaped(char) for char in text) + '"'


def _escaped(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    return f"\\u{ord(char):04x}" if ord(char) < 0x20 or ord(char) == 0x7F else char


def key_text(key: str) -> str:
    """`key` as written before "=": bare where TOML allows it."""
    return key if _BARE_KEY.fullmatch(key) else quoted(key)


def value_text(value: object) -> str:
    """A value on one line. Raises TypeError for types that TOML lacks."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, Mapping):
        inner = ", ".join(f"{key_text(key)} = {value_text(item)}" for key, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(value_text(item) for item in value) + "]"
    raise TypeError(f"TOML has no form for a {type(value).__name__}")


def document_text(document: Mapping[str, object]) -> str:
    """A whole document: plain keys first, then tables, then arrays of tables."""
    plain: dict[str, object] = {}
    blocks: list[str] = []
    for key, value in document.items():
        if isinstance(value, Mapping):
            blocks.append(f"[{key_text(key)}]\n{_lines(value)}")
        elif tables := _tables(value):
            blocks.extend(f"[[{key_text(key)}]]\n{_lines(table)}" for table in tables)
        else:
            plain[key] = value
    return "\n".join([_lines(plain), *blocks] if plain else blocks)


def _tables(value: object) -> list[Mapping[str, object]]:
    """The elements of a list of tables; empty for anything else."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return []
    tables = [item for item in value if isinstance(item, Mapping)]
    return tables if len(tables) == len(value) else []


def _lines(table: Mapping[str, object]) -> str:
    return "".join(f"{key_text(key)} = {value_text(value)}\n" for key, value in table.items())


# --- Finding ----------------------------------------------------------------------------


def key_lines(text: str) -> dict[KeyPath, int]:
    """Line (from 1) of every key and table of `text`, which `tomllib` must have accepted."""
    lines: dict[KeyPath, int] = {}
    for path, line in _Walk(text).keys():  # noqa: SIM118 - a walk, no dict
        for depth in range(1, len(path) + 1):  # implied tables are listed too
            lines.setdefault(path[:depth], line)
    return lines


def line_of(lines: Mapping[KeyPath, int], path: KeyPath) -> int:
    """Line of `path`, or of the nearest table around it; 1 for the document."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


class _Walk:
    """Scanner of well-formed TOML that understands just enough to find the keys."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        self._array_lengths: dict[KeyPath, int] = {}

    def keys(self) -> Iterator[tuple[KeyPath, int]]:
        """Every key path with its line, in the order of the text."""
        table: KeyPath = ()
        while self._skip_to_content():
            if self._peek() == "[":
                table = self._header()
                yield table, self._line
            else:
                yield from self._pair(table)

    def _header(self) -> KeyPath:
        """`[a.b]` or `[[a.b]]`; inside arrays of tables a name means its newest element."""
        opening = 2 if self._text.startswith("[[", self._at) else 1
        self._move(opening)
        path: KeyPath = ()
        for key in self._dotted_key():
            path = self._newest((*path, key))
        if opening == 2:
            if path and isinstance(path[-1], int):
                path = path[:-1]
            length = self._array_lengths.get(path, 0)
            self._array_lengths[path] = length + 1
            path = (*path, length)
        self._skip_blank()
        self._move(opening)
        return path

    def _newest(self, path: KeyPath) -> KeyPath:
        length = self._array_lengths.get(path, 0)
        return (*path, length - 1) if length else path

    def _pair(self, table: KeyPath) -> Iterator[tuple[KeyPath, int]]:
        line = self._line
        path = table
        for key in self._dotted_key():
            path = (*path, key)
        yield path, line
        self._skip_blank()
        self._move(1)
        yield from self._value(path)

    def _value(self, path: KeyPath) -> Iterator[tuple[KeyPath, int]]:
        self._skip_blank()
        char = self._peek()
        if char == "{":
            yield from self._inline_table(path)
        elif char == "[":
            yield from self._array(path)
        elif char in "\"'":
            self._string()
        else:
            self._move_over(_VALUE)

    def _inline_table(self, path: KeyPath) -> Iterator[tuple[KeyPath, int]]:
        self._move(1)
        while self._skip_to_content() and self._peek() != "}":
            if self._peek() == ",":
                self._move(1)
            else:
                yield from self._pair(path)
        self._move(1)

    def _array(self, path: KeyPath) -> Iterator[tuple[KeyPath, int]]:
        self._move(1)
        index = 0
        while self._skip_to_content() and self._peek() != "]":
            if self._peek() == ",":
                self._move(1)
            else:
                yield (*path, index), self._line
                yield from self._value((*path, index))
                index += 1
        self._move(1)

    def _dotted_key(self) -> list[str]:
        keys = [self._key()]
        self._skip_blank()
        while self._peek() == ".":
            self._move(1)
            keys.append(self._key())
            self._skip_blank()
        return keys

    def _key(self) -> str:
        self._skip_blank()
        if self._peek() in "\"'":
            return self._string()
        start = self._at
        self._move_over(_KEY)
        return self._text[start : self._at]

    def _string(self) -> str:
        """Skip a string of any of the four kinds and return its text."""
        quote = self._peek()
        mark = quote * 3 if self._text.startswith(quote * 3, self._at) else quote
        self._move(len(mark))
        chars: list[str] = []
        while self._peek() and not self._text.startswith(mark, self._at):
            chars.append(self._string_char(is_basic=quote == '"'))
        # A multi-line string may end with one or two quotes of its own before the delimiter.
        while len(mark) == 3 and self._text.startswith(quote, self._at + 3):
            self._move(1)
        self._move(len(mark))
        return "".join(chars)

    def _string_char(self, is_basic: bool) -> str:
        char = self._peek()
        self._move(1)
        if not is_basic or char != "\\":
            return char
        escape = self._peek()
        self._move(1)
        digits = {"u": 4, "U": 8}.get(escape, 0)
        if digits == 0:
            return _UNESCAPES.get(escape, escape)
        code = self._text[self._at : self._at + digits]
        self._move(digits)
        return chr(int(code, 16))

    def _skip_to_content(self) -> bool:
        """Skip space, line ends and comments; False at the end of the text."""
        while True:
            self._move_over(_SPACE)
            if self._peek() != "#":
                return bool(self._peek())
            self._move_over(_COMMENT)

    def _skip_blank(self) -> None:
        self._move_over(_BLANK)

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _move_over(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self._text, self._at)
        if found is not None:
            self._move(found.end() - self._at)

    def _move(self, count: int) -> None:
        self._line += self._text.count("\n", self._at, self._at + count)
        self._at += count
